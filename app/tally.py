"""What is counted as the service works, for whoever asks; all of it belongs to the event loop's thread."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field

SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds for what the processors do, in seconds."""

LONG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what a client waits for, in seconds."""

PICTURES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds for batches, in pictures."""

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})
"""Methods that are told apart: a client may send any word, and each would be kept for ever."""

CAUSES = {
    400: "invalid",
    401: "key",
    403: "key",
    404: "not_found",
    405: "method",
    406: "not_acceptable",
    408: "slow",
    412: "precondition",
    413: "too_large",
    414: "too_large",
    415: "media_type",
    422: "invalid",
    429: "rate",
    431: "too_large",
    503: "loading",
}
"""Why a request was refused, by the status that says so, where nobody knows it better."""


KNOWN = (
    "full",
    "deadline",
    "late",
    "limit",
    "stopping",
    "fault",
    "malformed",
    "connections",
    *CAUSES.values(),
)
"""Every cause: told as 0 before the first, which a rate would not see otherwise."""


class Histogram:
    """How many values lie between given bounds, and their sum.

    Args:
        bounds: Ascending; each is the largest value of its bucket.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class ModelTally:
    """What happened to pictures of a model; outlives its engine, which a reload exchanges."""

    asked: int = 0
    """Pictures that were let in. Each is grown, shared, dropped or failed, or still in the queue."""
    grown: int = 0
    shared: int = 0
    """Pictures that were on their way already for somebody else."""
    dropped: int = 0
    """Pictures that left the queue, because nobody wanted them any more."""
    failed: int = 0
    streams: int = 0
    """Streams that are being sent now."""
    wait: Histogram = field(default_factory=lambda: Histogram(LONG_S))
    """Time in the queue of each picture, in seconds."""
    batch: Histogram = field(default_factory=lambda: Histogram(PICTURES))
    """Pictures of each batch."""
    engine: Histogram = field(default_factory=lambda: Histogram(SHORT_S))
    """Time to grow each batch, in seconds."""
    encode: Histogram = field(default_factory=lambda: Histogram(SHORT_S))
    """Time to pack each picture, sheet, film or archive, in seconds."""


class RouteTally:
    """The answers of one route."""

    __slots__ = ("answers", "seconds", "sent")

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        """Answers by method and status."""
        self.seconds = Histogram(LONG_S)
        """Time to each answer's last byte, in seconds."""
        self.sent = 0
        """Bytes of bodies."""


class HttpTally:
    """What happened to requests."""

    def __init__(self) -> None:
        self.routes: dict[str, RouteTally] = {}
        self.refused: Counter[str] = Counter(dict.fromkeys(KNOWN, 0))
        """Requests that were refused, by cause."""
        self.open = 0
        """Requests that are being answered."""
        self.connections: Sized = ()
        """Connections that are open."""

    def answered(self, route: str, method: str, status: int) -> RouteTally:
        """Counts an answer; returns the tally of its route."""
        tally = self.routes.get(route)
        if tally is None:
            tally = self.routes[route] = RouteTally()
        tally.answers[method if method in METHODS else "other", status] += 1
        return tally

    def turned_away(self, status: int, cause: str | None) -> None:
        """Counts a refusal, if the status is one."""
        if cause is None:
            cause = CAUSES.get(status)
        if cause is not None:
            self.refused[cause] += 1
