"""``training.sources``: which files count as pictures, and what a zip may not do."""

import os
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from training.pictures import PictureError
from training.sources import AHEAD, MAX_MEMBER_BYTES, map_pictures, picture_files


def names(source: Path) -> list[str]:
    with picture_files(source) as files:
        return [file.name for file in files]


def png(path: Path, color: str = "red") -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), color).save(path, "PNG")
    return path.read_bytes()


def set_declared_size(path: Path, size: int) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, size)
    path.write_bytes(content)


def test_a_folder_is_searched_at_any_depth_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.PNG", "deep/er/c.Jpeg", "a.webp", "notes.txt", "a.png.part"):
        png(tmp_path / name)
    assert names(tmp_path) == ["a.webp", "b.PNG", "deep/er/c.Jpeg"]


def test_hidden_files_and_leftovers_of_macos_are_ignored(tmp_path: Path) -> None:
    for name in (".a.png", ".cache/b.png", "__MACOSX/c.png", "d.png"):
        png(tmp_path / name)
    assert names(tmp_path) == ["d.png"]


def test_linked_folders_are_not_followed_but_linked_files_are(tmp_path: Path) -> None:
    png(tmp_path / "outside/a.png")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to(inside)
    (inside / "file.png").symlink_to(tmp_path / "outside/a.png")
    assert names(inside) == ["file.png"]


def test_broken_links_are_found_and_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with picture_files(tmp_path) as [file], pytest.raises(PictureError, match="No such file"):
        file.load(128)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert names(tmp_path) == []


def test_names_in_a_zip_are_cleaned(tmp_path: Path) -> None:
    hostile = ["../../up.png", "/abs/olute.png", "C:\\drive\\b.png", "a/../c.png", "x/.hid/d.png", "e\n.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in hostile:
            archive.writestr(zipfile.ZipInfo(name), b"")
    assert names(tmp_path / "a.zip") == ["a/c.png", "abs/olute.png", "drive/b.png", "e_.png", "up.png"]


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rose/a.png", png(tmp_path / "a.png"))
    before = sorted(tmp_path.iterdir())
    with picture_files(tmp_path / "a.zip") as [file]:
        assert file.load(32)[0, 0].tolist() == [255, 0, 0]
    assert sorted(tmp_path.iterdir()) == before


def test_a_member_that_declares_too_many_bytes_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(tmp_path / "a.png"))
    set_declared_size(tmp_path / "a.zip", MAX_MEMBER_BYTES + 1)
    with picture_files(tmp_path / "a.zip") as [file], pytest.raises(PictureError, match="over the limit"):
        file.load(128)


def test_a_member_that_holds_more_than_it_declares_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png(tmp_path / "a.png") + bytes(20_000_000))
    set_declared_size(tmp_path / "a.zip", 1000)
    tracemalloc.start()
    with picture_files(tmp_path / "a.zip") as [file], pytest.raises(PictureError, match="CRC"):
        file.load(128)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_what_is_neither_folder_nor_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(PictureError, match="not a readable folder or zip"):
        names(tmp_path / "a.zip")


def test_a_picture_in_place_of_its_folder_names_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(PictureError, match=rf"zip file; give the folder that it is in: {tmp_path}$"):
        names(tmp_path / "a.png")


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="gone does not exist"):
        names(tmp_path / "gone")


def test_work_on_many_keeps_the_order_and_returns_the_errors() -> None:
    def halve(number: int) -> int:
        if number % 2:
            raise PictureError(f"{number} is odd")
        return number // 2

    results = list(map_pictures(halve, range(6), workers=3))
    assert [str(result) for result in results] == ["0", "1 is odd", "1", "3 is odd", "2", "5 is odd"]


def test_work_is_not_done_long_before_it_is_asked_for() -> None:
    begun: list[int] = []
    results = map_pictures(begun.append, range(1000), workers=2)
    for taken in range(1, 4):
        next(results)
        time.sleep(0.1)  # two threads would do all of it meanwhile
        assert len(begun) <= taken + 2 * AHEAD
    results.close()
    assert len(begun) <= 3 + 2 * AHEAD
