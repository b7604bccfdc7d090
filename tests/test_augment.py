"""Augmentation: what it moves, and that gradients come back to where they belong."""

import torch

from training.augment import translate


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_share_is_no_change() -> None:
    img = torch.randn(2, 3, 16, 16)
    assert translate(img, 0.0, random()) is img


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
