"""Losses against closed forms."""

import math

import pytest
import torch

from training.config import ConfigError, TrainConfig
from training.losses import make_loss


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def logits(value: float) -> torch.Tensor:
    return torch.full((8, 1), float(value))


def test_bce_of_an_undecided_discriminator_is_ln_4() -> None:
    loss = make_loss(TrainConfig())
    assert loss.discriminator(logits(0), logits(0)).item() == pytest.approx(math.log(4))
    assert loss.generator(logits(0)).item() == pytest.approx(math.log(2))


def test_bce_has_its_floor_where_the_discriminator_says_the_labels() -> None:
    loss = make_loss(TrainConfig())
    says_09 = logits(math.log(9)).requires_grad_()
    says_01 = logits(-math.log(9)).requires_grad_()
    floor = loss.discriminator(says_09, says_01)
    floor.backward()
    assert floor.item() == pytest.approx(entropy(0.9) + entropy(0.1)) == pytest.approx(0.650, abs=5e-4)
    assert says_09.grad is not None
    assert says_09.grad.abs().max() < 1e-7


def test_bce_without_smoothing_is_the_log_likelihood() -> None:
    loss = make_loss(TrainConfig(real_label=1.0, fake_label=0.0))
    wanted = math.log1p(math.exp(-2)) + math.log1p(math.exp(-3))
    assert loss.discriminator(logits(2), logits(-3)).item() == pytest.approx(wanted)


def test_hinge_stops_at_the_margin() -> None:
    loss = make_loss(TrainConfig(loss="hinge"))
    assert loss.discriminator(logits(1.5), logits(-1.5)).item() == 0
    assert loss.discriminator(logits(0.25), logits(0.5)).item() == pytest.approx(0.75 + 1.5)
    assert loss.generator(logits(0.5)).item() == pytest.approx(-0.5)


@pytest.mark.parametrize("name", ["bce", "hinge"])
def test_the_generator_gains_by_being_believed(name: str) -> None:
    loss = make_loss(TrainConfig(loss=name))
    assert loss.generator(logits(1)) < loss.generator(logits(-1))


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="bce, hinge, got 'wasserstein'"):
        make_loss(TrainConfig(loss="wasserstein"))
