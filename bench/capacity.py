"""How many copies of the service a rate of requests takes: ``python -m bench.capacity [--help]``.

From what people ask for and a cache in front to the requests that come through; from the time that a copy
takes for a picture, to the number of copies, what they cost, and, by a simulation of the engine's queue
(``bench/queueing.py``), how long people wait. ``--check`` runs the service and shows both side by side.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.settings import SHIPPED_MODEL
from bench import report
from bench.copies import HELP, Copy, CopyError
from bench.load import LoadError
from bench.popularity import first_hits, lru_hits, top_hits, zipf
from bench.predicted import check, print_check
from bench.queueing import Outcome, arrivals, simulate
from bench.report import number
from bench.server import ServerError

SIMULATED = 20_000
"""Requests of each simulation."""
RARELY = 1e-3
"""Requests a second that are simulated where none come through."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What is asked of all copies together."""

    rate: float
    """Pictures a second, the mean of a day."""
    peak: float = 1.0
    """Times the mean, in the busiest hour."""
    hits: float = 0.0
    """Share that a cache in front answers."""

    @property
    def origin_per_s(self) -> float:
        """Pictures a second that come through to the service at the peak."""
        return self.rate * self.peak * (1 - self.hits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Copies for a demand."""

    demand: Demand
    copies: int
    left: int
    """Of them, those that are left when the largest zone fails."""
    busy: float
    """Share of their most that all copies are asked for at the peak."""
    degraded: Outcome
    """What people see at the peak while a zone is away; with one zone, at the peak."""
    cost: float | None
    """Of a million pictures answered, the mean of a day, copies running all day."""


def plan(copy: Copy, demand: Demand, *, use: float, zones: int, timeout_s: float) -> Plan:
    """Finds the fewest copies that keep to a use of their most, one zone being away if there are several.

    Args:
        copy: What one does.
        demand: What is asked of all.
        use: Most share of a copy's pictures/s that it is asked for.
        zones: Over which copies are spread evenly.
        timeout_s: For how long each request would wait.
    """
    needed = max(1, math.ceil(round(demand.origin_per_s / (use * copy.lanes.pictures_per_s), 9)))
    copies = zones * math.ceil(needed / (zones - 1)) if zones > 1 else needed
    left = copies * (zones - 1) // zones if zones > 1 else copies
    each = arrivals(max(RARELY, demand.origin_per_s / left), SIMULATED)
    cost = None if copy.price is None else copies * copy.price / 3600 / demand.rate * 1e6
    return Plan(
        demand=demand,
        copies=copies,
        left=left,
        busy=demand.origin_per_s / (copies * copy.lanes.pictures_per_s),
        degraded=simulate(copy.lanes, each, timeout_s),
        cost=cost,
    )


def plan_rows(plans: Sequence[Plan], kb: float) -> list[tuple[str, ...]]:
    """Returns a row of the table for each plan; ``kb`` is the size of a picture."""
    return [
        (
            number(one.demand.rate),
            number(one.demand.rate * one.demand.peak),
            number(one.demand.rate * one.demand.peak * kb * 8 / 1000),
            number(one.demand.origin_per_s),
            number(one.copies),
            number(100 * one.busy),
            number(one.degraded.percentile_ms(50)),
            number(one.degraded.percentile_ms(99)),
            number(100 * (1 - one.degraded.share)),
            "" if one.cost is None else number(one.cost),
        )
        for one in plans
    ]


HEADS = (
    *("asked/s", "at the peak", "Mbit/s", "to the service/s", "copies", "busy, %", "p50 ms", "p99 ms"),
    *("429, %", "a million cost"),
)


def hits_of(arguments: argparse.Namespace) -> float:
    """Returns the share that the cache answers, and prints how it comes about where it is computed."""
    if arguments.hits is not None or not arguments.cache:
        return arguments.hits or 0.0
    popularity = zipf(int(arguments.names), arguments.exponent)
    hits = lru_hits(popularity, arguments.cache)
    row = (
        f"{arguments.names:,.0f}",
        f"{arguments.exponent:g}",
        f"{arguments.cache:,.0f}",
        number(arguments.cache * arguments.kb / 1e6),
        f"{100 * hits:.1f}",
        f"{100 * first_hits(popularity, arguments.cache):.1f}",
        f"{100 * top_hits(popularity, arguments.cache):.1f}",
    )
    heads = ("names", "exponent", "pictures kept", "GB", "hits, %", "while it fills, %", "at best, %")
    print(report.table(heads, [row]) + "\n")
    return hits


def run(arguments: argparse.Namespace) -> None:
    """Computes, prints the tables and writes the JSON where it is wanted."""
    hits = hits_of(arguments)
    content: dict[str, object] = {"hits": hits}
    for copy in map(Copy.parse, arguments.machine):
        plans = [
            plan(
                copy,
                Demand(rate=rate, peak=arguments.peak, hits=hits),
                use=arguments.use,
                zones=arguments.zones,
                timeout_s=arguments.timeout_ms / 1000,
            )
            for rate in arguments.rate
        ]
        print(f"{copy.name}: {number(copy.lanes.pictures_per_s)} pictures/s a copy\n")
        print(report.table(HEADS, plan_rows(plans, arguments.kb)) + "\n")
        content[copy.name] = [asdict(one) | {"degraded": summary(one.degraded)} for one in plans]
    if arguments.json:
        report.write_json(arguments.json, content, [])


def summary(outcome: Outcome) -> dict[str, float]:
    """Returns what is told of a simulation."""
    percentiles = {f"p{percent}_ms": outcome.percentile_ms(percent) for percent in (50, 99)}
    return {"share": outcome.share} | percentiles | dict(outcome.refused)


def run_check(arguments: argparse.Namespace) -> None:
    """Runs the service, prints what was predicted beside what was measured, and writes the JSON."""
    checked = check(arguments.model, arguments.seconds, arguments.timeout_ms, arguments.rate or ())
    print_check(checked)
    if arguments.json:
        report.write_json(arguments.json, {"machine": report.machine(), "check": asdict(checked)}, [])


def _positive(word: str) -> float:
    if not 0 < (value := float(word)) < math.inf:
        raise argparse.ArgumentTypeError(f"it must be above 0, got {word}")
    return value


def _share(word: str) -> float:
    if not 0 <= (value := float(word)) <= 1:
        raise argparse.ArgumentTypeError(f"it must be a share, 0 to 1, got {word}")
    return value


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--machine", action="append", metavar="NAME:KEY=VALUE,…", help=HELP)
    add(
        "--rate", type=_positive, nargs="+", help="pictures/s asked for, the mean of a day; several make rows"
    )
    add("--peak", type=_positive, default=1.0, help="times the mean in the busiest hour (%(default)s)")
    add("--hits", type=_share, help="share that a cache in front answers; or it is computed from:")
    add("--names", type=_positive, default=1e6, help="different pictures that people ask for (%(default)g)")
    add("--exponent", type=float, default=1.0, help="of Zipf's law (%(default)s)")
    add("--cache", type=float, default=0.0, help="pictures that the cache holds (%(default)g: no cache)")
    add(
        "--kb",
        type=_positive,
        default=34.0,
        help="a picture, in kB (%(default)s: a PNG of the shipped model)",
    )
    add("--use", type=_positive, default=0.7, help="most share of a copy's most that is asked (%(default)s)")
    add(
        "--zones",
        type=int,
        choices=range(1, 101),
        metavar="ZONES",
        default=1,
        help="zones, of which one may fail (%(default)s)",
    )
    add("--timeout-ms", type=_positive, default=2000.0, help="X-Timeout-Ms of each request (%(default)s)")
    add("--check", action="store_true", help="run the service at some rates, and the simulation beside it")
    model = Path(os.environ.get("SEEDLING_MODEL", SHIPPED_MODEL))
    add("--model", type=Path, default=model, help="with --check: model file (%(default)s)")
    add("--seconds", type=_positive, default=10.0, help="with --check: of each rate (%(default)s)")
    add("--json", type=Path, help="file for all of it")
    arguments = parser.parse_args(words)
    if not arguments.check and not (arguments.machine and arguments.rate):
        parser.error("it needs --machine and --rate, or --check")
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 2 where a machine is not described well, or wrk is missing."""
    arguments = parse_arguments(words)
    try:
        (run_check if arguments.check else run)(arguments)
    except (CopyError, LoadError, ServerError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
