"""A server as a process of its own: started, watched and stopped with all its children."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import bench

ROOT = Path(bench.__file__).parents[1]
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_S = 15.0
"""How long a server may take to stop before it is killed."""


class ServerError(Exception):
    """A server that did not start."""


class Server:
    """A server that answers on a port of this machine.

    Args:
        command: What runs it.
        port: The port that it was told to listen on.
        ready: A path that answers 200 as soon as it can serve.
        environment: Variables to add to this process's own.
        patience_s: How long it may take to get ready.

    Raises:
        ServerError: If it ends or is not ready in time; carries the end of its output.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        ready: str,
        environment: Mapping[str, str] | None = None,
        patience_s: float = 90.0,
    ) -> None:
        self.host, self.port = "127.0.0.1", port
        self.url = f"http://{self.host}:{port}"
        self._command = " ".join(command)
        began = time.monotonic()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
        settings = {"PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1", **(environment or {})}
        self._process = subprocess.Popen(
            command,
            env=os.environ | settings,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_ready(self.url + ready, began + patience_s)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.monotonic() - began

    def _wait_until_ready(self, url: str, deadline: float) -> None:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._output.seek(0)
                tail = self._output.read()[-2000:].decode(errors="replace")
                raise ServerError(f"the server {self._command} is not ready:\n{tail}")
            time.sleep(0.01)

    def get(self, path: str) -> bytes:
        """Asks for a path; returns the body.

        Raises:
            OSError: If it does not answer, or with an error.
        """
        with urllib.request.urlopen(self.url + path) as answer:  # noqa: S310  (our own address)
            body: bytes = answer.read()
        return body

    def processes(self) -> list[int]:
        """Returns the ids of the process and of all its descendants."""
        return list(_descendants(self._process.pid))

    def cpu_seconds(self) -> float:
        """Returns the processor time that all its processes have taken so far, in seconds."""
        return sum(_cpu_seconds(pid) for pid in self.processes())

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Returns the resident memory of all its processes, in MB: ``VmRSS`` now, ``VmHWM`` the most so far.

        Pages that processes share are counted in each of them.
        """
        return sum(_status_kib(pid, field) for pid in self.processes()) * 1024 / 1e6

    def stop(self) -> None:
        """Ends it, and whatever it left behind."""
        family = {pid: _started(pid) for pid in self.processes()}
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        for pid, started in family.items():
            if started is not None and _started(pid) == started:  # not another process of the same id
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def seedling(environment: Mapping[str, str] | None = None) -> Server:
    """Starts our own service, with the settings of this process's environment.

    Args:
        environment: Settings to add.
    """
    port = free_port()
    settings = {"SEEDLING_PORT": str(port), "SEEDLING_HOST": "127.0.0.1"} | dict(environment or {})
    return Server([sys.executable, "-m", "app"], port, "/readyz", settings)


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text(encoding="ascii").split()
        ]
    except OSError:  # it has ended meanwhile
        return
    yield pid
    for child in children:
        yield from _descendants(child)


def _stat(pid: int) -> list[str]:
    """Returns the fields of ``/proc/PID/stat`` from the third on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_seconds(pid: int) -> float:
    return sum(int(field) for field in _stat(pid)[11:13]) / TICKS_PER_S  # utime, stime


def _started(pid: int) -> str | None:
    return next(iter(_stat(pid)[19:20]), None)  # starttime, in ticks after boot


def _status_kib(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
