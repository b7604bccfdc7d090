"""The training command, as a user types it, on real pictures; most refusals in this process."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_here
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.budget import EXPORT_SECONDS, SAVE_SECONDS
from training.checkpoint import checkpoints, load_checkpoint, newest_checkpoint, save_checkpoint
from training.config import LAYOUTS
from training.distributed import World
from training.execution import LAYOUT_FORMATS
from training.flags import build_parser
from training.journal import Scalars, Sheet, read_journal
from training.loop import Trainer
from training.opening import resume
from training.train import main

SMALL = "--img-resolution=16 --z-dim=8 --ngf=4 --ndf=4 --batch-size=4 --quality-kimg=0 --device=cpu".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 pictures, two of them broken."""
    root = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 48, 3), np.uint8)
    for k, pixels in enumerate(noise):
        Image.fromarray(pixels).save(root / f"{k:02d}.jpg")
    (root / "03.jpg").write_bytes(b"no picture")
    (root / "04.jpg").write_bytes(b"")
    return root


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "training.train", *map(str, arguments)]


def train(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, timeout=300
    )


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """One line that says what is wrong, no traceback, exit code 2."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    for word in words:
        assert word in done.stderr.splitlines()[-1]


def final_state(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run).tensors)


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ten steps."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = train("--data", folder, "--out", out, "--kimg", 0.04, "--ema-half-life-kimg", 0.01, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "22 pictures from" in done.stdout
    assert "2 pictures skipped" in done.stderr
    assert f"next: python -m export.to_onnx {out}" in done.stdout
    return out


def test_a_run_leaves_settings_sheets_scalars_and_a_checkpoint(finished: Path) -> None:
    settings = json.loads((finished / "settings.json").read_text())
    assert settings["config"]["batch_size"] == 4
    assert settings["data"]["pictures"] == 22
    with Image.open(finished / "samples" / "000000040.png") as sheet:
        assert sheet.size == (128, 128)  # 64 pictures of 16×16
    assert [folder.name for folder in checkpoints(finished)] == ["step-00000009", "step-00000010"]
    journal = read_journal(finished)
    sheets = [entry for entry in journal if isinstance(entry, Sheet)]
    assert [(entry.step, entry.file) for entry in sheets] == [
        (step, f"samples/{4 * step:09d}.png") for step in range(11)
    ]
    assert all((finished / entry.file).is_file() for entry in sheets)
    first = next(entry for entry in journal if isinstance(entry, Scalars))
    assert (first.step, first.shown) == (1, 4)
    assert set(first.values) >= {"loss_d", "loss_g", "real_logit", "fake_logit"}
    scalars = EventAccumulator(str(finished / "tensorboard")).Reload()
    assert set(scalars.Tags()["scalars"]) >= {"loss_d", "loss_g", "real_logit", "fake_logit"}


def test_a_run_stopped_by_time_goes_on_from_exactly_where_it_was(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "parts"
    recipe = ["--kimg", 0.04, "--ema-half-life-kimg", 0.01, *SMALL]
    done = train("--data", folder, "--out", run, "--minutes", 0.00001, *recipe)
    assert f"go on with: python -m training.train --resume {run}" in done.stdout
    assert 0 < int(re.findall(r"stopped after (\d+) pictures", done.stdout)[0]) < 40
    done = train("--resume", run, "--device", "cpu")
    assert "done after 40 pictures" in done.stdout, done.stderr
    wanted, found = final_state(finished), final_state(run)
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("--data", folder, "--out", run, "--kimg", 1000, *SMALL),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (run / "samples").exists():  # the first sheet is written when steps begin
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"go on with: python -m training.train --resume {run}" in out
    assert final_state(run)


def test_a_dry_run_takes_a_step_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    done = train("--data", folder, "--dry-run", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one step works: loss_d" in done.stdout
    assert "GiB of memory" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_run_s_folder_is_numbered_when_none_is_given(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        train("--data", folder, "--kimg", 0.004, *SMALL, cwd=tmp_path)
    names = sorted(p.name for p in (tmp_path / "runs").iterdir())
    assert names == [f"{folder.name}-spec-001", f"{folder.name}-spec-002"]


def test_a_folder_that_holds_something_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert_refused(run_here(main, "--data", folder, "--out", tmp_path, *SMALL), "not empty", "--resume")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_written_into_the_training_data(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert_refused(train("--data", folder, "--out", folder / "run", *SMALL), "inside the training data")
    assert sorted(folder.iterdir()) == before


def test_an_unwritable_place_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(
        run_here(main, "--data", folder, "--out", tmp_path / "file" / "run", *SMALL), "cannot be written"
    )


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_pictures_are_refused(folder: Path, tmp_path: Path, count: int) -> None:
    data = tmp_path / "few"
    data.mkdir()
    for file in sorted(folder.iterdir())[:count]:
        (data / file.name).write_bytes(file.read_bytes())
    done = run_here(main, "--data", data, *SMALL, cwd=tmp_path)
    assert_refused(done, f"found {count} readable pictures", "at least 16")
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lerning-rate", "1"], ["--lerning-rate"]),
        (["--batch-size", "many"], ["--batch-size", "many"]),
        (["--kimg", "inf"], ["kimg", "above 0 and finite", "got inf"]),
        (["--batch-size", "1"], ["batch_size", "at least 2", "got 1"]),
        (["--img-resolution", "100"], ["power of two", "got 100"]),
        (["--loss", "wasserstein"], ["bce, hinge", "wasserstein"]),
        (["--d-norm", "layer"], ["batch", "layer"]),
        (["--preset", "best-ever"], ["spec", "best-ever"]),
        (["--data", "/nowhere/at/all"], ["/nowhere/at/all"]),
        (["--device", "tpu"], ["cpu or cuda", "tpu"]),
        (["--resume", "/nowhere/at/all"], ["no checkpoint in /nowhere/at/all"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    assert_refused(run_here(main, *arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    assert_refused(run_here(main, "--device", "cuda", cwd=tmp_path), "no CUDA device")


def test_a_resumed_run_keeps_its_recipe(finished: Path) -> None:
    assert_refused(
        run_here(main, "--resume", finished, "--beta1-g", 0.1, "--batch-size", 8),
        "leave out",
        "--batch-size, --beta1-g",
    )


def test_a_resumed_run_may_be_longer_and_of_another_balance(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train("--data", folder, "--out", run, "--kimg", 0.02, *SMALL)
    changes = [
        "--kimg",
        0.04,
        "--lr-d",
        0.00005,
        "--loss",
        "hinge",
        "--ndf",
        8,
        "--r1",
        0.5,
        "--balance",
        "off",
    ]
    done = train("--resume", run, *changes, "--device", "cpu")
    assert "done after 40 pictures" in done.stdout, done.stderr
    settings = json.loads((run / "settings.json").read_text())["config"]
    found = [settings[name] for name in ("kimg", "lr_d", "lr_g", "loss")]
    assert found == [0.04, 0.00005, 0.0002, "hinge"]
    assert (settings["spec"]["ndf"], settings["r1"], settings["balance"]) == (8, 0.5, "off")
    assert_refused(run_here(main, "--resume", run, "--loss", "wasserstein"), "bce, hinge")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_resumed_run_may_be_computed_otherwise(finished: Path, layout: str) -> None:
    args = build_parser().parse_args(["--resume", str(finished), "--layout", layout])
    run = resume(args, finished, torch.device("cpu"), World())
    weight = run.trainer.players.d.get_parameter("layers.2.weight")
    lies = {name for name, memory in LAYOUT_FORMATS.items() if weight.is_contiguous(memory_format=memory)}
    assert lies == {layout}


def test_a_resumed_run_keeps_what_was_measured_of_it(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    newest = newest_checkpoint(folder)
    save_checkpoint(dataclasses.replace(load_checkpoint(newest), metrics={"fd_toy": 1.0}), newest)
    args = build_parser().parse_args(["--resume", str(folder), "--minutes", "0", "--kimg", "1"])
    assert not resume(args, folder, torch.device("cpu"), World()).train()
    assert load_checkpoint(newest).config.kimg == 1  # written anew, without a step
    assert load_checkpoint(newest).metrics == {"fd_toy": 1.0}


def test_a_run_that_is_given_a_time_later_keeps_enough_for_its_end(finished: Path) -> None:
    words = ["--resume", str(finished), "--budget=1m", "--quality-kimg=1", "--quality-samples=20"]
    args = build_parser().parse_args(words)
    args.started = time.monotonic()
    run = resume(args, finished, torch.device("cpu"), World())
    assert run.options.budget is not None
    assert run.options.budget.reserve > EXPORT_SECONDS + 3 * SAVE_SECONDS  # two measurements and a checkpoint
    assert run.options.sheets == run.options.budget.sheets
    changed = {"quality_kimg": 1.0, "quality_samples": 20}
    assert run.trainer.config == dataclasses.replace(load_checkpoint(finished).config, **changed)


def test_a_resumed_run_wants_the_pictures_it_began_with(folder: Path, finished: Path, tmp_path: Path) -> None:
    for file in sorted(folder.iterdir())[:20]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert_refused(
        run_here(main, "--resume", finished, "--data", tmp_path), "no longer holds the 22 pictures"
    )


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocator's own error, raised where it would come from."""

    def exhausted(_: Trainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "train_step", exhausted)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_running_out_of_memory_says_what_to_try(folder: Path, tmp_path: Path, flags: list[str]) -> None:
    done = run_here(main, "--data", folder, "--out", tmp_path / "run", *SMALL, *flags)
    assert_refused(done, "batches of 4: try --batch-size 2")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("resumed", [True, False])
def test_no_batch_is_advised_that_would_be_refused(folder: Path, finished: Path, *, resumed: bool) -> None:
    words = ["--resume", finished] if resumed else ["--data", folder, *SMALL, "--batch-size=2"]
    done = run_here(main, *words, "--device=cpu", "--dry-run")
    assert_refused(done)
    assert done.stderr.endswith(f"error: out of memory with batches of {4 if resumed else 2}\n")
