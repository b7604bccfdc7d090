"""What a queue has room and time for, by the rate at which it drains."""

import math
from typing import Any

from app.drain import DrainRate, Margin
from app.fair_queue import FairQueue
from app.refusals import OverloadError


class Admission:
    """Judges requests before anything is spent on them.

    Args:
        waiting: What the pictures wait in.
        max_queue: Most pictures that wait or are being grown.
        pictures_per_s: The rate, as measured at start.
    """

    def __init__(self, waiting: FairQueue[Any], max_queue: int, pictures_per_s: float) -> None:
        self.max_queue = max_queue
        self.drain = DrainRate(pictures_per_s)
        self._queue = waiting
        self._margin = Margin()

    @property
    def busy_s(self) -> float:
        """For how long what waits keeps the lanes busy, in seconds."""
        return self.drain.seconds_for(self._queue.waiting)

    def room(self, timeout_s: float) -> int:
        """Returns how many pictures may wait or be grown, by room and by the time that they have."""
        return min(self.max_queue, math.ceil(timeout_s / self._margin.over(self.drain.seconds_for(1))))

    def refusal(self, count: int, timeout_s: float, coming: int = 0) -> OverloadError | None:
        """Returns why pictures could not be queued, or not be done in time; None if they could.

        Args:
            count: Pictures to grow.
            timeout_s: For how long the caller would wait, in seconds.
            coming: Pictures to count as if they were queued already.
        """
        load = self._queue.waiting + self._queue.taken + coming
        if load + count > self.max_queue:
            message = (
                f"the queue holds {load} pictures of at most {self.max_queue}; there is no room for {count}"
            )
            return OverloadError(message, self.drain.seconds_for(load + count - self.max_queue))
        seconds = self._margin.over(self.expected_s(count, timeout_s, coming))
        if seconds > timeout_s:
            # In tens, for refusals are rendered once a message.
            message = (
                f"the pictures would take about {round(1000 * seconds, -1):.0f} ms, and the request allows "
                f"{1000 * timeout_s:.0f} ms"
            )
            return OverloadError(message, seconds - timeout_s, "deadline")
        return None

    def expected_s(self, count: int, timeout_s: float, coming: int = 0) -> float:
        """Returns how long new pictures would take, in seconds; no less than that, where it is in time."""
        # Counting what is ahead walks the queue, so the bound that needs no walk is tried first.
        bound = self.drain.seconds_for(self._queue.waiting + self._queue.taken + coming + count)
        if self._margin.over(bound) <= timeout_s:
            return bound
        return self.drain.seconds_for(self._queue.ahead_of(count) + coming + count)

    def served(self, expected_s: float, took_s: float, timeout_s: float) -> None:
        """Learns from a request that was let in how far such estimates are to be trusted."""
        self._margin.learn(expected_s, took_s, timeout_s)

    def late(self, expected_s: float, timeout_s: float) -> OverloadError:
        """Learns from a request that was let in and has come too late; returns its refusal."""
        self._margin.learn(expected_s, timeout_s, timeout_s)
        message = f"the pictures were not done in the {1000 * timeout_s:.0f} ms that the request allows"
        return OverloadError(message, self.busy_s, "late")
