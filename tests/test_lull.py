"""The event loop rests in a flood of refusals, and only there."""

import asyncio
import time
from collections.abc import Callable

import pytest

from app.lull import LULL_S, Lull

BUSY_S = 1.0
"""The lanes have enough to do for long."""

Turn = Callable[[Lull], None]
"""What happens in a turn of the loop."""

Rests = Callable[..., list[float]]
"""Lets turns happen one after the other; returns the seconds of each rest."""


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> Rests:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr("app.lull.monotonic", lambda: 0.0)  # all of it within an instant

    async def run(turns: tuple[Turn, ...]) -> None:
        lull = Lull()
        for turn in turns:
            turn(lull)
            for _ in range(3):  # for it rests after what has come in
                await asyncio.sleep(0)

    def happen(*turns: Turn) -> list[float]:
        asyncio.run(run(turns))
        return slept

    return happen


def refusals(number: int, busy_s: float = BUSY_S) -> Turn:
    def refuse(lull: Lull) -> None:
        for _ in range(number):
            lull.refused(busy_s, asyncio.get_running_loop())

    return refuse


def test_it_rests_once_in_each_turn_of_a_flood(rests: Rests) -> None:
    assert rests(refusals(10), refusals(1), refusals(5)) == [LULL_S] * 3


def test_a_single_refusal_is_no_flood(rests: Rests) -> None:
    assert rests(refusals(1)) == []


def test_neither_are_refusals_that_are_far_apart(rests: Rests, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr("app.lull.monotonic", lambda: float(next(seconds)))
    assert rests(refusals(10)) == []


def test_lanes_that_would_run_dry_are_looked_after(rests: Rests) -> None:
    assert rests(refusals(10, busy_s=LULL_S)) == []


def test_a_new_connection_is_not_kept_waiting(rests: Rests) -> None:
    def come(lull: Lull) -> None:
        refusals(10)(lull)
        lull.connected()

    assert rests(come, refusals(1)) == [LULL_S]
