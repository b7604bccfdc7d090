"""Who may use a CUDA card when: many side by side, or one alone who records a graph on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Card:
    """Keeps graphs from being recorded while anybody else uses the card.

    ONNX Runtime records in the mode in which a call of CUDA by any other thread, such as a copy, may fail and
    spoil the recording. A model that is loaded while another one serves would meet that.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._idle = threading.Condition()
        self._users = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Uses the card beside others."""
        with self._door, self._idle:
            self._users += 1
        try:
            yield
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Uses the card when all others are done, who wait meanwhile."""
        with self._door:
            with self._idle:
                self._idle.wait_for(lambda: self._users == 0)
            yield
