"""``training.data``: every source gives the same kind of array, or says why it cannot."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.data import DATASETS, MIN_PICTURES, DataError, default_cache, load_pictures
from training.squares import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "garden.v1"
    path.mkdir()
    for seed in range(MIN_PICTURES + 4):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{seed:02}.png")
    return path


def test_a_folder_is_loaded_in_the_order_of_names(folder: Path) -> None:
    pictures = load_pictures(str(folder), resolution=32)
    assert pictures.pixels.shape == (MIN_PICTURES + 4, 32, 32, 3)
    assert pictures.pixels.dtype == np.uint8
    assert (pictures.name, pictures.skipped, pictures.license) == ("garden.v1", 0, None)
    with Image.open(folder / "05.png") as img:
        expected = np.asarray(img.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(pictures.pixels[5], expected)


def test_a_zip_and_a_prepared_folder_give_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "garden.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    prepare(folder, tmp_path / "prepared", resolution=32)
    sources = [folder, tmp_path / "garden.zip", tmp_path / "prepared"]
    sets = [load_pictures(str(source), resolution=32) for source in sources]
    assert len({pictures.fingerprint for pictures in sets}) == 1
    assert [pictures.name for pictures in sets] == ["garden.v1", "garden", "prepared"]


def test_the_fingerprint_changes_with_one_picture(folder: Path) -> None:
    before = load_pictures(str(folder), resolution=32).fingerprint
    Image.new("RGB", (40, 40)).save(folder / "07.png")
    assert load_pictures(str(folder), resolution=32).fingerprint != before


def test_a_count_is_spread_over_the_source(folder: Path) -> None:
    every = load_pictures(str(folder), resolution=32).pixels
    some = load_pictures(str(folder), resolution=32, count=16).pixels
    assert np.array_equal(some, every[[k * 20 // 16 for k in range(16)]])
    assert len(load_pictures(str(folder), resolution=32, count=1000).pixels) == 20


def test_more_than_memory_holds_is_refused_with_what_to_do(folder: Path) -> None:
    wanted = r"^20 pictures of 10000000×10000000 pixels do not fit into memory: .* training.prepare --packed"
    with pytest.raises(DataError, match=wanted):
        load_pictures(str(folder), resolution=10_000_000)


def test_unreadable_pictures_are_skipped_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = np.delete(load_pictures(str(folder), resolution=32).pixels, [3, 9], axis=0)
    for name in ("03.png", "09.png"):
        (folder / name).write_bytes(b"broken")
    pictures = load_pictures(str(folder), resolution=32)
    assert pictures.skipped == 2
    assert np.array_equal(pictures.pixels, expected)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("training.data", "WARNING")
    assert "2 pictures skipped, the first is 03.png: not a picture" in record.message


@pytest.mark.parametrize(
    ("kept", "found"), [(0, "0 readable pictures"), (1, "1 readable picture"), (15, "15 readable")]
)
def test_too_few_pictures_are_refused(folder: Path, kept: int, found: str) -> None:
    for path in sorted(folder.iterdir())[kept:]:
        path.unlink()
    with pytest.raises(DataError, match=rf"^found {found}.* in .*garden.v1, need at least 16$"):
        load_pictures(str(folder), resolution=32)


def test_a_count_below_the_minimum_is_refused() -> None:
    with pytest.raises(DataError, match="at least 16, got 3"):
        load_pictures("avatars", count=3)


def test_an_unknown_source_names_the_known_forms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: give a folder, a zip, avatars, or one of CelebA, CIFAR10"):
        load_pictures(str(tmp_path / "gone"))


UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""Even for root, what may not be read may not be read."""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv here")
def test_a_folder_that_may_not_be_read_is_named_in_a_sentence(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    command = [sys.executable, "-m", "training.train", "--data", str(shut), "--out", str(tmp_path / "run")]
    unprivileged = UNPRIVILEGED if os.geteuid() == 0 else []
    done = subprocess.run([*unprivileged, *command], capture_output=True, text=True, check=False)
    shut.chmod(0o700)
    denied = f"error: {shut} is not a readable folder or zip: [Errno 13] Permission denied: '{shut}'\n"
    assert (done.returncode, done.stderr) == (2, denied)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="not a readable folder or zip"):
        load_pictures(str(tmp_path / "a.txt"))


def test_avatars_are_known_by_name_and_licence(tmp_path: Path) -> None:
    pictures = load_pictures("Avatars", resolution=16, cache=tmp_path, count=16)
    assert (pictures.name, pictures.pixels.shape) == ("avatars", (16, 16, 16, 3))
    assert pictures.license is not None
    assert "Pablo Stanley" in pictures.license


def test_the_cache_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "seedling"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache/seedling"


def test_the_data_sets_exist_in_torchvision() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    assert [name for name in DATASETS if not hasattr(datasets, name)] == []


def test_a_data_set_of_torchvision_is_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def flowers(root: Path, *, split: str, download: bool) -> list[tuple[Image.Image, int]]:
        asked.append((root, split, download))
        return [(Image.new("L", (28, 28), level), 0) for level in range(10)]

    monkeypatch.setattr("torchvision.datasets.Flowers102", flowers)
    pictures = load_pictures("flowers102", resolution=32, cache=tmp_path)
    assert asked == [(tmp_path / "torchvision", split, True) for split in ("train", "val", "test")]
    assert pictures.name == "Flowers102"
    assert pictures.pixels.shape == (30, 32, 32, 3)
    assert pictures.pixels[:, 0, 0, 0].tolist() == [*range(10)] * 3


def test_a_download_without_a_net_says_what_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(
        DataError, match=r"cannot get the data set CIFAR10 into .*torchvision, the first time needs the net"
    ):
        load_pictures("cifar10", cache=tmp_path)


def test_a_data_set_that_needs_a_missing_package_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needy(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'scipy'")

    monkeypatch.setattr("torchvision.datasets.SVHN", needy)
    with pytest.raises(
        DataError, match="SVHN needs a package that is not installed: No module named 'scipy'"
    ):
        load_pictures("svhn", cache=tmp_path)


def test_reading_pictures_loads_no_torch() -> None:
    code = "import sys, training.data, training.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
