"""The ways to share the cores: those that the service has, with settings that give them."""

import re
from pathlib import Path

import pytest
from commands import run_here

from app.model import load
from app.settings import Settings
from bench import tune
from bench.tune import Way, ways


@pytest.mark.parametrize("way", ways(2, [1, 4]), ids=str)
def test_the_service_runs_a_way_by_its_settings(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    for name, value in (pair.split("=") for pair in way.settings().split()):
        monkeypatch.setenv(name, value.strip("'"))
    found = load(Settings(model=toy_model)).layout
    assert (found.lanes, found.alone_threads) == (way.lanes, way.cpus)
    assert found.batch_sizes == ((1,) if way.batch == 1 else (1, way.batch))
    # At batch 1 the service measures whether a lane is faster with threads of its own.
    assert found.threads in ({way.threads, way.cpus} if way.batch == 1 else {way.threads})


def test_a_picture_alone_is_not_grown_in_a_large_batch() -> None:
    settings = Way(workers=2, cpus=2, lanes=2, threads=2, batch=16).settings()
    assert settings.endswith("SEEDLING_THREADS=4 SEEDLING_BATCH_SIZES='[1,16]'")


def test_the_command_measures_a_model_of_any_latents(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "available_cpus", lambda: 1)
    done = run_here(tune.main, toy_model, "--seconds", 0.05, "--rounds", 1, "--batches", 1, 4)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\| \d", done.stdout, re.MULTILINE)) == 2
    assert "the fastest: SEEDLING_WORKERS=1 SEEDLING_LANES=1 SEEDLING_THREADS=1 " in done.stdout


def test_a_model_that_is_missing_is_one_clear_line(tmp_path: Path) -> None:
    done = run_here(tune.main, tmp_path / "none.onnx")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "none.onnx" in done.stderr
