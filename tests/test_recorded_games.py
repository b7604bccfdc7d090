"""The controller before real games that went wrong: what it is to find in each, when, and what to do.

A change of its thresholds shows here at once. The games are those of docs/recipes.md.
"""

import dataclasses

import pytest
from recorded import windows

from training.balance.controller import Controller, Decision
from training.balance.verdicts import Verdict
from training.config import PRESETS, TrainConfig

SMALL = dataclasses.replace(TrainConfig().spec, img_resolution=32, ngf=8, ndf=8)
CONFIG = TrainConfig(spec=SMALL, batch_size=16, translate=0.0625, quality_kimg=0)


def first_of(game: str, config: TrainConfig = CONFIG) -> tuple[int, Decision] | None:
    """Returns the first decision and the window of it; those after a change were not recorded."""
    controller = Controller()
    for number, window in enumerate(windows(game), 1):
        decision = controller.observe(window, config, shown=number * 512)
        if decision is not None:
            return number, decision
    return None


@pytest.mark.parametrize("game", ["flowers-none", "flowers-g20", "avatars-g20"])
def test_a_game_that_went_well_is_left_alone(game: str) -> None:
    assert first_of(game) is None


@pytest.mark.parametrize(
    ("game", "spoilt", "window", "found", "action"),
    [
        ("flowers-d20", {"lr_d": 4e-3}, 1, Verdict.D_TOO_FAST, "go back, lr_d=0.0002"),
        ("flowers-d20-seed1", {"lr_d": 4e-3}, 1, Verdict.D_TOO_FAST, "go back, lr_d=0.0002"),
        ("avatars-d20", {"lr_d": 4e-3}, 1, Verdict.D_TOO_FAST, "go back, lr_d=0.0002"),
        ("flowers-few", {}, 11, Verdict.D_OVERFITTING, "translate=0.125"),
        ("flowers-idle", {"lr_d": 1e-5}, 7, Verdict.G_TOO_FAST, "lr_d=0.0002"),
        ("flowers-tenth", {"spec": dataclasses.replace(SMALL, ndf=1)}, 7, Verdict.G_TOO_FAST, "ndf=8"),
        ("avatars-tenth", {"spec": dataclasses.replace(SMALL, ndf=1)}, 7, Verdict.G_TOO_FAST, "ndf=8"),
    ],
)
def test_a_game_that_went_wrong_is_mended(
    game: str, spoilt: dict[str, object], window: int, found: Verdict, action: str
) -> None:
    first = first_of(game, dataclasses.replace(CONFIG, **spoilt))
    assert first is not None
    when, decision = first
    assert (when, decision.verdict, decision.action) == (window, found, action)


@pytest.mark.parametrize(
    ("game", "told"),
    [
        ("flowers-tenth", [(7, Verdict.G_TOO_FAST), (24, Verdict.BALANCED)]),
        ("avatars-d20", [(17, Verdict.D_TOO_FAST)]),
        ("flowers-collapse", [(17, Verdict.COLLAPSING)]),
    ],
)
def test_who_watches_tells_what_becomes_of_a_game(game: str, told: list[tuple[int, Verdict]]) -> None:
    """D's strides aside, which are found before anything else."""
    controller, found = Controller(act=False), []
    for number, window in enumerate(windows(game), 1):
        calm = dataclasses.replace(window, stride_d=0.01)
        if decision := controller.observe(calm, CONFIG, shown=number * 512):
            found.append((number, decision.verdict))
    assert found == told


DISTANCES = {
    29: 146.1,
    58: 121.2,
    87: 123.6,
    117: 115.7,
    146: 116.5,
    175: 112.4,
    205: 110.4,
    234: 108.4,
    263: 106.5,
}
"""Of the game ``flowers-best``, by the window after which they were measured."""


def test_a_long_game_of_the_recipe_best_is_left_alone() -> None:
    """D's loss is 92 to 95 % of the way to where it tells nothing, and pictures get better all the time."""
    spec = dataclasses.replace(SMALL, ngf=12, ndf=12)
    config = dataclasses.replace(PRESETS["best"], spec=spec, batch_size=64, kimg=600, quality_kimg=60)
    controller, told = Controller(), []
    for number, window in enumerate(windows("flowers-best"), 1):
        if decision := controller.observe(window, config, shown=number * 2048):
            told.append((number, decision.action))
        if number in DISTANCES:
            controller.measured(DISTANCES[number])
    assert told == []
