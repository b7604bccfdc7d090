"""Real runs that fail on purpose: what the balance does about it, on disk and in the networks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_DATA

from models.dcgan import INIT_STD
from training.balance.keeper import Balance
from training.balance.probe import LEAST_LEFT, Probe, all_finite, held_apart, stride
from training.balance.signals import WINDOW
from training.balance.verdicts import LONGEST_STRIDE, Verdict
from training.best import best_checkpoint
from training.cadence import RunOptions
from training.checkpoint import checkpoints, load_checkpoint, newest_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.journal import Event, read_journal
from training.loop import Trainer
from training.run import Run, TrainingDivergedError
from training.step_stats import StepStats

CPU = torch.device("cpu")
WINDOWS = 3
CONFIG = dataclasses.replace(TOY_CONFIG, kimg=WINDOWS * WINDOW * TOY_CONFIG.batch_size / 1000, quality_kimg=0)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """64 noise pictures, (64, 16, 16, 3) uint8: enough to keep some apart."""
    return np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)


class Faulty(Trainer):
    """Breaks G once, at a step of the first stream; and can be told to stop at one."""

    breaks_at = -1
    stops_at = -1
    run: Run | None = None

    def train_step(self) -> StepStats:
        """Takes a step; the fault comes after it."""
        stats = super().train_step()
        if self.step == self.breaks_at and self.config.stream == 0:
            next(self.players.g.parameters()).data.fill_(torch.nan)
        if self.step == self.stops_at and self.run is not None:
            self.run.stop.asked = True
        return stats


def start(pixels: np.ndarray, folder: Path, config: TrainConfig, **faults: int) -> Run:
    seen, held_out = held_apart(pixels)
    trainer = Faulty(config, seen, CPU)
    for name, value in faults.items():
        setattr(trainer, name, value)
    balance = Balance(trainer, Probe.of(trainer, seen, held_out))
    options = RunOptions(folder=folder, sheets=1, checkpoints=WINDOWS)
    trainer.run = Run(trainer, TOY_DATA, options, balance=balance)
    return trainer.run


def events(folder: Path) -> list[Event]:
    return [entry for entry in read_journal(folder) if isinstance(entry, Event)]


@pytest.mark.parametrize(
    ("step", "where"), [(WINDOW + 5, "step-00000032"), (2 * WINDOW, "step-00000032"), (5, "the start")]
)
def test_a_broken_run_goes_back_and_ends_well(
    pixels: np.ndarray, tmp_path: Path, step: int, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(pixels, tmp_path, CONFIG, breaks_at=step)
    assert run.train()
    assert all_finite(run.trainer.players.g, run.trainer.players.d)
    [event] = events(tmp_path)
    assert event.verdict == Verdict.DIVERGED
    assert event.action == "go back, lr_g=0.0001, lr_d=0.0001, stream=1"
    said = capsys.readouterr().out
    assert event.sentence in said
    assert f"gone back to {where}" in said
    for folder in checkpoints(tmp_path):
        assert all(tensor.isfinite().all() for tensor in load_checkpoint(folder).tensors.values())
    final = load_checkpoint(tmp_path)
    assert (final.step, final.config.stream, final.config.lr_g) == (WINDOWS * WINDOW, 1, 1e-4)


def test_the_checkpoint_that_was_gone_back_to_stays_the_best_and_a_good_one(
    pixels: np.ndarray, tmp_path: Path
) -> None:
    start(pixels, tmp_path, CONFIG, stops_at=WINDOW).train()
    good = newest_checkpoint(tmp_path)
    noted = dataclasses.replace(load_checkpoint(good), metrics={"fd_toy": 1.0})
    save_checkpoint(noted, good)
    run = start(pixels, tmp_path, CONFIG, breaks_at=WINDOW + 5)
    run.trainer.restore(noted)
    assert run.train()
    found = load_checkpoint(good)
    assert found.config.stream == 1  # written anew, as gentle as the run is since
    assert found.parts["balance"]["standing"]["candidate"] == Verdict.BALANCED
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert (best.folder, best.metrics) == (good, {"fd_toy": 1.0})


def test_a_run_broken_in_its_last_step_is_not_saved_broken(pixels: np.ndarray, tmp_path: Path) -> None:
    run = start(pixels, tmp_path, CONFIG, breaks_at=WINDOWS * WINDOW)
    run.train()
    assert all(tensor.isfinite().all() for tensor in load_checkpoint(tmp_path).tensors.values())


@pytest.mark.parametrize("mode", ["off", "watch"])
def test_a_broken_run_without_a_controller_ends_with_a_sentence(
    pixels: np.ndarray, tmp_path: Path, mode: str
) -> None:
    config = dataclasses.replace(CONFIG, balance=mode)
    with pytest.raises(TrainingDivergedError, match="no longer a number at step 64"):
        start(pixels, tmp_path, config, breaks_at=WINDOW + 5).train()
    assert load_checkpoint(tmp_path).step == WINDOW
    assert [event.verdict for event in events(tmp_path)] == ([Verdict.DIVERGED] if mode == "watch" else [])


def test_a_rate_that_is_far_too_high_is_lowered(pixels: np.ndarray, tmp_path: Path) -> None:
    run = start(pixels, tmp_path, dataclasses.replace(CONFIG, lr_d=0.02))
    run.train()
    assert events(tmp_path)[0].verdict == Verdict.D_TOO_FAST
    assert run.trainer.config.lr_d < 0.02 / 2
    assert stride(run.trainer.players.opt_d) < LONGEST_STRIDE


def test_strides_are_undone_past_a_checkpoint_of_their_own_window(
    pixels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(pixels, tmp_path, dataclasses.replace(CONFIG, lr_d=0.02))
    run.options = dataclasses.replace(run.options, checkpoints=8 * WINDOWS)
    run.train()
    assert "gone back to the start" in capsys.readouterr().out


def test_a_stopped_run_goes_on_exactly_where_its_balance_was(pixels: np.ndarray, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, lr_d=0.02, ada_target=0.6, augment_p=0.5, gap_aware=True)
    whole = start(pixels, tmp_path / "whole", config)
    whole.train()
    assert events(tmp_path / "whole")

    stopped = start(pixels, tmp_path / "parts", config, stops_at=2 * WINDOW + 7)
    assert not stopped.train()
    found = load_checkpoint(tmp_path / "parts")
    seen, held_out = held_apart(pixels)
    trainer = Trainer(found.config, seen, CPU)
    trainer.restore(found)
    balance = Balance(trainer, Probe.of(trainer, seen, held_out), found.parts["balance"])
    options = RunOptions(folder=tmp_path / "parts", checkpoints=WINDOWS, seconds=found.seconds)
    assert Run(trainer, TOY_DATA, options, balance=balance).train()

    a, b = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert a.config == b.config
    assert a.parts == b.parts
    assert all(torch.equal(value, b.tensors[key]) for key, value in a.tensors.items())


def test_a_look_changes_nothing(pixels: np.ndarray) -> None:
    for norm in ("batch", "spectral"):
        a, b = (Trainer(dataclasses.replace(CONFIG, d_norm=norm), pixels, CPU) for _ in range(2))
        probe = Probe(a, *held_apart(pixels))
        for trainer in (a, b):
            trainer.train_step()
        assert set(probe.look(a)) >= {"diversity", "stride_d", "overfit", "held_out_accuracy"}
        assert a.train_step().as_floats() == b.train_step().as_floats()


def test_samples_that_are_all_the_same_have_no_diversity(pixels: np.ndarray) -> None:
    trainer = Trainer(CONFIG, pixels, CPU)
    probe = Probe(trainer, *held_apart(pixels))
    first = next(trainer.players.g.parameters())
    assert probe.look(trainer)["diversity"] > 0.01
    first.data.zero_()
    assert probe.look(trainer)["diversity"] == pytest.approx(0, abs=1e-3)


def test_a_stride_is_adam_s_step_over_the_weights_size() -> None:
    weight = torch.nn.Parameter(torch.full((4, 4), 0.01))
    optimizer = torch.optim.Adam([weight], lr=0.001)
    weight.grad = torch.full((4, 4), 7.0)
    before = weight.detach().clone()
    optimizer.step()
    moved = (weight - before).norm() / weight.norm()
    assert stride(optimizer).item() == pytest.approx(
        moved.item(), rel=1e-4
    )  # Adam's first two steps are alike


def test_weights_that_have_grown_do_not_hide_a_stride() -> None:
    weight = torch.nn.Parameter(torch.full((4, 4), 7.0))
    optimizer = torch.optim.Adam([weight], lr=0.001)
    weight.grad = torch.full((4, 4), 7.0)
    optimizer.step()
    assert stride(optimizer).item() == pytest.approx(0.001 / INIT_STD, rel=1e-4)


def test_one_large_gradient_is_no_stride() -> None:
    weight = torch.nn.Parameter(torch.full((4, 4), INIT_STD))
    optimizer = torch.optim.Adam([weight], lr=4e-4, betas=(0.0, 0.9))
    for size in (*[1.0] * 50, 100.0):
        weight.grad = torch.full((4, 4), size)
        weight.data.fill_(INIT_STD)
        optimizer.step()
    assert (INIT_STD - weight).norm() / weight.norm() > 3 * 4e-4 / INIT_STD  # this one step
    assert stride(optimizer).item() == pytest.approx(4e-4 / INIT_STD, rel=0.1)


@pytest.mark.parametrize(("count", "apart"), [(50, 8), (64, 8), (400, 20), (10_000, 128)])
def test_few_pictures_are_held_apart_from_all_over(count: int, apart: int) -> None:
    numbers = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    seen, held_out = held_apart(numbers)
    assert len(held_out) == apart
    assert len(seen) == count - apart
    assert len(held_apart(numbers[:LEAST_LEFT])[1]) == 0
