"""Start-up of the service: ``python -m bench.start [MODEL]`` prints seconds to ready, and memory."""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from training.cli import Parser, run_cli

STARTS = 5


def start_once(environment: dict[str, str], port: int) -> tuple[float, float, float]:
    """Starts the service in a process of its own.

    Returns:
        Seconds from the start of the process to the first good ``/readyz``; its resident memory then, and
        the most until then, in MB.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment, stderr=subprocess.DEVNULL)
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"the service ended with code {process.returncode}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                    seconds = time.perf_counter() - started
                    break
            except urllib.error.URLError:
                time.sleep(0.005)
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        kib = {
            line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.endswith("kB")
        }
        return seconds, kib["VmRSS"] * 1024 / 1e6, kib["VmHWM"] * 1024 / 1e6
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Prints the medians of several starts."""
    parser = Parser(prog="python -m bench.start", description=__doc__)
    parser.add_argument(
        "model", nargs="?", type=Path, help="default: that of SEEDLING_MODEL, or the shipped model"
    )
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"SEEDLING_PORT": str(port)}
    if args.model:
        environment["SEEDLING_MODEL"] = str(args.model)
    runs = [start_once(environment, port) for _ in range(STARTS)]
    seconds, memory, most = (statistics.median(column) for column in zip(*runs, strict=True))
    print(
        f"start to ready: {seconds:.2f} s, resident memory: {memory:.0f} MB, at most {most:.0f} MB "
        f"(medians of {STARTS})"
    )


if __name__ == "__main__":
    sys.exit(run_cli(main))
