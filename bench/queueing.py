"""Our engine as a queue, simulated: what clients wait for, and who is refused, at a rate of requests.

The rules are those of ``app/engine.py``: lanes take what waits, up to the largest batch; a request is refused
at once when there is no room, or no time by the drain rate measured so far (the engine's own ``DrainRate``).
Lanes on one processor slow each other down, which queueing libraries do not have: a loop over events is
shorter than theirs bent to it.
"""

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.drain import DrainRate, Margin
from bench.load import Arrivals

WARM_UP = 0.1
"""Share of the requests, the first, that do not count: the queue begins empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lanes:
    """What one copy of the service computes with.

    Raises:
        ValueError: If a figure is not above zero, or the sizes do not begin with 1.
    """

    batch_s: dict[int, float]
    """Seconds of a batch while no other runs, by its size, ascending, from 1 on; between sizes the next."""
    lanes: int = 1
    """Batches that run at the same time."""
    at_once: float = math.inf
    """Of those, how many run without slowing each other down: processors over the threads of a lane."""
    max_queue: float = math.inf
    """Most pictures that wait or are grown."""
    beside_s: float = 0.0
    """What an answer takes besides, which keeps no lane busy."""

    def __post_init__(self) -> None:
        """Refuses what would never end."""
        if min(self.lanes, self.at_once, self.max_queue, *self.batch_s.values()) <= 0:
            raise ValueError(f"lanes, sizes and seconds must be above 0, got {self}")
        if next(iter(self.batch_s)) != 1:
            raise ValueError(f"the batch sizes must begin with 1, got {list(self.batch_s)}")

    @property
    def largest(self) -> int:
        """The most pictures of a batch."""
        return max(self.batch_s)

    @property
    def pictures_per_s(self) -> float:
        """The most pictures a second."""
        return min(self.lanes, self.at_once) * self.largest / self.batch_s[self.largest]

    def speed(self, busy: int) -> float:
        """Returns how fast each lane is while some are busy, as a share of one alone."""
        return min(1.0, self.at_once / busy)

    def seconds(self, count: int) -> float:
        """Returns the time of a batch of so many pictures, alone."""
        return next(seconds for size, seconds in self.batch_s.items() if size >= count)

    @classmethod
    def of(
        cls,
        pictures_per_s: float,
        *,
        alone_s: float = 0.0,
        lanes: int = 1,
        batch: int = 1,
        at_once: float = 0,
    ) -> Self:
        """Builds lanes that make so many pictures a second with full batches.

        Args:
            pictures_per_s: Of all lanes.
            alone_s: Time of a picture alone in the service; 0 is that of its share of a batch. With batches
                of one it tells by itself how much lanes slow each other down.
            lanes: Batches that run at the same time.
            batch: Most pictures of a batch; one of fewer takes a time between.
            at_once: Of the lanes, how many run without slowing each other down; 0 is all.
        """
        at_once = min(at_once or lanes, lanes)
        if alone_s and batch == 1:
            at_once = min(lanes, pictures_per_s * alone_s)
        full_s = at_once * batch / pictures_per_s
        one_s = min(alone_s or full_s / batch, full_s)
        step_s = (full_s - one_s) / max(1, batch - 1)
        return cls(
            batch_s={1: one_s} | {size: one_s + (size - 1) * step_s for size in range(2, batch + 1)},
            lanes=lanes,
            at_once=at_once,
            beside_s=max(0.0, alone_s - one_s),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of the requests that count."""

    answered_s: NDArray[np.float64]
    """Time that each picture took which came in time."""
    refused: Counter[str]
    """The others, by the engine's causes: ``full``, ``deadline``, ``late``."""

    @property
    def share(self) -> float:
        """Of the requests, those that got their picture."""
        return len(self.answered_s) / (len(self.answered_s) + self.refused.total())

    def percentile_ms(self, percent: float) -> float:
        """Returns a percentile of the pictures' times, in milliseconds; infinite where there was none."""
        return 1000 * float(np.percentile(self.answered_s, percent)) if len(self.answered_s) else math.inf


@dataclass(eq=False, slots=True)
class Growing:
    """A batch in a lane."""

    left_s: float
    """Work that is left, in seconds of a lane alone."""
    jobs: list[int]


def arrivals(rate: float, count: int, kind: Arrivals = "poisson", seed: int = 0) -> NDArray[np.float64]:
    """Returns when requests come, in seconds: (count,) float64, ascending."""
    if kind == "even":
        return np.arange(count) / rate
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


def simulate(
    lanes: Lanes,
    asked_s: NDArray[np.float64],
    timeout_s: float = math.inf,
    *,
    warm_up: float = WARM_UP,
    drawn: Callable[[float], float] = lambda seconds: seconds,
) -> Outcome:
    """Runs requests for one new picture each through the engine.

    Args:
        lanes: What it computes with.
        asked_s: When they come, ascending.
        timeout_s: For how long each would wait.
        warm_up: Share of the requests, the first, that do not count.
        drawn: The time that a batch takes, from the time that it takes as a rule.
    """
    run = _Run(lanes, asked_s, timeout_s, drawn)
    for k, at in enumerate(asked_s):
        run.advance(float(at))
        run.ask(k)
    run.advance(math.inf)
    return run.outcome(int(warm_up * len(asked_s)))


@dataclass(eq=False, slots=True)
class _Run:
    """The state of a simulation."""

    lanes: Lanes
    asked_s: NDArray[np.float64]
    timeout_s: float
    drawn: Callable[[float], float]
    now: float = 0.0
    waiting: deque[int] = field(default_factory=deque)
    growing: list[Growing] = field(default_factory=list)
    taken: int = 0
    drain: DrainRate = field(init=False)
    margin: Margin = field(default_factory=Margin)
    expected_s: dict[int, float] = field(default_factory=dict)
    fate: dict[int, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.drain = DrainRate(self.lanes.pictures_per_s)

    def ask(self, k: int) -> None:
        """Lets a request in, or refuses it, as ``Admission`` does."""
        load = len(self.waiting) + self.taken
        if load + 1 > self.lanes.max_queue:
            self.fate[k] = "full"
        elif (
            self.margin.over(expected_s := self.drain.seconds_for(load + 1, self.now), self.now)
            > self.timeout_s
        ):
            self.fate[k] = "deadline"
        else:
            self.expected_s[k] = expected_s
            self.waiting.append(k)
            self._take()

    def advance(self, until: float) -> None:
        """Lets time pass."""
        while self.growing:
            speed = self.lanes.speed(len(self.growing))
            first = min(self.growing, key=lambda batch: batch.left_s)
            ends = self.now + first.left_s / speed
            passed = min(ends, until) - self.now
            for batch in self.growing:
                batch.left_s -= passed * speed
            self.now = min(ends, until)
            self._forget()
            if ends > until:
                return
            self._deliver(first)
        self.now = until

    def _deliver(self, batch: Growing) -> None:
        self.growing.remove(batch)
        self.taken -= len(batch.jobs)
        self.drain.delivered(len(batch.jobs), more_wait=bool(self.waiting), now=self.now)
        for k in batch.jobs:
            took = self.now - float(self.asked_s[k]) + self.lanes.beside_s
            self._end(k, took)
        self._take()

    def _end(self, k: int, took: float) -> None:
        self.fate[k] = took if took <= self.timeout_s else "late"
        self.margin.learn(self.expected_s[k], min(took, self.timeout_s), self.timeout_s, self.now)

    def _take(self) -> None:
        while self.waiting and len(self.growing) < self.lanes.lanes:
            count = min(len(self.waiting), self.lanes.largest)
            jobs = [self.waiting.popleft() for _ in range(count)]
            self.taken += count
            self.growing.append(Growing(self.drawn(self.lanes.seconds(count)), jobs))

    def _forget(self) -> None:
        """Takes out those whose time is over: they came in order, so the first goes first."""
        while self.waiting and self.asked_s[self.waiting[0]] + self.timeout_s < self.now:
            self._end(self.waiting.popleft(), math.inf)

    def outcome(self, first: int) -> Outcome:
        fates = [self.fate[k] for k in range(first, len(self.asked_s))]
        times = [fate for fate in fates if not isinstance(fate, str)]
        refused = Counter(fate for fate in fates if isinstance(fate, str))
        return Outcome(answered_s=np.array(times), refused=refused)
