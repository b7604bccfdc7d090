"""The avatars: functions of their seed alone, drawn once and kept."""

import random
from pathlib import Path

import numpy as np
import pytest

from training import avatar_set
from training.avatar_set import load_avatars
from training.avatars import render_avatar


def test_an_avatar_is_a_function_of_its_seed_alone() -> None:
    random.seed(1)
    first = render_avatar(7, 32).tobytes()
    random.seed(2)
    state = random.getstate()
    assert render_avatar(7, 32).tobytes() == first
    assert random.getstate() == state


def test_different_seeds_draw_different_avatars() -> None:
    assert len({render_avatar(seed, 32).tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("resolution", [16, 128])
def test_an_avatar_is_a_square_of_rgb_that_is_not_plain(resolution: int) -> None:
    img = render_avatar(0, resolution)
    assert (img.mode, img.size) == ("RGB", (resolution, resolution))
    assert np.asarray(img).std() > 20


def test_the_set_holds_the_avatars_of_consecutive_seeds(tmp_path: Path) -> None:
    pixels = load_avatars(3, 16, tmp_path)
    assert pixels.shape == (3, 16, 16, 3)
    assert pixels.dtype == np.uint8
    for seed in range(3):
        assert np.array_equal(pixels[seed], np.asarray(render_avatar(seed, 16)))


def test_several_processes_draw_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = load_avatars(18, 16, tmp_path / "alone")
    monkeypatch.setattr(avatar_set, "_DRAWN_MEANWHILE", 9)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert np.array_equal(load_avatars(18, 16, tmp_path / "together"), alone)


def test_the_set_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_avatars(3, 16, tmp_path / "cache")
    monkeypatch.setattr(avatar_set, "_draw", None)  # whoever draws again fails
    assert np.array_equal(load_avatars(3, 16, tmp_path / "cache"), first)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_the_count_and_the_resolution_are_told_apart(tmp_path: Path) -> None:
    shapes = [load_avatars(count, side, tmp_path).shape for count, side in [(2, 16), (3, 16), (2, 32)]]
    assert shapes == [(2, 16, 16, 3), (3, 16, 16, 3), (2, 32, 32, 3)]


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "shape", "dtype", "pixels"])
def test_a_damaged_cache_is_drawn_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    pixels = load_avatars(3, 16, tmp_path)
    [path] = tmp_path.iterdir()
    content = path.read_bytes()
    match damage:
        case "empty" | "truncated":
            path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
        case "text":
            path.write_text("not an array")
        case _:
            wrong = {"shape": pixels[:2], "dtype": pixels.astype(np.int16), "pixels": 255 - pixels}
            np.save(path, wrong[damage])
    assert np.array_equal(load_avatars(3, 16, tmp_path), pixels)
    assert "drawing again" in caplog.text
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_only_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert len(load_avatars(2, 16, tmp_path / "file")) == 2
    assert "cannot keep the avatars" in caplog.text
