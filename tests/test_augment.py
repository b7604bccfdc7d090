"""Augmentation: what it moves, and that gradients come back to where they belong."""

from collections.abc import Callable

import pytest
import torch

from training.augment import FEW, MANY, Augment, cutout, recolour, suited_to, translate
from training.config import TrainConfig
from training.draws import Draws


def random(seed: int = 0) -> Draws:
    draws = Draws(torch.device("cpu"))
    draws.begin(seed)
    return draws


@pytest.mark.parametrize("change", [translate, recolour, cutout])
def test_no_share_is_no_change(change: Callable[..., torch.Tensor]) -> None:
    img = torch.randn(2, 3, 16, 16)
    assert change(img, 0.0, random()) is img


def test_each_picture_is_shifted_as_a_whole_within_reach() -> None:
    img = torch.zeros(64, 1, 16, 16)
    img[:, :, 8, 8] = 1
    shifted = translate(img, 0.25, random())
    places = shifted.flatten(1).argmax(1)
    rows, columns = places // 16, places % 16
    assert shifted.flatten(1).sum(1).eq(1).all()
    assert {int(v) for v in (rows - 8).unique()} <= set(range(-4, 5))
    assert len(rows.unique()) > 4
    assert len(columns.unique()) > 4
    assert not torch.equal(rows, columns)


def test_the_same_randomness_gives_the_same_shift() -> None:
    img = torch.randn(4, 3, 16, 16)
    assert torch.equal(translate(img, 0.25, random(1)), translate(img, 0.25, random(1)))
    assert not torch.equal(translate(img, 0.25, random(1)), translate(img, 0.25, random(2)))


def test_gradients_reach_every_pixel_that_stayed() -> None:
    img = torch.randn(4, 3, 16, 16, requires_grad=True)
    translate(img, 0.25, random()).sum().backward()
    assert img.grad is not None
    assert set(img.grad.unique().tolist()) == {0.0, 1.0}
    assert img.grad[:, :, 4:12, 4:12].eq(1).all()


def test_a_shift_s_gradients_are_right_twice() -> None:
    img = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: translate(x, 0.5, random()), (img,))
    assert torch.autograd.gradgradcheck(lambda x: translate(x, 0.5, random()), (img,))


def test_a_colour_changes_a_plain_picture_to_another_plain_one_within_its_strength() -> None:
    img = torch.full((256, 3, 4, 4), 0.25)
    changed = recolour(img, 0.2, random())
    assert (changed.flatten(1).amax(1) - changed.flatten(1).amin(1)).max() < 1e-6
    moved = changed[:, 0, 0, 0] - 0.25
    assert moved.abs().max() <= 0.2
    assert moved.min() < -0.15
    assert moved.max() > 0.15


def test_a_grey_picture_stays_grey_under_another_saturation() -> None:
    grey = torch.randn(8, 1, 4, 4).expand(8, 3, 4, 4)
    changed = recolour(grey, 0.5, random())
    torch.testing.assert_close(changed[:, 0], changed[:, 2])
    assert not torch.allclose(changed, grey)


def test_a_cutout_is_one_square_of_its_side() -> None:
    left = cutout(torch.ones(64, 1, 16, 16), 0.25, random())
    covered = 256 - left.flatten(1).sum(1)
    assert covered.max() == 16
    assert covered.min() >= 4  # a quarter of it, in a corner
    assert len(left.unique(dim=0)) > 32


def test_the_share_says_how_many_pictures_are_changed() -> None:
    augment = Augment(TrainConfig(cutout=0.5, augment_p=0.25))
    img = torch.ones(2000, 1, 8, 8)
    changed = augment(img, random()).flatten(1).amin(1).eq(0).float().mean()
    assert 0.2 < changed < 0.3
    augment.p.fill_(0.0)
    assert torch.equal(augment(img, random()), img)
    augment.p.fill_(1.0)
    assert augment(img, random()).flatten(1).amin(1).eq(0).all()


def test_fewer_pictures_are_changed_more() -> None:
    config = TrainConfig()
    few, some, many = (suited_to(config, count) for count in (FEW - 1, FEW, MANY + 1))
    assert few.colour > some.colour == 0
    assert few.translate == some.translate > many.translate == 0
