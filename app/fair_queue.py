"""The pictures that wait, in an order that lets no request starve another."""

import heapq
import itertools
import threading
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar


@dataclass(eq=False, slots=True)
class Waiting:
    """What a queue holds; the queue alone changes these fields."""

    turn: int = field(default=0, init=False)
    state: Literal["new", "waiting", "gone"] = field(default="new", init=False)


T = TypeVar("T", bound=Waiting)


class FairQueue(Generic[T]):
    """A thread-safe queue of pictures in which each request gets one turn for each picture that is served.

    Picture k of a request has the turn of a request that would come k pictures later. So a request for one
    is behind what was there before it, and not behind the rest of a large request; and a large request, of
    which a picture has its turn at every tick, does not wait for the small ones to end.

    Source: Start-time fair queuing (Goyal, Vin and Cheng, 1996), with a picture as the unit of cost.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._served = 0
        self._ahead: dict[
            int, int
        ] = {}  # what was counted since the queue last changed: refusals come in floods
        self._closed = False
        self.waiting = 0
        """Pictures that wait."""
        self.taken = 0
        """Pictures that were taken and are not done."""

    def put(self, items: list[T]) -> None:
        """Queues the pictures of one request.

        One that waits already moves up if its turn is now earlier; one that was taken is left alone.
        """
        with self._changed:
            for turn, item in enumerate(items, self._served):
                if item.state == "gone" or (item.state == "waiting" and item.turn <= turn):
                    continue
                self.waiting += item.state == "new"
                item.turn, item.state = turn, "waiting"
                heapq.heappush(self._heap, (turn, next(self._order), item))
            self._ahead.clear()
            self._changed.notify(len(items))

    def drop(self, item: T) -> bool:
        """Takes out a picture that nobody wants any more; False if it no longer waits."""
        if item.state == "gone":  # for good, so there is no need of the lock
            return False
        with self._changed:
            if item.state != "waiting":
                return False
            item.state = "gone"
            self.waiting -= 1
            self._ahead.clear()
            return True

    def take(self, limit: int) -> list[T]:
        """Waits for pictures and takes those whose turn it is.

        Returns:
            1…limit pictures; none when the queue is closed.
        """
        with self._changed:
            while not self.waiting and not self._closed:
                self._changed.wait()
            batch: list[T] = []
            while self.waiting and len(batch) < limit:
                turn, _, item = heapq.heappop(self._heap)
                if not _live(item, turn):
                    continue  # dropped, or moved up
                item.state = "gone"
                self.waiting -= 1
                batch.append(item)
            self._ahead.clear()
            self._served += len(batch)
            self.taken += len(batch)
            if not self.waiting:
                self._heap.clear()  # what is left was dropped
            return batch

    def done(self, count: int) -> None:
        """Notes that pictures which were taken are finished."""
        with self._changed:
            self.taken -= count

    def ahead_of(self, count: int) -> int:
        """Returns how many pictures would be served before the last of a new request for ``count``."""
        with self._changed:
            last = self._served + count - 1
            if last not in self._ahead:
                self._ahead[last] = sum(turn <= last and _live(item, turn) for turn, _, item in self._heap)
            return self.taken + self._ahead[last]

    def close(self) -> None:
        """Wakes every thread that waits; ``take`` returns what is left, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _live(item: Waiting, turn: int) -> bool:
    """Tells whether an entry of the heap is its picture's present place."""
    return item.state == "waiting" and item.turn == turn
