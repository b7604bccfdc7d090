"""The controller where quality is measured: what gets better is left alone."""

import dataclasses

import pytest
from test_balance import BY_HEART, CONFIG, D_WINS, G_WINS, play, warm

from training.balance.controller import COOLDOWN, PATIENCE
from training.balance.signals import Signals

MEASURED = dataclasses.replace(CONFIG, quality_kimg=10)


@pytest.mark.parametrize("window", [G_WINS, BY_HEART, D_WINS])
def test_what_gets_better_is_left_alone(window: Signals) -> None:
    controller = warm()
    controller.measured(200.0)
    [told] = play(controller, *[window] * 3 * COOLDOWN, config=MEASURED)
    assert told.sentence.endswith("; the pictures get better, so nothing is changed.")
    assert not told.changes
    controller.measured(150.0)
    assert play(controller, *[window] * 3 * COOLDOWN, config=MEASURED) == []


@pytest.mark.parametrize("window", [G_WINS, BY_HEART, D_WINS])
def test_what_no_longer_gets_better_is_mended_once_a_measurement(window: Signals) -> None:
    controller = warm()
    controller.measured(200.0)
    controller.measured(199.0)
    [change] = play(controller, *[window] * 3 * COOLDOWN, config=MEASURED)
    assert change.changes
    controller.measured(201.0)
    [change] = play(controller, *[window] * 3 * COOLDOWN, config=MEASURED)
    assert change.changes


@pytest.mark.parametrize("window", [G_WINS, BY_HEART, D_WINS])
def test_where_nobody_measures_signals_decide(window: Signals) -> None:
    controller = warm()
    controller.measured(200.0)
    controller.measured(None)
    [decision] = play(controller, *[window] * PATIENCE, config=MEASURED)
    assert decision.changes


def test_before_the_first_measurement_a_win_of_d_alone_is_mended() -> None:
    [decision] = play(warm(), *[D_WINS] * PATIENCE, config=MEASURED)
    assert decision.changes == {"lr_d": 1e-4}
    for window in (G_WINS, BY_HEART):
        [decision] = play(warm(), *[window] * PATIENCE, config=MEASURED)
        assert decision.sentence.endswith("; nothing is changed before quality is first measured.")
        assert not decision.changes


@pytest.mark.parametrize("window", [G_WINS, BY_HEART, D_WINS])
def test_pictures_that_are_all_alike_are_not_waited_for(window: Signals) -> None:
    controller = warm()
    controller.measured(200.0)
    alike = dataclasses.replace(window, diversity=0.45)
    [decision] = play(controller, *[alike] * PATIENCE, config=MEASURED)
    assert decision.changes
