"""The order in which pictures have their turn."""

import threading
from dataclasses import dataclass

import pytest

from app.fair_queue import FairQueue, Waiting


@dataclass(eq=False, slots=True)
class Named(Waiting):
    """A picture with a name."""

    name: str


def request(name: str, count: int) -> list[Named]:
    return [Named(f"{name}{k}") for k in range(count)]


def take_all(queue: FairQueue[Named], limit: int = 1) -> list[str]:
    names = []
    while queue.waiting:
        names += [item.name for item in queue.take(limit)]
    return names


@pytest.fixture
def queue() -> FairQueue[Named]:
    return FairQueue()


def test_one_request_is_served_in_its_order(queue: FairQueue[Named]) -> None:
    queue.put(request("a", 5))
    assert [item.name for item in queue.take(3)] == ["a0", "a1", "a2"]
    assert take_all(queue) == ["a3", "a4"]


def test_a_small_request_does_not_wait_for_the_rest_of_a_large_one(queue: FairQueue[Named]) -> None:
    queue.put(request("large", 64))
    queue.put(request("small", 1))
    assert take_all(queue).index("small0") == 1


def test_a_large_request_gets_a_turn_for_every_picture_of_others(queue: FairQueue[Named]) -> None:
    queue.put(request("large", 20))
    served = []
    for k in range(60):  # singles keep coming, as fast as pictures are served
        queue.put(request(f"single{k}-", 1))
        served += [item.name for item in queue.take(1)]
    assert sum(name.startswith("large") for name in served) == 20
    assert served.index("large19") < 45


def test_two_large_requests_share(queue: FairQueue[Named]) -> None:
    queue.put(request("a", 10))
    queue.put(request("b", 10))
    assert sorted(name[0] for name in take_all(queue)[:10]) == ["a"] * 5 + ["b"] * 5


def test_a_dropped_picture_leaves_its_place(queue: FairQueue[Named]) -> None:
    items = request("a", 3)
    queue.put(items)
    assert queue.drop(items[0])
    assert not queue.drop(items[0])
    assert queue.waiting == 2
    assert take_all(queue, limit=64) == ["a1", "a2"]
    assert not queue.drop(items[1])


def test_a_picture_that_a_second_request_wants_sooner_moves_up(queue: FairQueue[Named]) -> None:
    items = request("a", 9)
    queue.put(items)
    queue.put([items[8]])
    assert queue.waiting == 9
    assert take_all(queue)[:3] == ["a0", "a8", "a1"]


def test_a_picture_that_was_taken_is_not_queued_again(queue: FairQueue[Named]) -> None:
    items = request("a", 1)
    queue.put(items)
    queue.take(1)
    queue.put(items)
    assert (queue.waiting, queue.taken) == (0, 1)
    queue.done(1)
    assert queue.taken == 0


def test_what_is_ahead_counts_turns_and_what_is_being_grown(queue: FairQueue[Named]) -> None:
    queue.put(request("large", 64))
    assert queue.ahead_of(1) == 1
    assert queue.ahead_of(10) == 10
    queue.take(4)
    assert queue.ahead_of(1) == 4 + 1
    assert queue.ahead_of(1000) == 64


def test_close_wakes_those_who_wait(queue: FairQueue[Named]) -> None:
    taken: list[list[Named]] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take(1)))
    thread.start()
    queue.close()
    thread.join(timeout=5)
    assert taken == [[]]


def test_threads_take_each_picture_once() -> None:
    queue: FairQueue[Named] = FairQueue()
    taken: list[str] = []

    def work() -> None:
        while batch := queue.take(3):
            taken.extend(item.name for item in batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for k in range(200):
        queue.put(request(f"{k}-", 1 + k % 5))
    while queue.waiting:
        pass
    queue.close()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == sum(1 + k % 5 for k in range(200))
