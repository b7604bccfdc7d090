"""The simulated engine beside the real one (``bench.capacity --check``).

The simulation is given two figures: how long a picture takes that is alone, and the most that the service
does with 64 connections, just before and after, for the machine's speed drifts. What it says of other rates,
at which requests come at random, is then compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import report
from bench.copies import lanes_of, read_url
from bench.load import Requests, Result, measure, percentile, require_wrk
from bench.overload import CONNECTIONS, IMAGE, UNLOADED_CONNECTIONS
from bench.queueing import Lanes, Outcome, arrivals, simulate
from bench.report import number
from bench.server import Server, seedling

FACTORS = (0.5, 0.8, 1.2, 3.0)
"""Rates, as shares of the most."""
CALIBRATION_S = 5.0
ALONE_S = 3.0
RUNS = 5
"""Simulations of each rate; the mean counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What became of requests: shares of them, and milliseconds to the pictures that came in time."""

    share: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One rate of requests."""

    rate: float
    """Requests a second that were sent."""
    most_per_s: float
    """Pictures a second with 64 connections, the mean of before and after."""
    simulated: Seen
    measured: Seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """All rates, and what the simulation was given."""

    alone_ms: float
    layout: Mapping[str, float]
    """How the service says that it runs; the keys are those of ``Copy.parse``."""
    compared: Sequence[Compared]


def check(model: Path, seconds: float, timeout_ms: float, rates: Sequence[float]) -> Checked:
    """Runs the service at some rates, and the simulation at those that were sent.

    Args:
        model: Model file.
        seconds: How long each rate is kept.
        timeout_ms: What each request gives it in ``X-Timeout-Ms``.
        rates: Requests a second; those of ``FACTORS`` when there are none.

    Raises:
        LoadError: If wrk is missing or failed.
        ServerError: If the service does not start.
    """
    require_wrk()
    compared = []
    with seedling({"SEEDLING_MODEL": str(model)}) as service:
        layout = read_url(service.url)
        alone_ms = measure(service.url, Requests(path=IMAGE), 1, ALONE_S).p50_ms
        before = _most(service)
        for asked in rates or [factor * before for factor in FACTORS]:
            rate, result = load(service, asked, seconds, timeout_ms)
            after = _most(service)
            most = (before + after) / 2
            lanes = lanes_of({**layout, "rate": most, "alone": alone_ms})
            simulated = predict(lanes, rate, seconds, timeout_ms)
            compared.append(Compared(rate=rate, most_per_s=most, simulated=simulated, measured=seen(result)))
            before = after
    return Checked(alone_ms=alone_ms, layout=layout, compared=compared)


def _most(service: Server) -> float:
    return measure(service.url, Requests(path=IMAGE), UNLOADED_CONNECTIONS, CALIBRATION_S).good_per_s


def load(service: Server, rate: float, seconds: float, timeout_ms: float) -> tuple[float, Result]:
    """Asks at random at a rate; returns the rate that was sent, and what came of it."""
    requests = Requests(path=IMAGE, headers=(f"X-Timeout-Ms: {timeout_ms:.0f}",))
    connections = min(CONNECTIONS[1], max(CONNECTIONS[0], round(1.5 * rate * timeout_ms / 1000)))
    result = measure(service.url, requests, connections, seconds, per_second=rate, arrivals="poisson")
    return (result.requests + result.unanswered) / seconds, result


def seen(result: Result) -> Seen:
    """Returns what a slice of load saw."""
    return Seen(
        share=result.statuses.get("200", 0) / (result.requests + result.unanswered),
        p50_ms=percentile(result.ok_ms, 50),
        p99_ms=percentile(result.ok_ms, 99),
    )


def predict(lanes: Lanes, rate: float, seconds: float, timeout_ms: float) -> Seen:
    """Returns what the simulation sees of as many requests, beginning with an empty queue too."""
    outcomes: list[Outcome] = [
        simulate(lanes, arrivals(rate, round(rate * seconds), seed=run), timeout_ms / 1000, warm_up=0)
        for run in range(RUNS)
    ]
    return Seen(
        share=float(np.mean([outcome.share for outcome in outcomes])),
        p50_ms=float(np.mean([outcome.percentile_ms(50) for outcome in outcomes])),
        p99_ms=float(np.mean([outcome.percentile_ms(99) for outcome in outcomes])),
    )


def print_check(checked: Checked) -> None:
    """Prints what the simulation was given, and both side by side."""
    lanes = f"{checked.layout['lanes']} lanes, batches of {checked.layout['batch']} at most"
    print(f"{lanes}, {number(checked.alone_ms)} ms alone\n")
    heads = ("requests/s", "most", "200, %: simulated", "measured", "p50 ms: simulated", "measured")
    rows = [
        (
            number(one.rate),
            number(one.most_per_s),
            *(number(100 * side.share) for side in (one.simulated, one.measured)),
            *(number(side.p50_ms) for side in (one.simulated, one.measured)),
            *(number(side.p99_ms) for side in (one.simulated, one.measured)),
        )
        for one in checked.compared
    ]
    print(report.table((*heads, "p99 ms: simulated", "measured"), rows))
