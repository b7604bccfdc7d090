"""The benchmark of a card, on the processor: what it measures and tells is the same."""

import json
from pathlib import Path

import pytest
from commands import run_here

from bench.card import main


@pytest.fixture(scope="module")
def measured(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], str]:
    out = tmp_path_factory.mktemp("card") / "card.json"
    words = ["--provider=cpu", "--sizes", "4", "1", "--seconds=0.01", "--kinds", "transposed", "phases"]
    done = run_here(main, toy_model, *words, f"--json={out}")
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())["rows"], done.stdout


def test_each_file_is_compared_with_the_original_on_the_processor(
    measured: tuple[list[dict], str],
) -> None:
    original, phases = measured[0]
    assert [original["file"], phases["file"]] == ["float32, transposed", "float32, phases"]
    assert original["cost"]["largest"] == 0
    assert phases["cost"]["largest"] <= 1


def test_it_tells_whether_bytes_come_again_and_in_which_sizes(measured: tuple[list[dict], str]) -> None:
    for figures in measured[0]:
        assert figures["again"] is True
        assert figures["sizes"] == [1, 4]


def test_the_table_has_both_speeds_of_each_size(measured: tuple[list[dict], str]) -> None:
    rows, table = measured
    head, _, *lines = table.splitlines()
    assert head.startswith("| file | 1 | 4 |")
    assert len(lines) == len(rows)
    for figures, line in zip(rows, lines, strict=True):
        assert min(*figures["alone"].values(), *figures["copied"].values()) > 0
        assert line.count(" / ") == 2
