"""Threads that give way to others."""

import os
import sys
import threading
from pathlib import Path

import pytest

from app.background import NICENESS, run_behind
from app.sessions import ModelFile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a nice value for each thread")


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def niceness_of_threads() -> dict[int, int]:
    threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    return {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


def test_work_gives_way_and_so_do_the_threads_that_it_starts() -> None:
    found = []

    def work() -> str:
        found.append(nice())
        thread = threading.Thread(target=lambda: found.append(nice()))
        thread.start()
        thread.join()
        return "done"

    before = nice()
    assert run_behind(work) == "done"
    assert found == [min(19, before + NICENESS)] * 2
    assert nice() == before


def test_what_goes_wrong_is_told_to_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        run_behind(lambda: 1 / 0)


def test_the_threads_of_a_session_give_way(toy_model: Path) -> None:
    before = niceness_of_threads()
    with toy_model.open("rb") as content:
        session = ModelFile(content, "cpu", "float32").open(threads=3)
    more = [niceness for thread, niceness in niceness_of_threads().items() if thread not in before]
    # The third is the one that calls. Of other libraries' threads one may begin meanwhile.
    assert more.count(min(19, nice() + NICENESS)) == 2
    del session
