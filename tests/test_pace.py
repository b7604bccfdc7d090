"""Turns: who learns in which step, and that a resting network's weights stay."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG

from training.config import TrainConfig
from training.loop import Trainer
from training.pace import turn


def test_in_a_plain_recipe_both_learn_in_every_step() -> None:
    turns = {turn(TrainConfig(), step) for step in range(50)}
    assert [(t.d_learns, t.g_learns, t.lazily) for t in turns] == [(True, True, False)]


def test_d_and_g_take_turns_as_asked() -> None:
    config = TrainConfig(d_every=2, g_every=3)
    assert [turn(config, step).d_learns for step in range(4)] == [True, False, True, False]
    assert [turn(config, step).g_learns for step in range(4)] == [True, False, False, True]


def test_g_rests_until_so_many_pictures_were_shown() -> None:
    config = TrainConfig(batch_size=100, g_rests_until_kimg=0.3)
    assert [turn(config, step).g_learns for step in range(5)] == [False, False, False, True, True]


def test_r1_is_due_in_steps_in_which_d_learns() -> None:
    config = TrainConfig(r1=1.0, r1_every=2, d_every=3)
    due = [step for step in range(20) if turn(config, step).lazily and turn(config, step).d_learns]
    assert due == [0, 6, 12, 18]


@pytest.mark.parametrize(("setting", "rests"), [("d_every", "d"), ("g_every", "g")])
def test_who_rests_is_measured_and_stays_as_it_is(toy_pixels: np.ndarray, setting: str, rests: str) -> None:
    trainer = Trainer(dataclasses.replace(TOY_CONFIG, **{setting: 2}), toy_pixels, torch.device("cpu"))
    trainer.train_step()
    before = {net: [p.clone() for p in getattr(trainer.players, net).parameters()] for net in "gd"}
    stats = trainer.train_step().as_floats()
    for net, weights in before.items():
        same = [
            torch.equal(*pair)
            for pair in zip(weights, getattr(trainer.players, net).parameters(), strict=True)
        ]
        assert all(same) if net == rests else not any(same)
    assert stats["loss_d"] > 0
    assert (stats["gradient_g"] == 0) == (rests == "g")
