"""Losses against closed forms."""

import math

import numpy as np
import pytest
import torch

from training.config import ConfigError, TrainConfig
from training.losses import LOSSES, make_loss


def entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def logits(value: float) -> torch.Tensor:
    return torch.full((8, 1), float(value))


def test_bce_of_an_undecided_discriminator_is_ln_4() -> None:
    loss = make_loss(TrainConfig())
    assert loss.discriminator(logits(0), logits(0)).item() == pytest.approx(math.log(4))
    assert loss.generator(logits(0), logits(0)).item() == pytest.approx(math.log(2))


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
    assert loss.generator(logits(0), logits(0.5)).item() == pytest.approx(-0.5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_gains_by_being_believed(name: str) -> None:
    loss = make_loss(TrainConfig(loss=name))
    assert loss.generator(logits(0), logits(1)) < loss.generator(logits(0), logits(-1))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_knows_its_equilibrium(name: str) -> None:
    """Where pictures are alike D can only say the same of all; the best such word is the equilibrium."""
    loss = make_loss(TrainConfig(loss=name))
    same = [loss.discriminator(logits(v), logits(v)).item() for v in np.linspace(-2, 2, 401)]
    assert min(same) == pytest.approx(loss.equilibrium, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "wgan-gp"])
def test_a_loss_knows_its_floor(name: str) -> None:
    loss = make_loss(TrainConfig(loss=name))
    sure = [
        loss.discriminator(logits(real), logits(fake)).item()
        for real in np.linspace(-12, 12, 49)
        for fake in np.linspace(-12, 12, 49)
    ]
    assert loss.floor is not None
    assert min(sure) == pytest.approx(loss.floor, abs=0.005)
    assert min(sure) > loss.floor - 1e-5


def test_wgan_has_no_floor() -> None:
    loss = make_loss(TrainConfig(loss="wgan-gp"))
    assert loss.floor is None
    assert loss.discriminator(logits(1000), logits(-1000)).item() == -2000


def test_least_squares_are_halved_squares() -> None:
    loss = make_loss(TrainConfig(loss="lsgan"))
    assert loss.discriminator(logits(3), logits(1)).item() == pytest.approx((4 + 1) / 2)
    assert loss.generator(logits(0), logits(3)).item() == pytest.approx(2)


@pytest.mark.parametrize("name", ["relativistic", "relativistic-average"])
def test_only_differences_count_where_logits_are_relative(name: str) -> None:
    loss = make_loss(TrainConfig(loss=name))
    real, fake = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0))
    for value in (loss.discriminator, loss.generator):
        assert value(real + 5, fake + 5).item() == pytest.approx(value(real, fake).item(), abs=1e-5)
    assert loss.discriminator(real, fake).item() == pytest.approx(loss.generator(fake, real).item())


def test_a_relativistic_pair_is_the_likelihood_of_its_order() -> None:
    loss = make_loss(TrainConfig(loss="relativistic"))
    assert loss.discriminator(logits(2), logits(-1)).item() == pytest.approx(math.log1p(math.exp(-3)))


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"bce, hinge, .*, got 'wasserstein'"):
        make_loss(TrainConfig(loss="wasserstein"))
