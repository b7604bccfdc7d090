"""The cache of ``deploy/nginx`` in front of the service: ``python -m bench.front [--help]``.

People ask for few pictures often and for many once, by Zipf's law: the name of rank k is asked for in
proportion to k^-s. What a cache takes off the service depends on that, on how many names there are, and on
how long it has run.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench import report
from bench.command import carry_out, parser_of
from bench.load import Result, measure_one, measure_paths
from bench.report import number
from bench.server import ROOT, Server, ServerError, free_port, seedling

CONFIGURATION = ROOT / "deploy" / "nginx" / "nginx.conf"
CONNECTIONS = 64
CROWD = 50
"""How many ask for one new picture at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """One load, and what the cache did with it."""

    name: str
    result: Result
    did: dict[str, int]
    """Answers by what the cache did, in nginx's words; empty where nginx was not asked."""
    at_origin: int
    """Requests that came through to the service."""


class Front(Server):
    """nginx as ``deploy/nginx`` sets it up, in front of a service on this machine.

    Args:
        origin: Host and port of the service.
        folder: Where nginx keeps what it keeps, its cache too.

    Raises:
        ServerError: If nginx is not installed or does not start.
    """

    def __init__(self, origin: str, folder: Path) -> None:
        self.folder = folder
        self.status_port = free_port()
        port = free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(configure(origin, port, self.status_port), encoding="utf-8")
        command = [require_nginx(), "-e", "stderr", "-p", str(folder), "-c", str(configuration)]
        if os.geteuid() == 0:  # its workers would be somebody else, who may not write there
            command += ["-g", "user root;"]
        super().__init__(command, port, "/livez")

    def log(self) -> list[dict[str, object]]:
        """Returns the lines of the access log."""
        lines = (self.folder / "access.log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def settled(self) -> int:
        """Returns the number of lines of the log when it has stopped growing: all requests have ended."""
        count = -1
        while count != (count := len(self.log())):
            time.sleep(0.2)
        return count


def configure(origin: str, port: int, status_port: int) -> str:
    """Returns the configuration that ships, with the places of this machine in it, and the log in a file."""
    places = {
        "server seedling:8000;": f"server {origin};",
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "listen 8081;": f"listen 127.0.0.1:{status_port};",
        "access_log /dev/stdout front;": "access_log access.log front;",
        "error_log stderr crit;": "error_log error.log crit;",
    }
    text = CONFIGURATION.read_text(encoding="utf-8")
    for place, ours in places.items():
        if text.count(place) != 1:
            raise ServerError(f"{CONFIGURATION} has {place!r} {text.count(place)} times, expected once")
        text = text.replace(place, ours)
    return text


def require_nginx() -> str:
    """Returns the path of nginx.

    Raises:
        ServerError: If it is not installed; says how to get it.
    """
    found = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    if not found:
        raise ServerError("nginx is not installed: `apt-get install nginx-light` or `brew install nginx`")
    return found


def write_paths(file: Path, names: int, exponent: float, requests: int) -> None:
    """Writes the addresses of pictures, one a line, as people would ask for them."""
    weights = np.arange(1, names + 1, dtype=np.float64) ** -exponent
    ranks = np.random.default_rng(0).choice(names, requests, p=weights / weights.sum())
    file.write_text("".join(f"/images/person-{rank}.png\n" for rank in ranks), encoding="ascii")


def ask_together(front: Front, path: str) -> int:
    """Has a crowd ask for one new picture at the same time; returns how many came through to the service."""
    before = front.settled()
    with ThreadPoolExecutor(CROWD) as crowd:
        answers = set(crowd.map(front.get, [path] * CROWD))
    if len(answers) != 1:
        raise ServerError(f"a crowd got {len(answers)} different answers for {path}, expected one")
    front.settled()
    return sum(1 for line in front.log()[before:] if line["origin"])


def through(name: str, front: Front, load: Result, before: int) -> Slice:
    """Returns a slice with what the access log says of it."""
    front.settled()
    lines = front.log()[before:]
    did = Counter(str(line["cache"]) for line in lines)
    return Slice(name=name, result=load, did=dict(did), at_origin=sum(1 for line in lines if line["origin"]))


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Measures, prints the table and writes the JSON."""
    machine = report.machine()
    paths = folder / "paths"
    write_paths(paths, arguments.names, arguments.exponent, arguments.requests)
    seconds = arguments.seconds

    def zipf(server: Server) -> Result:
        return measure_paths(server.url, paths, CONNECTIONS, seconds)

    with seedling({"SEEDLING_MODEL": str(arguments.model), "SEEDLING_DRAIN_MS": "0"}) as service:
        direct = zipf(service)
        slices = [Slice(name="straight to the service", result=direct, did={}, at_origin=direct.requests)]
        with Front(f"{service.host}:{service.port}", folder) as front:
            collapsed = ask_together(front, "/images/nobody-asked-before.png")
            for name in ("through the cache, empty at first", "the same again"):
                before = front.settled()
                slices.append(through(name, front, zipf(front), before))
            before = front.settled()
            hits = measure_one(front.url + "/images/person-0.png", CONNECTIONS, seconds)
            slices.append(through("one picture that it has", front, hits, before))
            service.stop()
            before = front.settled()
            away = zipf(front)
            slices.append(through("the service stopped", front, away, before))
    _print(slices, collapsed, arguments)
    content = {"machine": machine, "slices": [asdict(one) for one in slices], "collapsed": collapsed}
    report.write_json(arguments.json, content, [])


def _print(slices: Sequence[Slice], collapsed: int, arguments: argparse.Namespace) -> None:
    print(f"{arguments.names:,} names, exponent {arguments.exponent:g}, {CONNECTIONS} connections\n")
    heads = ("", "answers/s", "p50 ms", "p99 ms", "failed", "from the cache", "came to the service")
    rows = [
        (
            one.name,
            number(one.result.good_per_s),
            number(one.result.p50_ms),
            number(one.result.p99_ms),
            number(one.result.failed),
            number(sum(one.did.get(word, 0) for word in ("HIT", "STALE", "UPDATING")) / sum(one.did.values()))
            if one.did
            else "",
            number(one.at_origin),
        )
        for one in slices
    ]
    print(report.table(heads, rows))
    print(f"\n{CROWD} who ask at once for one new picture: {collapsed} came to the service")


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of("front", __doc__)
    parser.add_argument("--names", type=int, default=10_000, help="different pictures (%(default)s)")
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law (%(default)s)")
    parser.add_argument("--requests", type=int, default=200_000, help="after which they repeat (%(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="length of a slice (%(default)s)")
    return parser.parse_args(words)


def in_a_folder(arguments: argparse.Namespace) -> None:
    """Measures, with a cache that is on the disk for so long."""
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return carry_out(in_a_folder, parse_arguments(words))


if __name__ == "__main__":
    sys.exit(main())
