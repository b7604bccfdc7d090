"""Threads that give way: they use a processor that is idle, and take none from what cannot wait."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

NICENESS = 10
"""What is added to the nice value: about a tenth of the share of a thread that does not give way.

Not ``SCHED_IDLE``: where other programs keep the processors busy, work that is waited for would stand still.
"""


def run_behind(work: Callable[[], T]) -> T:
    """Runs work in a thread that gives way to others, as do the threads that it starts, for good.

    On Linux, where each thread has a nice value of its own and hands it on; elsewhere it changes nothing.
    """
    with ThreadPoolExecutor(1, "behind", _give_way) as thread:
        return thread.submit(work).result()


def _give_way() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
