"""``training.doctor``: what it finds in pictures, what it leaves alone, and what it advises."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from training.avatars import render_avatar
from training.doctor import (
    BRIEF,
    FEW,
    MANY,
    MAX_NAMED,
    RULES,
    SOME,
    UNLIKE,
    Diagnosis,
    Skipped,
    brief,
    diagnose,
)
from training.symptoms import GRID, Pixels, compare, look
from training.train import main


def photo(seed: int, side: int = 160) -> Image.Image:
    """Soft shapes with fine detail over them, as in a photograph."""
    rng = np.random.default_rng(seed)
    coarse, fine = (Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)) for n in (5, 40))
    shapes, detail = (img.resize((side, side), Image.Resampling.BICUBIC) for img in (coarse, fine))
    return Image.blend(shapes, detail, 0.25)


def pixels(img: Image.Image) -> Pixels:
    return np.asarray(img.resize((128, 128), Image.Resampling.BILINEAR))


def thumbnails(pictures: list[Image.Image]) -> Pixels:
    return np.array([look(pixels(img)).thumbnail for img in pictures])


def jpeg(img: Image.Image) -> Image.Image:
    file = io.BytesIO()
    img.save(file, "JPEG", quality=30)
    return Image.open(file)


def gradient(angle: float) -> Image.Image:
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    ramp = x * np.cos(angle) + y * np.sin(angle)
    return Image.fromarray((127.5 + 90 * ramp).astype(np.uint8)).convert("RGB")


def found(**changes: int) -> Diagnosis:
    """A thousand times ten pictures with nothing wrong but what is said."""
    kinds = {kind: [f"{k}.png" for k in range(changes.get(kind.replace("-", "_"), 0))] for kind in RULES}
    return Diagnosis(
        resolution=128,
        found=changes.get("found", 10_000),
        examined=changes.get("examined", changes.get("found", 10_000)),
        skipped=[],
        shorter_side=None,
        shape=None,
        kinds={**kinds, "grey": [f"{k}.png" for k in range(changes.get("grey", 0))]},
        duplicates=[],
        near_duplicates=[],
        likeness=0.5,
    )


# --- Near-duplicates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda img: img.resize((96, 96)),
        lambda img: img.crop((3, 3, 157, 157)),
        lambda img: Image.fromarray(np.roll(img, 3, axis=1)),  # 2 % of the side
        lambda img: ImageEnhance.Brightness(img).enhance(1.25),
        lambda img: ImageEnhance.Brightness(img).enhance(0.7),
        lambda img: ImageEnhance.Contrast(img).enhance(0.7),
    ],
    ids=["jpeg", "smaller", "cut", "shifted", "brighter", "darker", "duller"],
)
def test_a_changed_copy_is_found_among_others(change: Callable[[Image.Image], Image.Image]) -> None:
    pictures = [photo(seed) for seed in range(12)]
    groups, _ = compare(thumbnails([*pictures, change(pictures[3]), change(pictures[7])]))
    assert groups == [[3, 12], [7, 13]]


@pytest.mark.parametrize(
    "pictures",
    [
        [photo(seed) for seed in range(40)],
        [gradient(k * np.pi / 6) for k in range(12)],
        [render_avatar(seed, 128) for seed in range(40)],
        [
            Image.fromarray(np.random.default_rng(k).integers(0, 256, (128, 128, 3), np.uint8))
            for k in range(40)
        ],
        [Image.new("RGB", (128, 128), (k, 255 - k, 0)) for k in range(0, 250, 10)],
    ],
    ids=["photographs", "gradients", "avatars", "noise", "plain"],
)
def test_different_pictures_are_not_grouped(pictures: list[Image.Image]) -> None:
    groups, _ = compare(thumbnails(pictures))
    assert groups == []


def test_the_same_shapes_in_other_colours_are_different() -> None:
    img = photo(0)
    swapped = Image.merge("RGB", img.split()[::-1])
    assert compare(thumbnails([img, swapped]))[0] == []


def test_a_group_is_named_by_its_first_and_does_not_chain() -> None:
    """Steps between neighbours are small, so chaining would make one group of pictures that differ."""
    film = [Image.blend(photo(0), photo(1), share) for share in np.linspace(0, 1, 25)]
    groups, _ = compare(thumbnails(film))
    assert len(groups) > 1
    small = thumbnails(film)
    for first, *others in groups:
        for k in others:
            assert compare(small[[first, k]])[0] == [[0, 1]]


def test_groups_across_blocks_are_found_whole() -> None:
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (1_500, GRID, GRID, 3)).astype(np.uint8)
    many[[700, 1_400]] = many[20]
    assert compare(many)[0] == [[20, 700, 1_400]]


def test_likeness_is_the_mean_correlation_of_all_pairs() -> None:
    small = thumbnails([photo(seed) for seed in range(6)])
    units = small.astype(float) - small.mean((1, 2), keepdims=True)
    correlations = np.corrcoef(units.reshape(6, -1))[np.triu_indices(6, 1)]
    assert compare(small)[1] == pytest.approx(correlations.mean(), abs=1e-6)
    assert compare(small[[0, 0, 0]])[1] == pytest.approx(1)
    for few in (small[:0], small[:1]):
        assert compare(few) == ([], pytest.approx(0, abs=1e-6))


# --- One picture ------------------------------------------------------------------------------------


def test_one_colour_is_blank_and_a_thin_line_is_not() -> None:
    noisy = np.random.default_rng(0).integers(100, 104, (128, 128, 3), np.uint8)
    line = np.full((128, 128, 3), 255, np.uint8)
    line[64] = 0
    assert look(noisy).blank
    assert not look(line).blank


def test_grey_survives_jpeg_and_a_coloured_spot_is_colour() -> None:
    grey = np.array(jpeg(photo(0).convert("L").convert("RGB")).resize((128, 128)))
    assert look(grey).grey
    grey[:16, :16] = (200, 0, 0)
    assert not look(grey).grey


# --- Advice -----------------------------------------------------------------------------------------


def test_a_good_set_gets_no_advice() -> None:
    assert found().advice() == []
    assert list(found().lines())[-1] == "no advice: this is a good set to train on"


@pytest.mark.parametrize("kind", RULES)
def test_a_kind_is_advised_on_above_its_share_only(kind: str) -> None:
    limit = round(RULES[kind].above * 10_000)
    assert found(**{kind.replace("-", "_"): limit}).advice() == []
    [advice] = found(**{kind.replace("-", "_"): limit + 1}).advice()
    assert (advice.kind, advice.figure) == (kind, (limit + 1) / 10_000)
    assert advice.text.startswith(f"{limit + 1:,} of 10,000 pictures (")
    assert "{" not in advice.text


@pytest.mark.parametrize(
    ("number", "words"),
    [(15, "at least 16"), (FEW - 1, "by heart"), (SOME - 1, "enough to begin"), (SOME, None)],
)
def test_too_few_is_said_by_the_number_of_different_pictures(number: int, words: str | None) -> None:
    many_copies = found(found=2 * number, duplicates=number)
    texts = [advice.text for advice in many_copies.advice() if advice.kind == "too few"]
    assert [words in text for text in texts] == ([True] if words else [])
    assert all(text.startswith(f"{number:,} different pictures: ") for text in texts)


@pytest.mark.parametrize(("grey", "advised"), [(500, 0), (501, 1), (9_499, 1), (9_500, 0), (10_000, 0)])
def test_grey_is_advised_on_where_it_is_mixed(grey: int, advised: int) -> None:
    assert len(found(grey=grey).advice()) == advised


def test_varied_is_said_with_what_it_is_based_on() -> None:
    def kinds(likeness: float, number: int) -> list[str]:
        looks = [(str(k), look(pixels(photo(k)))) for k in range(16)]
        whole = diagnose(128, number, looks)
        changed = Diagnosis(**{**whole_fields(whole), "likeness": likeness, "examined": number})
        return [advice.kind for advice in changed.advice()]

    assert kinds(UNLIKE - 0.01, MANY - 1) == ["varied"]
    assert kinds(UNLIKE, MANY - 1) == kinds(UNLIKE - 0.01, MANY) == []


def whole_fields(diagnosis: Diagnosis) -> dict[str, object]:
    return {name: getattr(diagnosis, name) for name in Diagnosis.__dataclass_fields__}


def test_only_some_examples_are_shown_and_names_cannot_forge_lines() -> None:
    skipped = [Skipped(f"a\n\x1b[2J{k}.png", "unreadable", "broken") for k in range(MAX_NAMED + 3)]
    looks = [(f"{k}.png", look(pixels(photo(k)))) for k in range(2)]
    lines = list(diagnose(128, len(skipped) + 2, looks, skipped).lines())
    at = lines.index("    a ?[2J0.png: broken")
    assert lines[at + MAX_NAMED] == "    and 3 more, which --json names"
    assert all(line.isprintable() for line in lines)


# --- Before training --------------------------------------------------------------------------------


def test_a_brief_look_advises_a_line_each() -> None:
    plain = np.zeros((20, 64, 64, 3), np.uint8)
    texts = brief(plain)
    assert texts[0].startswith("1 different picture: training needs at least 16")
    assert [text.split(" are ")[0] for text in texts[1:]] == [
        "19 of 20 pictures (95.0%)",
        "20 of 20 pictures (100.0%)",
    ]
    assert all(text.isprintable() for text in texts)


def test_a_brief_look_at_many_finds_neighbours_that_are_copies() -> None:
    rng = np.random.default_rng(0)
    different = rng.integers(0, 256, (3 * BRIEF, 32, 32, 3)).astype(np.uint8)
    [few] = [text for text in brief(different) if "copies" in text or text[0].isdigit()]
    assert few.startswith(f"{3 * BRIEF:,} pictures: ")
    assert "--translate" in few
    assert "--translate" not in " ".join(brief(different, shifted=True))
    [copies] = [text for text in brief(np.repeat(different[::2], 2, axis=0)) if "exact copies" in text]
    assert copies.startswith(f"{BRIEF // 2} of {BRIEF} pictures looked at (50.0%)")


def test_training_advises_first_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(20):
        photo(k % 17).save(tmp_path / f"{k:02}.png")
    small = "--dry-run --img-resolution 16 --z-dim 8 --ngf 4 --ndf 4 --batch-size 4 --device cpu"
    for flags, expected in [([], True), (["--no-check"], False)]:
        monkeypatch.setattr(sys, "argv", ["train", "--data", str(tmp_path), *small.split(), *flags])
        main()
        printed = capsys.readouterr().out.splitlines()
        assert (
            any(line.startswith("advice: 3 of 20 pictures (15.0%) are exact") for line in printed) == expected
        )
        assert any(line.startswith("advice: ") for line in printed) == expected
