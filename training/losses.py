"""The adversarial losses, by name: what D and G each minimise, given D's logits."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.config import ConfigError, TrainConfig


@dataclass(frozen=True, slots=True)
class GanLoss:
    """A pair of losses; every argument is (N, 1) logits, every result a scalar."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    """(real, fake) → loss_d."""
    generator: Callable[[Tensor], Tensor]
    """(fake) → loss_g."""


def bce(config: TrainConfig) -> GanLoss:
    """Binary cross-entropy with smoothed labels; G wishes its pictures to be called real.

    Source: Goodfellow et al., "Generative Adversarial Nets" (2014); smoothing from Salimans et al.,
    "Improved Techniques for Training GANs" (2016), section 3.4. With labels 0.9/0.1 ``loss_d``
    cannot fall below 0.650, the entropy of the labels; at equilibrium it is ln 4 = 1.386.
    """

    def cross_entropy(logits: Tensor, label: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    return GanLoss(
        lambda real, fake: cross_entropy(real, config.real_label) + cross_entropy(fake, config.fake_label),
        lambda fake: cross_entropy(fake, config.real_label),
    )


def hinge(_: TrainConfig) -> GanLoss:
    """Hinge loss: D stops caring beyond a margin of 1, so its lead over G is bounded.

    Source: Lim and Ye, "Geometric GAN" (2017); Miyato et al. (2018).
    """
    return GanLoss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda fake: -fake.mean(),
    )


LOSSES: dict[str, Callable[[TrainConfig], GanLoss]] = {"bce": bce, "hinge": hinge}


def make_loss(config: TrainConfig) -> GanLoss:
    """Returns the loss that the settings name.

    Raises:
        ConfigError: If there is no loss of that name.
    """
    if config.loss not in LOSSES:
        raise ConfigError(f"loss must be one of {', '.join(LOSSES)}, got {config.loss!r}")
    return LOSSES[config.loss](config)
