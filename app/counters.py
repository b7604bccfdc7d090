"""Counters in memory for the quotas, bounded in number."""

import time
from collections import OrderedDict

from limits.storage import Storage

MAX_COUNTERS = 100_000
"""Most counters that are kept: some 30 MB. Beyond that the oldest are forgotten."""


class Counters(Storage):
    """A storage of ``limits`` for one thread.

    ``limits`` brings one for memory, without a bound, and with a thread that looks at all of it up to a
    hundred times a second.
    """

    STORAGE_SCHEME = None
    base_exceptions = ValueError

    def __init__(self) -> None:
        super().__init__()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Count and end of each, those that began first in front."""

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts, and returns the count."""
        now = time.monotonic()
        count, end = self._counts.get(key, (0, 0.0))
        if end <= now:
            self._counts.pop(key, None)
            count, end = 0, now + expiry
        self._counts[key] = count + amount, end
        while len(self._counts) > MAX_COUNTERS or next(iter(self._counts.values()))[1] <= now:
            self._counts.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        """Returns the count."""
        count, end = self._counts.get(key, (0, 0.0))
        return count if end > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        """Returns when the count begins anew, in seconds of the monotonic clock, which no operator sets."""
        _, end = self._counts.get(key, (0, 0.0))
        return max(end, time.monotonic())

    def check(self) -> bool:
        """Tells that the storage is there."""
        return True

    def reset(self) -> int:
        """Forgets every count."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forgets a count."""
        self._counts.pop(key, None)
