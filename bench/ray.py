"""The service on Ray Serve beside the service alone: ``python -m bench.ray [--help]``.

Two questions: how many pictures one and two replicas on the same processors make, and what Ray's proxy adds
to a request that costs the service next to nothing. Wants wrk, and a Python that has the extra ray.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.cpus import available_cpus
from bench import report
from bench.cached import Repeat, kinds_of, repeat
from bench.command import carry_out, parser_of
from bench.load import Requests, Result, measure
from bench.report import number
from bench.server import Server, free_port, seedling

CONNECTIONS = (1, 64)
PICTURES = Requests(path="/images/%d.png")
PATIENCE_S = 180.0
"""How long Ray may take to get ready, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What one way of serving did."""

    name: str
    ready_s: float
    pictures: dict[int, Result]
    """New pictures, by connections."""
    repeats: dict[str, list[Repeat]]
    """One picture again and again, by the kind of request."""
    memory_mb: float


def on_ray(model: Path, replicas: int, cpus: int, *, haproxy: bool = False) -> Server:
    """Starts the service on a Ray cluster of its own.

    Args:
        model: The model file.
        replicas: How many.
        cpus: Processors of all of them.
        haproxy: Whether HAProxy stands in front of the replicas, in place of Ray's proxy.
    """
    port = free_port()
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": str(int(haproxy)),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "SEEDLING_MODEL": str(model),
        "SEEDLING_PORT": str(port),
    }
    options = [f"replicas={replicas}", f"cpus={cpus / replicas:g}"]
    return Server([sys.executable, "-m", "app.on_ray", *options], port, "/readyz", settings, PATIENCE_S)


def serve(name: str, start: Callable[[], Server], seconds: float) -> Served:
    """Starts a server and measures it."""
    print(f"{name} …", file=sys.stderr)
    with start() as server:
        measure(server.url, PICTURES, max(CONNECTIONS), 1)  # what is loaded at first use
        return Served(
            name=name,
            ready_s=server.ready_s,
            pictures={count: measure(server.url, PICTURES, count, seconds) for count in CONNECTIONS},
            repeats=repeat(server, kinds_of(server), 1, seconds),
            memory_mb=server.memory_mb(),
        )


def ways(model: Path, cpus: int) -> dict[str, Callable[[], Server]]:
    """Returns how to start each way of serving, by its name."""
    settings = {"SEEDLING_MODEL": str(model), "SEEDLING_THREADS": str(cpus)}
    return {
        "one process": lambda: seedling(settings),
        "two workers": lambda: seedling(settings | {"SEEDLING_WORKERS": "2"}),
        "Ray, one replica": lambda: on_ray(model, 1, cpus),
        "Ray, two replicas": lambda: on_ray(model, 2, cpus),
        "the same behind HAProxy": lambda: on_ray(model, 2, cpus, haproxy=True),
        "one process, at the end": lambda: seedling(settings),  # shows how far the machine's speed moved
    }


def run(arguments: argparse.Namespace) -> None:
    """Measures, prints the tables and writes the JSON."""
    machine = report.machine()
    found = [
        serve(name, start, arguments.seconds) for name, start in ways(arguments.model, arguments.cpus).items()
    ]
    print(report.table(_HEADS, [_row(one, found[0]) for one in found]))
    print(f"\n{arguments.cpus} processors for the replicas; Ray's processes come on top of them")
    report.write_json(arguments.json, {"machine": machine, "served": [asdict(one) for one in found]}, [])


_HEADS = (
    "",
    *(f"pictures/s, {count}" for count in CONNECTIONS),
    *(f"p50/p99 ms, {count}" for count in CONNECTIONS),
    "of one process",
    "cached/s",
    "304/s",
    "µs of processors for a 304",
    "ready s",
    "MB, shared pages again and again",
)


def _row(one: Served, first: Served) -> tuple[str, ...]:
    most = max(CONNECTIONS)
    cached, not_modified = (_median(some, lambda it: it.result.good_per_s) for some in one.repeats.values())
    return (
        one.name,
        *(number(one.pictures[count].good_per_s) for count in CONNECTIONS),
        *(f"{number(it.p50_ms)}/{number(it.p99_ms)}" for it in one.pictures.values()),
        f"{one.pictures[most].good_per_s / first.pictures[most].good_per_s:.2f}",
        number(cached),
        number(not_modified),
        number(1e6 / _median(one.repeats["304"], lambda it: it.per_core_s)),
        number(one.ready_s),
        number(one.memory_mb),
    )


def _median(some: Sequence[Repeat], value: Callable[[Repeat], float]) -> float:
    return statistics.median(map(value, some))


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of("ray", __doc__)
    parser.add_argument("--cpus", type=int, default=available_cpus(), help="of all replicas (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a slice (%(default)s)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return carry_out(run, parse_arguments(words))


if __name__ == "__main__":
    sys.exit(main())
