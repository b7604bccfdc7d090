"""How fast the engine drains its queue, measured as it does."""

import math
import time

MEMORY_S = 2.0
"""Time over which the rate is averaged, in seconds of saturated work."""


class DrainRate:
    """The pictures a second of an engine that has enough to do.

    Only time between two deliveries with pictures waiting at both counts: a lone client's pace says nothing
    about what the engine could do.

    Args:
        pictures_per_s: What was measured at start.
    """

    def __init__(self, pictures_per_s: float) -> None:
        self._pictures = pictures_per_s * MEMORY_S
        self._seconds = MEMORY_S
        self._saturated_since: float | None = None

    @property
    def pictures_per_s(self) -> float:
        """The rate."""
        return self._pictures / self._seconds

    def delivered(self, pictures: int, *, more_wait: bool, now: float | None = None) -> None:
        """Counts a delivery.

        Args:
            pictures: How many were delivered.
            more_wait: Whether others wait.
            now: Monotonic time in seconds; the clock's when missing.
        """
        now = time.monotonic() if now is None else now
        if self._saturated_since is not None:
            elapsed = now - self._saturated_since
            fade = math.exp(-elapsed / MEMORY_S)
            self._pictures = self._pictures * fade + pictures
            self._seconds = self._seconds * fade + elapsed
        self._saturated_since = now if more_wait else None

    def seconds_for(self, pictures: int) -> float:
        """Returns how long that many pictures take."""
        return pictures / self.pictures_per_s
