"""The simulated engine waits and refuses as queueing theory says, where theory has a closed form."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from bench.queueing import Lanes, Outcome, arrivals, simulate

REQUESTS = 5_000
RUNS = 8


def exponential(seed: int) -> Callable[[float], float]:
    """Returns service times that forget."""
    draw = np.random.default_rng(1000 + seed).exponential
    return lambda seconds: float(draw(seconds))


def runs(lanes: Lanes, rate: float, *, memoryless: bool = True, timeout_s: float = math.inf) -> list[Outcome]:
    """Returns independent simulations."""
    return [
        simulate(
            lanes,
            arrivals(rate, REQUESTS, seed=seed),
            timeout_s,
            **({"drawn": exponential(seed)} if memoryless else {}),  # type: ignore[arg-type]
        )
        for seed in range(RUNS)
    ]


def assert_mean(values: list[float], wanted: float) -> None:
    """Asserts that a mean over runs is the wanted one within its confidence, which is narrow."""
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    assert error < 0.05 * wanted
    assert abs(np.mean(values) - wanted) < 4.8 * error  # 99.8 % of Student's t with 7 degrees


def mean_s(outcomes: list[Outcome]) -> list[float]:
    return [float(outcome.answered_s.mean()) for outcome in outcomes]


def erlang_b(load: float, servers: int) -> float:
    """Returns the share of requests that find all servers busy, where none may wait."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(load: float, servers: int) -> float:
    """Returns the share of requests that have to wait, where all may."""
    blocked = erlang_b(load, servers)
    return blocked / (1 - load / servers * (1 - blocked))


@pytest.mark.parametrize(("servers", "use"), [(1, 0.5), (4, 0.8)])
def test_lanes_that_share_nothing_are_servers_with_one_queue(servers: int, use: float) -> None:
    """M/M/c: the mean wait is Erlang's C over what is left of the servers."""
    rate = use * servers
    outcomes = runs(Lanes(batch_s={1: 1.0}, lanes=servers), rate)
    wait = erlang_c(rate, servers) / (servers - rate)
    assert_mean(mean_s(outcomes), 1 + wait)


@pytest.mark.parametrize("use", [0.5, 0.8])
def test_one_lane_of_one_picture_waits_as_pollaczek_and_khinchine_say(use: float) -> None:
    """M/D/1: half of what waits where service times forget."""
    outcomes = runs(Lanes(batch_s={1: 1.0}), use, memoryless=False)
    assert_mean(mean_s(outcomes), 1 + use / (2 * (1 - use)))


@pytest.mark.parametrize(("servers", "room", "load"), [(1, 5, 0.9), (2, 6, 1.5)])
def test_a_bounded_queue_loses_what_it_should(servers: int, room: int, load: float) -> None:
    """M/M/c/K: the share refused is that of the time at which K are there."""
    outcomes = runs(Lanes(batch_s={1: 1.0}, lanes=servers, max_queue=room), load)
    weights = [load**n / math.prod(min(k, servers) for k in range(1, n + 1)) for n in range(room + 1)]
    assert_mean([1 - outcome.share for outcome in outcomes], weights[-1] / sum(weights))
    assert set().union(*(outcome.refused for outcome in outcomes)) == {"full"}


def test_lanes_on_one_processor_do_no_more_than_it_does() -> None:
    """However work is shared, as many are there as in M/M/1, so by Little's law the mean is the same."""
    outcomes = runs(Lanes(batch_s={1: 1.0}, lanes=3, at_once=1), 0.7)
    assert_mean(mean_s(outcomes), 1 / (1 - 0.7))


def test_a_full_engine_makes_as_many_pictures_as_its_batches_allow() -> None:
    lanes = Lanes(batch_s={1: 0.01, 4: 0.02}, lanes=2, at_once=1)
    assert lanes.pictures_per_s == 200
    asked_s = arrivals(400, 20_000, "even")
    outcome = simulate(lanes, asked_s, 1.0)
    assert outcome.share == pytest.approx(0.5, rel=0.02)
    assert set(outcome.refused) <= {"deadline", "late"}


def test_nobody_waits_longer_than_they_would_and_few_are_let_in_in_vain() -> None:
    outcome = simulate(Lanes.of(200, lanes=2, batch=4, at_once=1), arrivals(1000, 20_000), 0.5)
    assert outcome.answered_s.max() <= 0.5
    assert outcome.percentile_ms(50) > 300  # what the engine allows is used
    assert outcome.refused["late"] < 0.01 * outcome.refused["deadline"]


def test_who_waits_in_vain_is_late_at_the_time_that_he_said() -> None:
    """Here batches take three times what the drain rate began with, so the first are let in wrongly."""
    outcome = simulate(Lanes(batch_s={1: 0.1}), arrivals(50, 500), 1.0, drawn=lambda seconds: 3 * seconds)
    assert outcome.refused["late"] > 0
    assert outcome.answered_s.max() <= 1.0


def test_alone_a_picture_takes_its_own_time() -> None:
    lanes = Lanes.of(200, alone_s=0.008, lanes=2, batch=4, at_once=1)
    assert lanes.pictures_per_s == pytest.approx(200)
    outcome = simulate(lanes, arrivals(1, 50, "even"))
    assert outcome.answered_s == pytest.approx(np.full(45, 0.008))
    assert outcome.share == 1


@pytest.mark.parametrize(
    "wrong", [{"batch_s": {1: 0.0}}, {"batch_s": {2: 0.1}}, {"batch_s": {1: 1.0}, "lanes": 0}]
)
def test_lanes_that_would_never_end_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got"):
        Lanes(**wrong)  # type: ignore[arg-type]
