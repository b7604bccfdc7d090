"""The service under more than it can do: ``python -m bench.overload [--help]``.

First the most that it can do, by 64 connections that wait for their answers; then many times that, at a fixed
rate, answered or not. Every answer should be a picture in time, or a 429.
"""

import argparse
import resource
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import report
from bench.command import carry_out, parser_of
from bench.load import Requests, Result, measure, percentile
from bench.probe import probing
from bench.report import Figure, number
from bench.server import Server, seedling

IMAGE = "/images/%d.png"
UNLOADED_CONNECTIONS = 64
UNLOADED_S = 10.0
"""How long the most that it can do is measured, before and after; the mean counts."""
READY_MS = 50.0
"""Within how many milliseconds ``/readyz`` should answer."""
CONNECTIONS = (512, 8192)
"""Fewest and most connections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overload:
    """What was measured."""

    before: Result
    """The most that the service does, before."""
    during: Result
    after: Result
    """The most that it does, after."""
    asked_per_s: float
    """Requests a second that the generator was to send."""
    connections: int
    seconds: float
    """How long it sent."""
    ready_ms: Sequence[float]
    """Times to a good answer of ``/readyz`` meanwhile; infinite where there was none."""
    memory_mb: tuple[float, float]
    """Resident memory just before, and the most until the end."""

    @property
    def most_per_s(self) -> float:
        """Pictures a second without overload."""
        return statistics.mean((self.before.good_per_s, self.after.good_per_s))

    @property
    def pictures_per_s(self) -> float:
        """Pictures a second under overload."""
        return self.during.statuses.get("200", 0) / self.during.seconds

    @property
    def sent_per_s(self) -> float:
        """Requests a second that were sent."""
        return (self.during.requests + self.during.unanswered) / self.seconds

    @property
    def others(self) -> int:
        """Answers other than 200 and 429, and connections that broke."""
        wanted = sum(self.during.statuses.get(status, 0) for status in ("200", "429"))
        return self.during.requests - wanted + self.during.socket_errors


def overload(service: Server, *, seconds: float, factor: float, deadline_ms: int) -> Overload:
    """Measures the service without and with too much to do.

    Args:
        service: The service.
        seconds: How long it gets too much.
        factor: How many times its most it gets.
        deadline_ms: What each request gives it in ``X-Timeout-Ms``.
    """
    requests = Requests(path=IMAGE, headers=(f"X-Timeout-Ms: {deadline_ms}",))
    before = _most(service)
    asked_per_s = factor * before.good_per_s
    connections = _connections(before.good_per_s, deadline_ms)
    memory_mb = service.memory_mb()
    with probing(service) as ready_ms:
        during = measure(service.url, requests, connections, seconds, per_second=asked_per_s)
    peak_mb = service.memory_mb("VmHWM")
    return Overload(
        before=before,
        during=during,
        after=_most(service),
        asked_per_s=asked_per_s,
        connections=connections,
        seconds=seconds,
        ready_ms=ready_ms,
        memory_mb=(memory_mb, peak_mb),
    )


def _most(service: Server) -> Result:
    return measure(service.url, Requests(path=IMAGE), UNLOADED_CONNECTIONS, UNLOADED_S)


def _connections(most_per_s: float, deadline_ms: int) -> int:
    """Returns enough connections for all that can be in the service at a time, and half as many again."""
    fewest, most = CONNECTIONS
    return round(min(most, max(fewest, 1.5 * most_per_s * deadline_ms / 1000)))


def figures_of(seen: Overload, deadline_ms: int) -> list[Figure]:
    """Returns the figures that we claim."""
    return [
        Figure(
            name="requests sent, share of those asked for",
            value=seen.sent_per_s / seen.asked_per_s,
            wanted=0.95,
        ),
        Figure(name="pictures/s, share of the most", value=seen.pictures_per_s / seen.most_per_s, wanted=0.9),
        Figure(name="answers other than 200 and 429", value=seen.others, wanted=0, at_least=False),
        Figure(name="requests without an answer", value=seen.during.unanswered, wanted=0, at_least=False),
        Figure(
            name="p99 of the pictures, ms",
            value=percentile(seen.during.ok_ms, 99),
            wanted=deadline_ms,
            at_least=False,
        ),
        Figure(name="/readyz, the slowest, ms", value=max(seen.ready_ms), wanted=READY_MS, at_least=False),
    ]


def print_tables(seen: Overload) -> None:
    """Prints what was seen."""
    ok = seen.during.ok_ms
    rows = [
        (
            "pictures/s without overload: before, after",
            f"{number(seen.before.good_per_s)}, {number(seen.after.good_per_s)}",
        ),
        ("requests/s asked for, sent", f"{number(seen.asked_per_s)}, {number(seen.sent_per_s)}"),
        ("connections", number(seen.connections)),
        ("pictures/s", number(seen.pictures_per_s)),
        *((f"answers {status}", number(count)) for status, count in seen.during.statuses.items()),
        (
            "200: p50, p99, slowest, ms",
            ", ".join(number(percentile(ok, percent)) for percent in (50, 99, 100)),
        ),
        (
            "/readyz: p50, p99, slowest, ms",
            ", ".join(number(percentile(seen.ready_ms, percent)) for percent in (50, 99, 100)),
        ),
        ("memory before, most, MB", ", ".join(map(number, seen.memory_mb))),
        ("generator, cores", number(seen.during.generator_cores)),
    ]
    print(report.table((f"{seen.seconds:g} s", ""), rows))


def as_json(seen: Overload) -> dict[str, Any]:
    """Returns all that was measured; of the single answers only percentiles."""
    whole = asdict(seen)
    for part in ("before", "during", "after"):
        times = whole[part].pop("ok_ms")
        whole[part]["ok_percentiles_ms"] = {p: percentile(times, p) for p in (50, 90, 99, 99.9, 100)}
    return whole


def run(arguments: argparse.Namespace) -> None:
    """Measures, prints the tables and writes the JSON."""
    machine = report.machine()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # a file for each connection, on both sides
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with seedling({"SEEDLING_MODEL": str(arguments.model)}) as service:
        seen = overload(
            service, seconds=arguments.seconds, factor=arguments.factor, deadline_ms=arguments.deadline_ms
        )
    print_tables(seen)
    figures = figures_of(seen, arguments.deadline_ms)
    print("\n" + report.figures_table(figures))
    report.write_json(arguments.json, {"machine": machine, "overload": as_json(seen)}, figures)


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of("overload", __doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (%(default)s)")
    parser.add_argument("--factor", type=float, default=10.0, help="times the most it can do (%(default)s)")
    parser.add_argument(
        "--deadline-ms", type=int, default=2000, help="X-Timeout-Ms of each request (%(default)s)"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return carry_out(run, parse_arguments(words))


if __name__ == "__main__":
    sys.exit(main())
