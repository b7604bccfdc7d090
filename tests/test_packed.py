"""Pictures in one file: read as they were written, and trained on as those in memory are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_DATA
from noise import save_pictures

from training.balance.probe import held_apart
from training.checkpoint import load_checkpoint, save_checkpoint
from training.data import DataError, load_pictures
from training.distributed import World
from training.feed import ReadAhead, Resident, make_feed
from training.loop import Trainer
from training.packed import DESCRIPTION_FILE, PIXELS_FILE, PackedError, RowReader, open_packed, write_packed

CPU = torch.device("cpu")


@pytest.fixture
def packed(toy_pixels: np.ndarray, tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    folder.mkdir()
    assert write_packed(iter(toy_pixels), 16, folder) == 32
    return folder


def test_what_was_written_is_read_by_anybody(packed: Path, toy_pixels: np.ndarray) -> None:
    assert np.array_equal(np.load(packed / PIXELS_FILE), toy_pixels)
    pixels, sha256 = open_packed(packed, 16)
    assert isinstance(pixels, np.memmap)
    assert sha256 == load_pictures(str(packed), resolution=16).fingerprint


def test_rows_are_read_at_random(packed: Path, toy_pixels: np.ndarray) -> None:
    picks = np.array([31, 0, 7, 7, 16])
    for pixels in (open_packed(packed, 16)[0], open_packed(packed, 16)[0][:-1]):
        rows = np.empty((5, 16, 16, 3), np.uint8)
        RowReader(pixels).take(picks, rows)
        assert np.array_equal(rows, toy_pixels[picks])


def test_a_file_of_another_shape_is_refused(packed: Path) -> None:
    with pytest.raises(DataError, match=r"\(32, 16, 16, 3\), expected uint8 of \(32, 32, 32, 3\)"):
        load_pictures(str(packed), resolution=32)
    description = json.loads((packed / DESCRIPTION_FILE).read_text())
    (packed / DESCRIPTION_FILE).write_text(json.dumps(description | {"pictures": 40}))
    with pytest.raises(PackedError, match="expected uint8"):
        open_packed(packed, 16)
    (packed / DESCRIPTION_FILE).unlink()  # as a preparation that was cut off leaves it
    with pytest.raises(PackedError, match="prepare it again"):
        open_packed(packed, 16)


def test_what_is_kept_apart_is_not_copied(toy_pixels: np.ndarray, tmp_path: Path) -> None:
    write_packed(iter(np.concatenate([toy_pixels] * 2)), 16, tmp_path)
    pixels, _ = open_packed(tmp_path, 16)
    seen, apart = held_apart(pixels)
    assert np.shares_memory(seen, pixels)
    assert len(seen) + len(apart) == 64
    assert isinstance(make_feed(seen, 4, 0, CPU, World()), ReadAhead)


def test_batches_are_those_from_memory_wherever_one_begins(packed: Path, toy_pixels: np.ndarray) -> None:
    world = World(1, 2)
    memory = Resident(toy_pixels, 10, 3, CPU, world)
    file = ReadAhead(open_packed(packed, 16)[0], 10, 3, CPU, world)
    for step in (0, 1, 2, 3, 9, 10, 2, 3, 4):
        assert torch.equal(memory.batch(step), file.batch(step))


def test_a_file_that_fits_a_device_is_taken_there_without_a_word(
    packed: Path, toy_pixels: np.ndarray
) -> None:
    mapped, _ = open_packed(packed, 16)
    assert not mapped.flags.writeable
    device, memory = (Resident(source, 10, 3, CPU, World()) for source in (mapped, toy_pixels))
    assert torch.equal(device.batch(1), memory.batch(1))


def test_a_run_from_a_file_is_that_from_memory_and_resumes(
    packed: Path, toy_pixels: np.ndarray, tmp_path: Path
) -> None:
    pixels, _ = open_packed(packed, 16)
    memory, file = (Trainer(TOY_CONFIG, source, CPU) for source in (toy_pixels, pixels))
    wanted = [memory.train_step().as_floats() for _ in range(12)]
    assert [file.train_step().as_floats() for _ in range(5)] == wanted[:5]
    save_checkpoint(file.checkpoint(TOY_DATA, 0), tmp_path / "saved")
    second = Trainer(TOY_CONFIG, pixels, CPU)
    second.restore(load_checkpoint(tmp_path / "saved"))
    assert [second.train_step().as_floats() for _ in range(7)] == wanted[5:]


def test_prepare_packs_and_training_takes_it(toy_pixels: np.ndarray, tmp_path: Path) -> None:
    save_pictures([*toy_pixels, toy_pixels[0]], tmp_path / "pictures")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"")

    def run(*command: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    target = tmp_path / "packed"
    said = run("training.prepare", tmp_path / "pictures", target, "--packed", "--resolution", 16)
    assert "34 pictures found: 32 prepared, 1 unreadable, 0 too small, 1 duplicate" in said
    found = np.load(target / PIXELS_FILE)
    assert sorted(picture.tobytes() for picture in found) == sorted(p.tobytes() for p in toy_pixels)
    small = ["--img-resolution=16", "--z-dim=8", "--ngf=4", "--ndf=4", "--batch-size=4", "--device=cpu"]
    said = run("training.train", "--data", target, *small, "--dry-run")
    assert "32 pictures from packed" in said
    assert "one step works" in said
