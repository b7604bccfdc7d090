"""``python -m training.prepare``, on folders and zips that hold every kind of trouble."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.contract import SeedlingError
from training.prepare import MAX_REPORTED, PrepareError, Report, Skipped, prepare


def picture(path: Path, seed: int = 0, side: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def prepared(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png") if path.is_file())


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.prepare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_mixed_folder_is_prepared_counted_and_not_touched(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    picture(source / "rose/a.png", 0)
    picture(source / "rose/b.bmp", 0)
    picture(source / "tulip/c.jpg", 1, side=300)
    picture(source / "tulip/tiny.png", 2, side=20)
    (source / "broken.jpg").write_bytes(b"no picture")
    (source / "notes.txt").write_text("no picture either")
    before = digests(source)
    done = run(source, target, "--resolution", 64)
    assert digests(source) == before
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "broken.jpg: not a picture in a known format",
        "rose/b.bmp: the same picture as rose/a.png",
        "tulip/tiny.png: 20×20 is too small, the shorter side must have 32 pixels",
        f"5 pictures found: 2 prepared, 1 unreadable, 1 too small, 1 duplicate → {target}",
    ]
    assert prepared(target) == ["rose/a.png", "tulip/c.png"]
    with Image.open(target / "tulip/c.png") as img:
        assert (img.size, img.mode) == ((64, 64), "RGB")


def test_the_report_says_what_was_done(tmp_path: Path) -> None:
    picture(tmp_path / "source/a.png")
    (tmp_path / "source/b.png").touch()
    prepare(tmp_path / "source", tmp_path / "target", background=(0, 128, 255))
    assert json.loads((tmp_path / "target/prepared.json").read_text()) == {
        "resolution": 128,
        "background": "#0080ff",
        "found": 2,
        "prepared": 1,
        "skipped": [{"path": "b.png", "kind": "unreadable", "reason": "not a picture in a known format"}],
    }


def test_the_background_of_the_command_line_is_used(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    Image.new("RGBA", (40, 40)).save(tmp_path / "source/a.png")
    assert run(tmp_path / "source", tmp_path / "target", "--background", "lime").returncode == 0
    with Image.open(tmp_path / "target/a.png") as img:
        assert img.getpixel((5, 5)) == (0, 255, 0)


def test_the_same_name_in_two_formats_makes_two_pictures(tmp_path: Path) -> None:
    for seed, name in enumerate(
        ["a.bmp", "a.gif", "A.png", "a_2.bmp", "b.png/c.bmp", "b.bmp", "Cd.png", "cD.bmp"]
    ):
        picture(tmp_path / "source" / name, seed)
    report = prepare(tmp_path / "source", tmp_path / "target")
    assert report.prepared == 8
    assert prepared(tmp_path / "target") == [
        "A.png",
        "Cd.png",
        "a_2.png",
        "a_2_2.png",
        "a_3.png",
        "b.png/c.png",
        "b_2.png",
        "cD_2.png",
    ]


def test_a_zip_is_prepared_without_leaving_the_target(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(picture(tmp_path / "p0.png", 0), "../../escaped.png")
        archive.write(picture(tmp_path / "p1.png", 1), "rose/a.png")
    before = set(tmp_path.iterdir())
    assert prepare(tmp_path / "a.zip", tmp_path / "out/target").prepared == 2
    assert prepared(tmp_path / "out/target") == ["escaped.png", "rose/a.png"]
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out"}


def test_preparing_again_from_the_result_changes_no_pixel(tmp_path: Path) -> None:
    for seed in range(3):
        picture(tmp_path / f"source/{seed}.png", seed, side=200)
    prepare(tmp_path / "source", tmp_path / "once", workers=1)
    prepare(tmp_path / "once", tmp_path / "twice", workers=3)
    assert list(digests(tmp_path / "once").values()) == list(digests(tmp_path / "twice").values())


@pytest.mark.parametrize(
    ("source", "target"), [("s", "s"), ("s", "s/in"), ("s/in", "s"), ("s", "s/in/../../s")]
)
def test_overlapping_folders_are_refused(tmp_path: Path, source: str, target: str) -> None:
    picture(tmp_path / "s/in/a.png")
    before = digests(tmp_path)
    with pytest.raises(PrepareError, match="overlap: choose"):
        prepare(tmp_path / source, tmp_path / target)
    assert digests(tmp_path) == before


def test_an_overlap_through_a_link_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "s/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(PrepareError, match="overlap: choose"):
        prepare(tmp_path / "s", tmp_path / "link/in")


def test_a_target_in_use_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "s/a.png")
    kept = picture(tmp_path / "t/old.png", 1)
    with pytest.raises(PrepareError, match="not empty"):
        prepare(tmp_path / "s", tmp_path / "t")
    with pytest.raises(PrepareError, match="not a folder"):
        prepare(tmp_path / "s", kept)
    assert prepared(tmp_path / "t") == ["old.png"]


@pytest.mark.parametrize("options", [{"workers": 0}, {"resolution": 100}])
def test_impossible_options_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, int]
) -> None:
    picture(tmp_path / "s/a.png")
    with pytest.raises(SeedlingError, match="must be"):
        prepare(tmp_path / "s", tmp_path / "t", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "new"], "error: gone does not exist"),
        (["empty", "new"], "error: no pictures found in empty"),
        (["text.zip", "new"], "error: text.zip is not a readable folder or zip: File is not a zip file"),
        (["bad", "new"], "error: none of the 1 picture could be used"),
        (["bad", "text.zip/new"], "error: [Errno 20] Not a directory: 'text.zip/new'"),
        (["bad"], "error: the following arguments are required: DST (see --help)"),
        (["bad", "new", "--fast"], "error: unrecognized arguments: --fast (see --help)"),
        (
            ["bad", "new", "--background", "nice"],
            "error: argument --background: 'nice' is not a colour such as #ffffff or white (see --help)",
        ),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "bad"):
        Path(folder).mkdir()
    Path("bad/a.png").touch()
    Path("text.zip").write_text("hello")
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr == message + "\n"


def test_many_skipped_pictures_are_not_all_listed() -> None:
    skipped = [Skipped(f"{k}.png", "unreadable", "broken") for k in range(1234)]
    lines = list(
        Report(resolution=128, background="#ffffff", found=5000, prepared=3766, skipped=skipped).lines()
    )
    assert lines[MAX_REPORTED - 1 :] == [
        "19.png: broken",
        "and 1,214 more, see prepared.json",
        "5,000 pictures found: 3,766 prepared, 1,234 unreadable, 0 too small, 0 duplicates",
    ]


def test_names_cannot_forge_lines_of_the_report() -> None:
    skipped = [Skipped("a\n\x1b[2Jb\udcff.png", "unreadable", "broken")]
    report = Report(resolution=128, background="#ffffff", found=1, prepared=0, skipped=skipped)
    assert next(report.lines()) == "a ?[2Jb?.png: broken"
