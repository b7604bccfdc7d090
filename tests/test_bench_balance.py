"""The bench of the balance: that its faults are faults, and that it tells what became of a run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_here
from conftest import TOY_CONFIG

from bench.balance import FAULTS, main, play
from training.config import TrainConfig
from training.judge import Judge

CONFIG = dataclasses.replace(
    TOY_CONFIG, kimg=64 * TOY_CONFIG.batch_size / 1000, quality_kimg=0.128, quality_samples=20
)


def test_each_fault_spoils_what_it_says() -> None:
    config = TrainConfig()
    spoilt = {name: fault.change(config) for name, fault in FAULTS.items()}
    assert spoilt["d20"] == dataclasses.replace(config, lr_d=20 * config.lr_d)
    assert spoilt["g20"] == dataclasses.replace(config, lr_g=20 * config.lr_g)
    assert spoilt["idle"] == dataclasses.replace(config, lr_d=config.lr_d / 20)
    assert spoilt["tenth"].spec.ndf == config.spec.ndf // 10
    assert spoilt["none"] == spoilt["few"] == spoilt["nan"] == config
    assert FAULTS["few"].pictures == 50


@pytest.mark.parametrize("arm", ["off", "on"])
def test_a_broken_run_is_told_in_figures_and_sentences(tmp_path: Path, arm: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    fault = dataclasses.replace(FAULTS["nan"], breaks_at=0.75)
    judge = Judge(pixels, CONFIG.quality_samples, torch.device("cpu"), tmp_path)
    outcome = play(fault, dataclasses.replace(CONFIG, balance=arm), pixels, judge, tmp_path / "run")
    assert outcome.kept in outcome.figures
    if arm == "off":
        assert "no longer a number" in outcome.ended
        assert outcome.sentences == []
    else:
        assert outcome.ended == "done"
        assert len(outcome.figures) > 1
        assert "a loss is no longer a number; the run goes back" in outcome.sentences[0]


@pytest.mark.parametrize(("word", "said"), [("--device=tpu", "cpu or cuda"), ("earthquake", "tenth")])
def test_what_is_not_there_is_refused_in_a_line(word: str, said: str) -> None:
    done = run_here(main, word)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
