"""Penalties on a linear D, whose slope is known."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.config import TrainConfig
from training.draws import Draws
from training.regularisers import Judged, Regularisation
from training.regularisers.consistency import consistency
from training.regularisers.gradient_penalty import gradient_penalty
from training.regularisers.lecam import DECAY, LeCam
from training.regularisers.r1 import r1

SHAPE = (6, 3, 16, 16)


class LinearD(nn.Module):
    """A D of one weight a pixel, all alike: its slope is |weight| · √pixels everywhere."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, img: Tensor) -> Tensor:
        """Returns the logits."""
        return self.weight * img.flatten(1).sum(1, keepdim=True)


def judged(d: Callable[[Tensor], Tensor], seed: int = 0) -> Judged:
    draws = Draws(torch.device("cpu"))
    draws.begin(seed)
    real, fake = (draws.normal(*SHAPE) for _ in range(2))
    return Judged(d=d, real=real, fake=fake, real_logits=d(real), fake_logits=d(fake), draws=draws)


def test_r1_of_a_linear_d_is_half_its_squared_slope() -> None:
    d = LinearD(0.3)
    penalty = r1(judged(d))
    pixels = math.prod(SHAPE[1:])
    assert penalty.item() == pytest.approx(0.3**2 * pixels / 2)
    penalty.backward()  # by the second derivative
    assert d.weight.grad is not None
    assert d.weight.grad.item() == pytest.approx(0.3 * pixels)


def test_the_gradient_penalty_wants_a_slope_of_1() -> None:
    pixels = math.prod(SHAPE[1:])
    d = LinearD(0.3)
    penalty = gradient_penalty(judged(d))
    slope = 0.3 * math.sqrt(pixels)
    assert penalty.item() == pytest.approx((slope - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert d.weight.grad is not None
    assert d.weight.grad.item() == pytest.approx(2 * (slope - 1) * math.sqrt(pixels), rel=1e-5)
    assert gradient_penalty(judged(LinearD(1 / math.sqrt(pixels)))).item() == pytest.approx(0, abs=1e-10)


def test_a_flat_d_has_a_gradient_to_leave_its_flatness_by() -> None:
    d = LinearD(0.0)
    gradient_penalty(judged(d)).backward()
    assert d.weight.grad is not None
    assert math.isfinite(d.weight.grad.item())


def test_lecam_penalises_what_lies_beyond_the_other_kind_s_mean() -> None:
    lecam = LeCam()
    real, fake = torch.tensor([[3.0], [1.0]]), torch.tensor([[-2.0], [0.0]])
    step = Judged(
        d=lambda _: real,
        real=real,
        fake=fake,
        real_logits=real,
        fake_logits=fake,
        draws=Draws(torch.device("cpu")),
    )
    real_mean, fake_mean = (1 - DECAY) * 2, (1 - DECAY) * -1
    wanted = ((3 - fake_mean) ** 2 + (1 - fake_mean) ** 2) / 2 + ((real_mean + 2) ** 2 + real_mean**2) / 2
    assert lecam(step).item() == pytest.approx(wanted)
    for _ in range(2000):
        lecam(step)
    assert lecam.real_mean.item() == pytest.approx(2, abs=1e-3)
    assert lecam.fake_mean.item() == pytest.approx(-1, abs=1e-3)


def test_a_sum_does_not_change_when_what_is_there_moves() -> None:
    d = LinearD(0.3)
    step = judged(d)
    for img in (step.real, step.fake):
        img[:, :, [0, -1]] = img[:, :, :, [0, -1]] = 0  # nothing leaves the picture
    still = dataclasses.replace(step, real_logits=d(step.real), fake_logits=d(step.fake))
    assert consistency(still).item() == pytest.approx(0, abs=1e-10)


def test_a_d_that_looks_at_one_pixel_is_inconsistent() -> None:
    assert consistency(judged(lambda img: img[:, 0, 3, 3:4])).item() > 0.1


def added(config: TrainConfig, step: Judged, *, lazily: bool = False) -> float:
    return float(torch.as_tensor(Regularisation(config)(step, lazily=lazily)).detach())


def test_the_weights_count_and_lazy_ones_make_up_for_the_steps_between() -> None:
    step = judged(LinearD(0.3))
    assert added(TrainConfig(), step, lazily=True) == 0
    lazy = TrainConfig(r1=0.5, r1_every=4)
    assert added(lazy, step) == 0
    assert added(lazy, step, lazily=True) == pytest.approx(0.5 * 4 * r1(step).item())
    penalty = gradient_penalty(judged(LinearD(0.3), 1)).item()
    assert added(TrainConfig(gradient_penalty=3.0), judged(LinearD(0.3), 1)) == pytest.approx(3 * penalty)
    assert added(TrainConfig(gradient_penalty=3.0, lecam=1.0), step) > 3 * penalty


def test_wgan_gp_brings_its_penalty() -> None:
    penalty = gradient_penalty(judged(LinearD(0.3))).item()
    assert added(TrainConfig(loss="wgan-gp"), judged(LinearD(0.3))) == pytest.approx(10 * penalty)
