"""Slices of load between slices of the raw engine: the machine's speed drifts, their ratio does not."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.load import Requests, Result, measure
from bench.raw import RawEngine, Speed

RAW_SHARE = 0.5
"""Length of a slice of the raw engine, as a share of a slice of load."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One kind of load."""

    name: str
    requests: Requests
    connections: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One slice of load, and the raw engine just before and after it."""

    result: Result
    raw: Speed
    pictures_per_s: float

    @property
    def share(self) -> float:
        """Pictures a second as a share of the raw engine's."""
        return self.pictures_per_s / self.raw.pictures_per_s

    def summary(self) -> dict[str, Any]:
        """Returns all that was measured, without the single answers."""
        result = asdict(self.result)
        del result["ok_ms"]
        return result | {"pictures_per_s": self.pictures_per_s, "raw": asdict(self.raw)}


Samples = dict[str, list[Sample]]


def run_rounds(
    raw: RawEngine,
    loads: Mapping[str, Sequence[Load]],
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> Samples:
    """Runs every load once a round, with a slice of the raw engine before and after it.

    Args:
        raw: The raw engine.
        loads: What to ask of the server at each address.
        rounds: How often.
        seconds: Length of a slice of load.
        tell: Is told about each slice.

    Returns:
        The samples of each load, by its name, one a round.
    """
    samples: Samples = {load.name: [] for some in loads.values() for load in some}
    before = raw.measure(seconds * RAW_SHARE)
    for turn in range(rounds):
        for url, load in ((url, load) for url, some in loads.items() for load in some):
            result = measure(url, load.requests, load.connections, seconds)
            after = raw.measure(seconds * RAW_SHARE)
            sample = Sample(result, mean_speed(before, after), result.good_per_s * load.requests.count)
            samples[load.name].append(sample)
            tell(
                f"round {turn + 1}/{rounds}: {load.name}: {sample.pictures_per_s:.0f} pictures/s, "
                f"{sample.share:.2f} of raw"
            )
            before = after
    return samples


def mean_speed(*speeds: Speed) -> Speed:
    """Returns the mean of some slices of the raw engine."""
    return Speed(
        pictures_per_s=statistics.mean(speed.pictures_per_s for speed in speeds),
        alone_ms=statistics.mean(speed.alone_ms for speed in speeds),
    )


def median_of(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Returns the median over rounds."""
    return statistics.median(map(value, samples))


def median_ratio(
    numerators: Sequence[Sample], denominators: Sequence[Sample], value: Callable[[Sample], float]
) -> float:
    """Returns the median over rounds of the ratio between two loads of the same round."""
    return statistics.median(
        value(top) / value(bottom) for top, bottom in zip(numerators, denominators, strict=True)
    )
