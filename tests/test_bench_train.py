"""The benchmark of training: that all three ways play, and what is told of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG

from bench.plain_training import PlainLoop
from bench.small_maps import SIDES
from bench.train import EXAMPLE, OURS, PLAIN, figures, operations_a_picture


def run_bench(*words: str | Path) -> str:
    """Runs a benchmark; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_ways_are_measured_and_compared(tmp_path: Path) -> None:
    toy = ["--img-resolution=16", "--z-dim=8", "--ngf=4", "--ndf=4", "--batch-size=4", "--execution=eager"]
    short = ["--device=cpu", "--rounds=1", "--seconds=0.1", "--warm-up=1", "--json", str(tmp_path / "found")]
    said = run_bench("bench.train", *toy, *short)
    found = json.loads((tmp_path / "found").read_text())
    assert found["rates"].keys() == {OURS, PLAIN, EXAMPLE}
    assert all(rate > 0 for rates in found["rates"].values() for rate in rates)
    assert found["config"]["execution"] == "eager"
    assert {figure["name"] for figure in found["figures"]} == {
        f"pictures/s ÷ {name}" for name in (PLAIN, EXAMPLE)
    }
    assert "share of the matrix rate" in said


def test_every_largest_side_of_small_maps_is_measured() -> None:
    toy = ["--img-resolution=32", "--z-dim=8", "--ngf=4", "--ndf=4", "--batch-size=4"]
    _, _, *rows = run_bench("bench.small_maps", *toy, "--rounds=1").splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [int(side) for side, *_ in cells] == list(SIDES)
    assert all(float(cell) > 0 for _, *figures in cells for cell in figures)
    assert cells[0][-1] == "1.00"


def test_every_place_of_pictures_is_measured(tmp_path: Path) -> None:
    small = ["--pictures=64", "--resolution=16", "--batch-size=8", "--workers=1"]
    short = ["--seconds=0.05", "--rounds=1", "--folder", str(tmp_path), "--json", str(tmp_path / "found")]
    said = run_bench("bench.data", *small, *short)
    found = json.loads((tmp_path / "found").read_text())
    assert found["rates"].keys() >= {"memory", "one file", "one file, forgotten"}
    assert found["bytes"]["one file"] == 64 * 16 * 16 * 3 + 128
    assert "WebDataset" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "found"]


def test_a_ratio_is_the_median_over_rounds() -> None:
    rates = {OURS: [30.0, 90.0, 40.0], PLAIN: [10.0, 10.0, 20.0], EXAMPLE: [10.0, 10.0, 10.0]}
    assert [figure.value for figure in figures(rates)] == [3.0, 4.0]


def test_the_plain_loop_learns(toy_pixels: np.ndarray) -> None:
    loop = PlainLoop(TOY_CONFIG, torch.device("cpu"))
    real = torch.from_numpy(toy_pixels[:4]).permute(0, 3, 1, 2).float() / 127.5 - 1
    before = [p.clone() for net in (loop.g, loop.d) for p in net.parameters()]
    losses = loop.learn(real)
    assert losses["loss_d"].item() == pytest.approx(1.39, abs=0.1)
    after = [p for net in (loop.g, loop.d) for p in net.parameters()]
    assert not any(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_operations_of_a_matrix_product_are_counted() -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    assert operations_a_picture(lambda: a @ b, 2) == 2 * 2 * 3 * 5 / 2
