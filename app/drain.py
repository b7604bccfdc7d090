"""How fast the engine drains its queue, and how far that is to be trusted, measured as it does."""

import math
import time

MEMORY_S = 2.0
"""Time over which the rate is averaged, in seconds of saturated work."""

LATE = 0.01
"""Share of the requests let in that may come too late, where many come near their time."""

NEARLY = 0.95
"""Share of its time from which an answer counts as late: the way to the client takes time as well."""

STEP = 0.02
"""By how much one that is late moves the margin."""

USUAL = 1.1
"""The margin where nothing has been learned."""

MARGINS = (1.05, 2.0)
"""The least and the largest margin."""

HALF_S = 30.0
"""How long half of what was learned is kept, in seconds: a flood tells little of what comes after."""

PAUSE = 4.0
"""Times that a delivery may take of what it should, or ``MEMORY_S`` where that is longer. What takes longer
was a pause of the whole process, as of a container that is frozen, and tells nothing of the engine."""


class DrainRate:
    """The pictures a second of an engine that has enough to do.

    Only time between two deliveries with pictures waiting at both counts: a lone client's pace says nothing
    about what the engine could do. What was learned is forgotten where nothing more is, for a rate by which
    everything is refused would never be corrected.

    Args:
        pictures_per_s: What was measured at start.
    """

    def __init__(self, pictures_per_s: float) -> None:
        self._at_start = pictures_per_s
        self._pictures = pictures_per_s * MEMORY_S
        self._seconds = MEMORY_S
        self._learned_at = 0.0
        self._saturated_since: float | None = None

    def pictures_per_s(self, now: float | None = None) -> float:
        """Returns the rate; ``now`` is monotonic time in seconds, the clock's when missing."""
        passed = (time.monotonic() if now is None else now) - self._learned_at
        learned = self._pictures / self._seconds
        return self._at_start + (learned - self._at_start) * math.exp2(-passed / HALF_S)

    def delivered(self, pictures: int, *, more_wait: bool, now: float | None = None) -> None:
        """Counts a delivery.

        Args:
            pictures: How many were delivered.
            more_wait: Whether others wait.
            now: Monotonic time in seconds; the clock's when missing.
        """
        now = time.monotonic() if now is None else now
        if self._saturated_since is not None:
            most = max(MEMORY_S, PAUSE * pictures * self._seconds / self._pictures)
            elapsed = min(now - self._saturated_since, most)
            fade = math.exp(-elapsed / MEMORY_S)
            self._pictures = self._pictures * fade + pictures
            self._seconds = self._seconds * fade + elapsed
            self._learned_at = now
        self._saturated_since = now if more_wait else None

    def seconds_for(self, pictures: int, now: float | None = None) -> float:
        """Returns how long that many pictures take; ``now`` as of ``pictures_per_s``."""
        return pictures / self.pictures_per_s(now)


class Margin:
    """How many times longer than expected a request is taken to need.

    Rates wobble. Where all that could just be done in time is let in, one of fifteen comes too late, and was
    grown for nobody; so it is learned from those that come near their time, until few of them are late.

    Source: Robbins and Monro, "A stochastic approximation method", 1951, for a quantile.
    """

    def __init__(self) -> None:
        self._learned = USUAL
        self._at = 0.0

    def factor(self, now: float | None = None) -> float:
        """Returns the factor; ``now`` is monotonic time in seconds, the clock's when missing."""
        passed = (time.monotonic() if now is None else now) - self._at
        return USUAL + (self._learned - USUAL) * math.exp2(-passed / HALF_S)

    def over(self, expected_s: float, now: float | None = None) -> float:
        """Returns how long something is taken to need, in seconds."""
        return self.factor(now) * expected_s

    def learn(self, expected_s: float, took_s: float, allowed_s: float, now: float | None = None) -> None:
        """Learns from a request that was let in.

        Args:
            expected_s: How long it was expected to take, in seconds.
            took_s: How long it took, or what it was allowed if it came too late.
            allowed_s: How long it was allowed to take; what has far more time tells nothing.
            now: Monotonic time in seconds; the clock's when missing.
        """
        now = time.monotonic() if now is None else now
        over = self.over(expected_s, now)
        if over < allowed_s / 2:
            return
        longer = took_s > min(NEARLY * allowed_s, over)
        least, largest = MARGINS
        self._learned = min(largest, max(least, self.factor(now) + STEP * (longer - LATE)))
        self._at = now
