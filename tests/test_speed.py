"""The choice of how steps are computed."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG

from training import speed
from training.config import AUTO
from training.execution import settled
from training.speed import choose_speed, fastest, ways

CPU = torch.device("cpu")
LONG_RUN = dataclasses.replace(TOY_CONFIG, kimg=1e9)


def test_only_what_is_left_open_is_tried() -> None:
    usual = settled(TOY_CONFIG, CPU)
    assert ways(TOY_CONFIG, CPU)[0] == (usual.arithmetic, usual.layout)
    assert set(ways(TOY_CONFIG, CPU)) >= {("float32", "nchw"), ("float32", "channels_last")}
    fixed = dataclasses.replace(TOY_CONFIG, arithmetic="float32")
    assert set(ways(fixed, CPU)) == {("float32", "nchw"), ("float32", "channels_last")}
    assert ways(dataclasses.replace(fixed, layout="nchw"), CPU) == [("float32", "nchw")]


def test_another_way_must_be_clearly_faster() -> None:
    usual, other = ("bfloat16", "channels_last"), ("float32", "nchw")
    assert fastest({usual: 1.0, other: 0.9}, usual) == other
    assert fastest({usual: 1.0, other: 0.97}, usual) == usual


def test_a_long_run_is_told_what_is_fastest_and_keeps_to_it(toy_pixels: np.ndarray) -> None:
    config, said = choose_speed(LONG_RUN, toy_pixels, CPU)
    assert AUTO not in {config.arithmetic, config.layout, config.execution}
    assert said.startswith(f"computing in {config.arithmetic}, {config.layout}: the fastest here")
    assert (
        dataclasses.replace(config, **dict.fromkeys(("arithmetic", "layout", "execution"), AUTO)) == LONG_RUN
    )
    assert choose_speed(config, toy_pixels, CPU) == (config, "")


def test_a_short_run_is_computed_as_usual(toy_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "LONG", float("inf"))
    assert choose_speed(LONG_RUN, toy_pixels, CPU) == (settled(LONG_RUN, CPU), "")
    monkeypatch.undo()
    assert choose_speed(LONG_RUN, toy_pixels, CPU, limit=60) == (settled(LONG_RUN, CPU), "")
