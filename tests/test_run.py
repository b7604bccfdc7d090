"""Quality in the run: measured without a trace in the training, and the best checkpoint kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_here
from conftest import TOY_CONFIG, TOY_DATA

from export import to_onnx
from training.best import best_checkpoint, choose_checkpoint
from training.cadence import RunOptions
from training.checkpoint import Checkpoint, CheckpointError, checkpoints, load_checkpoint, save_checkpoint
from training.journal import Metrics, Scalars, read_journal
from training.judge import Judge
from training.loop import Trainer
from training.run import Run

CPU = torch.device("cpu")
CONFIG = dataclasses.replace(TOY_CONFIG, kimg=0.048, quality_kimg=0.012, quality_samples=20)  # 12 steps
FD = "fd_efficientnet_lite0_20_of_32"


def start(pixels: np.ndarray, folder: Path, config=CONFIG, *, judged: bool = True) -> Run:  # noqa: ANN001
    trainer = Trainer(config, pixels, CPU)
    judge = Judge(pixels, config.quality_samples, CPU, folder.parent / "cache") if judged else None
    return Run(trainer, TOY_DATA, RunOptions(folder=folder), judge=judge)


@pytest.fixture(scope="module")
def measured(toy_pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was measured four times."""
    folder = tmp_path_factory.mktemp("runs") / "measured"
    assert start(toy_pixels, folder).train()
    return folder


def test_quality_is_measured_as_often_as_the_recipe_says(measured: Path) -> None:
    found = [entry for entry in read_journal(measured) if isinstance(entry, Metrics)]
    assert [entry.shown for entry in found] == [12, 24, 36, 48]
    names = {"fd", "kd", "precision", "recall", "density", "coverage", "diversity", "novelty"}
    for entry in found:
        assert set(entry.values) == {f"{name}_efficientnet_lite0_20_of_32" for name in names}


def test_a_measurement_a_moment_before_the_end_is_left_to_the_end(
    toy_pixels: np.ndarray, tmp_path: Path
) -> None:
    assert start(toy_pixels, tmp_path, dataclasses.replace(CONFIG, quality_kimg=0.044)).train()
    assert [entry.shown for entry in read_journal(tmp_path) if isinstance(entry, Metrics)] == [48]


def test_measuring_leaves_no_trace_in_the_training(
    toy_pixels: np.ndarray, measured: Path, tmp_path: Path
) -> None:
    start(toy_pixels, tmp_path / "blind", judged=False).train()
    blind, judged = (load_checkpoint(folder) for folder in (tmp_path / "blind", measured))
    assert blind.tensors.keys() == judged.tensors.keys()
    assert all(torch.equal(value, judged.tensors[key]) for key, value in blind.tensors.items())


def test_the_best_checkpoint_is_kept_beside_the_newest(measured: Path) -> None:
    figures = {entry.step: entry.values[FD] for entry in read_journal(measured) if isinstance(entry, Metrics)}
    best = min(figures, key=figures.__getitem__)
    choice = best_checkpoint(measured)
    assert choice is not None
    assert choice.folder.name == f"step-{best:08d}"
    assert load_checkpoint(choice.folder).metrics[FD] == figures[best]
    assert f"{FD} {figures[best]:.4g}" in choice.reason


@pytest.mark.parametrize(("metrics", "times"), [({}, 1), ({FD: 80.0}, 0)])
def test_a_restored_generator_is_measured_unless_it_was(
    toy_pixels: np.ndarray, toy_checkpoint: Checkpoint, tmp_path: Path, metrics: dict[str, float], times: int
) -> None:
    config = dataclasses.replace(CONFIG, kimg=toy_checkpoint.step * CONFIG.batch_size / 1000)
    trainer = Trainer(config, toy_pixels, CPU)
    trainer.restore(toy_checkpoint)
    judge = Judge(toy_pixels, config.quality_samples, CPU, tmp_path / "cache")
    options = RunOptions(folder=tmp_path / "run", metrics=metrics)
    assert Run(trainer, TOY_DATA, options, judge=judge).train()
    found = [entry for entry in read_journal(tmp_path / "run") if isinstance(entry, Metrics)]
    assert len(found) == times
    assert FD in load_checkpoint(tmp_path / "run").metrics


def test_a_run_that_is_stopped_before_it_was_measured_does_not_wait_for_features(
    toy_pixels: np.ndarray, tmp_path: Path
) -> None:
    run = start(toy_pixels, tmp_path)
    run.options = dataclasses.replace(run.options, minutes=0)
    assert not run.train()
    run.report()
    assert run.judge is not None
    assert not run.judge.has_reference
    assert "Does it copy?" not in (tmp_path / "report.html").read_text()


def save(checkpoint: Checkpoint, run: Path, **figures: dict[str, float]) -> None:
    for name, metrics in figures.items():
        folder = run / "checkpoints" / name.replace("_", "-")
        save_checkpoint(dataclasses.replace(checkpoint, metrics=metrics), folder)


def test_pruning_spares_the_best(toy_checkpoint: Checkpoint, toy_pixels: np.ndarray, tmp_path: Path) -> None:
    save(toy_checkpoint, tmp_path, step_00000001={FD: 1.0})
    start(toy_pixels, tmp_path).train()
    names = [folder.name for folder in checkpoints(tmp_path)]
    assert names[0] == "step-00000001"
    assert len(names) == 3
    assert choose_checkpoint(tmp_path).folder.name == "step-00000001"
    assert choose_checkpoint(tmp_path, newest=True).folder.name == "step-00000012"
    assert choose_checkpoint(checkpoints(tmp_path)[-1]).folder.name == "step-00000012"


def test_figures_of_another_name_are_not_compared(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(
        toy_checkpoint,
        tmp_path,
        step_00000001={FD: 90.0, "fd_efficientnet_lite0_9_of_9": 4.0},
        step_00000002={FD: 80.0, "kd_efficientnet_lite0_20_of_32": 1.0},
        step_00000003={"diversity_efficientnet_lite0_20_of_32": 1.0},
    )
    choice = best_checkpoint(tmp_path)
    assert choice is not None
    assert choice.folder.name == "step-00000002"
    assert "the best of the 2 kept" in choice.reason


def test_where_nothing_was_measured_the_newest_is_taken(toy_run: Path) -> None:
    assert best_checkpoint(toy_run) is None
    assert choose_checkpoint(toy_run).reason == "step-00000002, the newest"
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        choose_checkpoint(toy_run / "nothing")


def test_the_export_takes_the_best_and_says_so(measured: Path, tmp_path: Path) -> None:
    best = best_checkpoint(measured)
    assert best is not None
    for flags, wanted in ([], best.reason), (["--newest"], "step-00000012, the newest"):
        done = run_here(to_onnx.main, measured, tmp_path / "model.onnx", *flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == wanted


def test_a_measurement_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    alike = np.zeros((32, 16, 16, 3), np.uint8)
    run = start(alike, tmp_path / "alike")
    assert run.train()
    entries = read_journal(tmp_path / "alike")
    assert not [entry for entry in entries if isinstance(entry, Metrics)]
    assert [entry for entry in entries if isinstance(entry, Scalars)]
