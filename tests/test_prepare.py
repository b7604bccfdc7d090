"""``python -m training.prepare``, on folders and zips that hold every kind of trouble."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import run_here
from PIL import Image

from models.contract import SeedlingError
from training.check import check
from training.doctor import Skipped
from training.pictures import PictureError
from training.prepare import main
from training.squares import MAX_REPORTED, PrepareError, Report, prepare


def picture(path: Path, seed: int = 0, side: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def prepared(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png") if path.is_file())


def test_a_mixed_folder_is_prepared_counted_and_not_touched(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    picture(source / "rose/a.png", 0)
    picture(source / "rose/b.bmp", 0)
    picture(source / "tulip/c.jpg", 1, side=300)
    picture(source / "tulip/tiny.png", 2, side=20)
    (source / "broken.jpg").write_bytes(b"no picture")
    (source / "notes.txt").write_text("no picture either")
    before = digests(source)
    command = [sys.executable, "-m", "training.prepare", source, target, "--resolution", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    assert run_here(main, tmp_path / "source", tmp_path / "target", "--background", "lime").returncode == 0
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
        (["bad", "new", "--check"], "error: --check writes no pictures: leave out DST (see --help)"),
        (["bad", "new", "--json", "r.json"], "error: --sheet and --json go with --check (see --help)"),
        (["empty", "--check"], "error: no pictures found in empty"),
        (["gone", "--check"], "error: gone does not exist"),
        (["bad", "--check", "--workers", "0"], "error: workers must be at least 1, got 0"),
        (
            ["bad", "--check", "--json", "bad/r.json"],
            "error: bad/r.json is inside bad, which is only read: choose another place",
        ),
        (
            ["text.zip", "--check", "--sheet", "text.zip"],
            "error: text.zip is inside text.zip, which is only read: choose another place",
        ),
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
    done = run_here(main, *arguments)
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


# --- Checking ---------------------------------------------------------------------------------------


def soft(path: Path, seed: int, size: tuple[int, int] = (160, 160)) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8))
    img = coarse.resize(size, Image.Resampling.BICUBIC)
    img.save(path)
    return img


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 good pictures, and of each kind of trouble."""
    folder = tmp_path_factory.mktemp("trouble")
    for seed in range(24):
        soft(folder / f"good/{seed:02}.png", seed)
    first = soft(folder / "a.png", 100)
    first.save(folder / "a_again.bmp")
    first.save(folder / "a_small.jpg", quality=40)
    soft(folder / "b_small.png", 101, (90, 100))
    soft(folder / "b_wide.png", 102, (300, 160))
    soft(folder / "b_photo.png", 103, (240, 160))
    soft(folder / "b_tiny.png", 104, (20, 300))
    soft(folder / "c_grey.jpg", 105).convert("L").save(folder / "c_grey.jpg")
    Image.new("RGB", (200, 200), "navy").save(folder / "c_blank.webp")
    full = soft(folder / "d_alpha_full.png", 106).convert("RGBA")
    full.save(folder / "d_alpha_full.png")
    full.putalpha(Image.linear_gradient("L").resize(full.size))
    full.save(folder / "d_alpha.png")
    (folder / "e_broken.jpg").write_bytes(b"no picture")
    (folder / "e_cut.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    (folder / "notes.txt").write_text("no picture either")
    return folder


KINDS = {
    "unreadable": ["e_broken.jpg", "e_cut.png"],
    "too small": ["b_tiny.png"],
    "duplicates": ["a_again.bmp"],
    "near-duplicates": ["a_small.jpg"],
    "blank": ["c_blank.webp"],
    "enlarged": ["b_small.png"],
    "cropped": ["b_wide.png"],
    "transparent": ["d_alpha.png"],
    "grey": ["c_grey.jpg"],
}


def test_a_check_reports_every_kind_of_trouble_and_touches_nothing(trouble: Path, tmp_path: Path) -> None:
    before = digests(trouble)
    done = run_here(
        main, trouble, "--check", "--sheet", tmp_path / "new/sheet.png", "--json", tmp_path / "report.json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert digests(trouble) == before
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["kinds"] == KINDS
    assert (report["found"], report["usable"], report["examined"]) == (37, 34, 34)
    assert report["duplicates"] == [["a.png", "a_again.bmp"]]
    assert report["near_duplicates"] == [["a.png", "a_small.jpg"]]
    assert [skip["path"] for skip in report["skipped"]] == ["b_tiny.png", "e_broken.jpg", "e_cut.png"]
    assert report["shorter_side"] == {"least": 90, "median": 160, "most": 200}
    assert report["shape"] == {"least": 1, "median": 1, "most": 1.88}
    assert -0.1 < report["likeness"] < 0.1
    kinds = ["too few", "unreadable", "too small", "duplicates", "near-duplicates", "blank", "varied"]
    assert [advice["kind"] for advice in report["advice"]] == kinds
    assert report["advice"][0]["figure"] == 32
    assert all(advice["text"] for advice in report["advice"])
    lines = done.stdout.splitlines()
    assert lines[0] == "37 pictures found, 34 can be trained on"
    assert "    e_broken.jpg: not a picture in a known format" in lines
    assert "    a.png ~ a_small.jpg" in lines
    assert any(line.startswith("  * 32 different pictures: ") for line in lines)
    with Image.open(tmp_path / "new/sheet.png") as sheet:
        assert sheet.size == (6 * 128, 6 * 128)


def test_the_sheet_shows_what_the_trainer_sees(tmp_path: Path) -> None:
    for k, color in enumerate(["red", "lime", "blue"]):
        picture(tmp_path / f"s/{k}.png")
        Image.new("RGB", (90, 70), color).save(tmp_path / f"s/{k}.png")
    Image.new("RGBA", (90, 70)).save(tmp_path / "s/3.png")
    check(tmp_path / "s", resolution=64, background=(9, 9, 9), sheet=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (128, 128)
        corners = [sheet.getpixel(place) for place in [(5, 5), (100, 5), (5, 100), (100, 100)]]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]


def test_a_zip_is_checked_like_its_folder(trouble: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in trouble.rglob("*"):
            archive.write(path, path.relative_to(trouble))
    before = digests(tmp_path)
    assert check(tmp_path / "a.zip").to_dict() == check(trouble, workers=1).to_dict()
    assert digests(tmp_path) == before


def test_one_picture_is_reported_and_cannot_be_trained_on(tmp_path: Path) -> None:
    picture(tmp_path / "s/a.png")
    done = run_here(main, tmp_path / "s", "--check", "--json", tmp_path / "r.json")
    assert done.returncode == 2
    assert done.stdout.startswith("1 picture found, 1 can be trained on\n")
    assert "1 different picture: training needs at least 16" in done.stdout
    assert done.stderr == "error: 1 picture can be read, training needs 16\n"
    assert json.loads((tmp_path / "r.json").read_text())["advice"][0]["kind"] == "too few"


def test_nothing_readable_is_reported_with_its_reasons(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.png").touch()
    done = run_here(main, tmp_path / "s", "--check", "--sheet", tmp_path / "sheet.png")
    assert done.returncode == 2
    assert "    a.png: not a picture in a known format" in done.stdout.splitlines()
    assert not (tmp_path / "sheet.png").exists()


def test_a_check_refuses_what_is_neither_folder_nor_zip(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="not a readable folder or zip"):
        check(picture(tmp_path / "a.png"))


def test_a_sheet_is_not_written_into_the_source_through_a_link(tmp_path: Path) -> None:
    picture(tmp_path / "s/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(PrepareError, match="only read"):
        check(tmp_path / "s", sheet=tmp_path / "link/sheet.png")
    assert prepared(tmp_path / "s") == ["a.png"]
