"""The adversarial losses, by name: what D and G each minimise, given D's logits.

Each knows its *floor*, which D's loss reaches when it tells every picture, and its *equilibrium*, where D
can do no better than to say the same of all: the two ends of the scale of a game's health.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.config import ConfigError, TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class GanLoss:
    """A pair of losses; logits are (N, 1), results scalars."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """(real, fake) → loss_d."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(real, fake) → loss_g; ``real`` only matters where ``relative``, and may else be anything."""
    equilibrium: float
    """D's loss where real and generated pictures are alike."""
    floor: float | None = 0.0
    """Least that D's loss can be; None where it has none."""
    threshold: float | None = 0.0
    """Logit above which D says "real"; None where only the difference of two logits has a meaning."""
    relative: bool = False
    """Whether the generator's loss asks for the logits of real pictures too."""


def bce(config: TrainConfig) -> GanLoss:
    """Binary cross-entropy with smoothed labels; G wishes its pictures to be called real.

    Source: Goodfellow et al., "Generative Adversarial Nets" (2014); smoothing from Salimans et al.,
    "Improved Techniques for Training GANs" (2016), section 3.4. With labels 0.9/0.1 ``loss_d``
    cannot fall below 0.650, the entropy of the labels; at equilibrium it is ln 4 = 1.386.
    """
    high, low = config.real_label, config.fake_label

    def cross_entropy(logits: Tensor, label: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    return GanLoss(
        discriminator=lambda real, fake: cross_entropy(real, high) + cross_entropy(fake, low),
        generator=lambda _, fake: cross_entropy(fake, high),
        equilibrium=2 * _entropy((high + low) / 2),
        floor=_entropy(high) + _entropy(low),
    )


def hinge(_: TrainConfig) -> GanLoss:
    """Hinge loss: D stops caring beyond a margin of 1, so its lead over G is bounded.

    Source: Lim and Ye, "Geometric GAN" (2017); Miyato et al. (2018).
    """
    return GanLoss(
        discriminator=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        generator=lambda _, fake: -fake.mean(),
        equilibrium=2.0,
    )


def nonsaturating(_: TrainConfig) -> GanLoss:
    """Cross-entropy without smoothing: G's gradient is largest where D is sure that it sees a fake.

    Source: Goodfellow et al. (2014), section 3; written as in StyleGAN2.
    """
    return GanLoss(
        discriminator=lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        generator=lambda _, fake: F.softplus(-fake).mean(),
        equilibrium=math.log(4),
    )


def lsgan(_: TrainConfig) -> GanLoss:
    """Least squares to labels 1 and 0: the farther a picture is from D's 1, the stronger G's gradient.

    Source: Mao et al., "Least Squares Generative Adversarial Networks" (2017), equation 9.
    """
    return GanLoss(
        discriminator=lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        generator=lambda _, fake: (fake - 1).square().mean() / 2,
        equilibrium=0.25,
        threshold=0.5,
    )


def wgan_gp(_: TrainConfig) -> GanLoss:
    """The Wasserstein distance as D's lead; ``training.regularisers`` keeps D's slope at 1.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs" (2017).
    """
    return GanLoss(
        discriminator=lambda real, fake: fake.mean() - real.mean(),
        generator=lambda _, fake: -fake.mean(),
        equilibrium=0.0,
        floor=None,
        threshold=None,
    )


def relativistic(_: TrainConfig) -> GanLoss:
    """D compares a real picture with a generated one, pair by pair, and G wishes to win the comparison.

    Source: Jolicoeur-Martineau, "The relativistic discriminator" (2018), section 4.1; Huang et al., "The GAN
    is dead; long live the GAN!" (2024).
    """
    return GanLoss(
        discriminator=lambda real, fake: F.softplus(fake - real).mean(),
        generator=lambda real, fake: F.softplus(real - fake).mean(),
        equilibrium=math.log(2),
        threshold=None,
        relative=True,
    )


def relativistic_average(_: TrainConfig) -> GanLoss:
    """D compares each picture with the mean of the other kind.

    Source: Jolicoeur-Martineau (2018), section 4.2.
    """

    def lead(ahead: Tensor, behind: Tensor) -> Tensor:
        above, below = ahead - behind.mean(), behind - ahead.mean()
        return F.softplus(-above).mean() + F.softplus(below).mean()

    return GanLoss(
        discriminator=lead,
        generator=lambda real, fake: lead(fake, real),
        equilibrium=math.log(4),
        threshold=None,
        relative=True,
    )


def _entropy(p: float) -> float:
    """Returns the entropy of a coin, in nats."""
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


LOSSES: dict[str, Callable[[TrainConfig], GanLoss]] = {
    "bce": bce,
    "hinge": hinge,
    "nonsaturating": nonsaturating,
    "lsgan": lsgan,
    "wgan-gp": wgan_gp,
    "relativistic": relativistic,
    "relativistic-average": relativistic_average,
}


def make_loss(config: TrainConfig) -> GanLoss:
    """Returns the loss that the settings name.

    Raises:
        ConfigError: If there is no loss of that name.
    """
    if config.loss not in LOSSES:
        raise ConfigError(f"loss must be one of {', '.join(LOSSES)}, got {config.loss!r}")
    return LOSSES[config.loss](config)
