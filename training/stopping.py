"""A run's other end: SIGINT or SIGTERM asks it to stop after the step in hand."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody has asked a run to stop."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def on_signals(self, *, alone: bool) -> Iterator[None]:
        """Takes SIGINT and SIGTERM as such a wish, until the block ends; a second signal ends the process.

        Args:
            alone: Whether this is the run's only process. Of several each gets a terminal's signal twice, for
                ``torchrun`` passes it on, too: there the second one means no more than the first.
        """

        def stop(number: int, _: FrameType | None) -> None:
            self.asked = True
            if alone:
                signal.signal(number, signal.SIG_DFL)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
