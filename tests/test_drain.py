"""The measured drain rate."""

import pytest

from app.drain import DrainRate


def test_it_starts_at_the_speed_measured_at_start() -> None:
    assert DrainRate(200.0).seconds_for(50) == pytest.approx(0.25)


def test_it_follows_a_saturated_engine() -> None:
    rate = DrainRate(200.0)
    for tick in range(400):
        rate.delivered(1, more_wait=True, now=tick / 50)
    assert rate.pictures_per_s == pytest.approx(50, rel=0.1)


def test_a_lone_client_says_nothing_about_it() -> None:
    rate = DrainRate(200.0)
    for tick in range(100):
        rate.delivered(1, more_wait=False, now=float(tick))
    assert rate.pictures_per_s == pytest.approx(200)


def test_an_idle_time_does_not_count() -> None:
    rate = DrainRate(100.0)
    rate.delivered(1, more_wait=True, now=0.0)
    rate.delivered(1, more_wait=False, now=0.01)
    rate.delivered(1, more_wait=True, now=500.0)
    rate.delivered(1, more_wait=True, now=500.01)
    assert rate.pictures_per_s == pytest.approx(100, rel=0.01)
