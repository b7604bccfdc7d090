"""How a picture is shown: size, shape, background."""

import numpy as np
import pytest

from app.look import LookError, choose_look, cut_out
from app.parameters import Appearance

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def look(*, alpha: bool = True, quality: int | None = None, **wanted: object):  # noqa: ANN201
    return choose_look(Appearance(**wanted), len(PICTURE), alpha=alpha, quality=quality)


def test_the_default_look_changes_nothing() -> None:
    plain = look()
    assert plain.pairs == []
    assert plain.show(PICTURE) is PICTURE


def test_a_circle_covers_its_area_and_leaves_the_corners() -> None:
    mask = cut_out("circle", 64)[:, :, 0].astype(float) / 255
    assert mask.sum() == pytest.approx(np.pi * 32**2, rel=0.002)
    assert mask[0, 0] == 0
    assert mask[32, 32] == 1
    assert np.array_equal(mask, mask.T)
    assert np.array_equal(mask, mask[::-1])
    assert len(np.unique(mask)) > 10  # smooth edges


def test_rounded_corners_leave_what_a_circle_of_an_eighth_leaves() -> None:
    mask = cut_out("rounded", 64)[:, :, 0].astype(float) / 255
    assert 64**2 - mask.sum() == pytest.approx((4 - np.pi) * 8**2, rel=0.02)


def test_what_is_cut_out_is_transparent_or_of_the_background() -> None:
    clear = look(shape="circle").show(PICTURE)
    assert clear.shape == (16, 16, 4)
    assert clear[0, 0, 3] == 0
    np.testing.assert_array_equal(clear[:, :, :3], PICTURE)
    red = look(shape="circle", background="red").show(PICTURE)
    assert red[0, 0].tolist() == [255, 0, 0]
    np.testing.assert_array_equal(red[8, 8], PICTURE[8, 8])


def test_a_format_without_alpha_is_white_behind_and_cannot_be_transparent() -> None:
    assert look(alpha=False, shape="circle").show(PICTURE)[0, 0].tolist() == [255, 255, 255]
    with pytest.raises(LookError, match=r"expected a colour as background, .* got 'transparent'"):
        look(alpha=False, background="transparent")


@pytest.mark.parametrize(
    ("colour", "written"), [("RebeccaPurple", "663399"), ("#ABC", "aabbcc"), ("0f0", "00ff00")]
)
def test_a_colour_has_one_spelling(colour: str, written: str) -> None:
    assert ("background", written) in look(shape="circle", background=colour).pairs


def test_a_background_that_nobody_sees_is_not_told() -> None:
    assert look(background="red").pairs == []


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    flat = np.full((16, 16, 3), 77, np.uint8)
    for size in (16, 31, 512):
        shown = look(size=size).show(flat)
        assert shown.shape == (size, size, 3)
        assert np.unique(shown).tolist() == [77]
