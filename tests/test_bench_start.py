"""The benchmark of a start: its help, and a start of a real service."""

from pathlib import Path

import pytest
from commands import run_here

from bench import start


def test_it_tells_how_it_is_called() -> None:
    done = run_here(start.main, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    assert "SEEDLING_MODEL" in done.stdout


def test_a_start_takes_time_and_memory(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "STARTS", 1)
    done = run_here(start.main, toy_model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("start to ready: ")
