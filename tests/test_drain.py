"""The measured drain rate."""

import numpy as np
import pytest

from app.drain import HALF_S, LATE, MARGINS, USUAL, DrainRate, Margin


def test_it_starts_at_the_speed_measured_at_start() -> None:
    assert DrainRate(200.0).seconds_for(50) == pytest.approx(0.25)


def test_it_follows_a_saturated_engine() -> None:
    rate = DrainRate(200.0)
    for tick in range(400):
        rate.delivered(1, more_wait=True, now=tick / 50)
    assert rate.pictures_per_s(now=8.0) == pytest.approx(50, rel=0.1)


def test_a_lone_client_says_nothing_about_it() -> None:
    rate = DrainRate(200.0)
    for tick in range(100):
        rate.delivered(1, more_wait=False, now=float(tick))
    assert rate.pictures_per_s(now=100.0) == pytest.approx(200)


def test_an_idle_time_does_not_count() -> None:
    rate = DrainRate(100.0)
    rate.delivered(1, more_wait=True, now=0.0)
    rate.delivered(1, more_wait=False, now=0.01)
    rate.delivered(1, more_wait=True, now=500.0)
    rate.delivered(1, more_wait=True, now=500.01)
    assert rate.pictures_per_s(now=500.01) == pytest.approx(100, rel=0.01)


def test_a_pause_of_the_whole_process_is_not_taken_for_a_slow_engine() -> None:
    rate = DrainRate(200.0)
    for tick in range(100):
        rate.delivered(4, more_wait=True, now=tick / 50)
    rate.delivered(4, more_wait=False, now=62.0)  # a container was frozen for a minute
    assert rate.pictures_per_s(now=62.0) > 40
    assert rate.pictures_per_s(now=62.0 + 5 * HALF_S) == pytest.approx(200, rel=0.05)


def test_an_engine_of_seconds_a_batch_is_believed() -> None:
    rate = DrainRate(200.0)
    for tick in range(20):
        rate.delivered(4, more_wait=True, now=10.0 * tick)
    assert rate.pictures_per_s(now=190.0) == pytest.approx(0.4, rel=0.1)


def test_of_what_could_just_be_done_in_time_few_are_late_in_the_end() -> None:
    margin, random = Margin(), np.random.default_rng(0)
    late = []
    for k, wobble in enumerate(np.exp(0.15 * random.normal(size=20_000))):
        now = k / 100
        expected = 2.0 / margin.factor(now)  # as many as may are let in
        late.append(expected * wobble > 2.0)
        margin.learn(expected, min(2.0, expected * wobble), 2.0, now)
    assert np.mean(late[:20]) > 0.1
    assert np.mean(late[2_000:]) <= 2 * LATE


def test_requests_that_are_done_in_time_take_the_margin_back() -> None:
    margin = Margin()
    for _ in range(100):
        margin.learn(1.0, 2.0, 2.0, now=0)
    assert margin.factor(now=0) == MARGINS[1]
    for _ in range(10_000):
        margin.learn(1.0, 1.0, 2.0, now=0)
    assert margin.factor(now=0) == MARGINS[0]


def test_what_a_flood_has_taught_is_forgotten() -> None:
    margin = Margin()
    for _ in range(100):
        margin.learn(1.0, 2.0, 2.0, now=0)
    assert margin.factor(now=HALF_S) == pytest.approx((USUAL + MARGINS[1]) / 2)
    assert margin.factor(now=20 * HALF_S) == pytest.approx(USUAL)


def test_who_has_far_more_time_teaches_nothing() -> None:
    margin = Margin()
    margin.learn(0.1, 0.9, 1.0)
    assert margin.factor() == USUAL
