"""The event loop rests a little where nearly all that comes is refused, so that refusals come in bunches."""

import asyncio
import math
import time
from time import monotonic

LULL_S = 0.01
"""How long it rests, in seconds; the most by which a refusal waits for others."""


class Lull:
    """Gathers refusals, as network cards gather interrupts.

    In a flood each request would wake the event loop, which takes a processor from a lane for a moment, and
    the lane's numbers out of the caches for longer than that: the pictures pay several times for each
    refusal. So the loop sleeps between two bunches, and what has come meanwhile is refused in one go. The
    lanes need no loop to take what waits; where too little waits to keep them busy, it does not rest.
    """

    def __init__(self) -> None:
        self._last = -math.inf
        self._due = False
        self._disturbed = False

    def refused(self, busy_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """Takes note of a refusal, and lets the loop rest if another one was just before it.

        Args:
            busy_s: For how long the lanes have enough to do, in seconds.
            loop: The one that runs.
        """
        now = monotonic()
        flood, self._last = now - self._last < LULL_S, now
        if flood and not self._due and busy_s > 2 * LULL_S:
            self._due = True
            loop.call_soon(loop.call_soon, self._rest)  # what has come in is handled first

    def connected(self) -> None:
        """Takes note of a new connection: the loop accepts one in a turn, and others may wait behind it."""
        self._disturbed = True

    def _rest(self) -> None:
        if not self._disturbed:
            time.sleep(LULL_S)
        self._due = self._disturbed = False
        self._last = monotonic()
