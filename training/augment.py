"""Differentiable augmentation of what the discriminator sees, real and generated alike.

Source: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020); that each picture
is changed with a probability only: Karras et al., "Training GANs with Limited Data" (2020), ADA.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from training.config import TrainConfig
from training.draws import Draws


class Augment(nn.Module):
    """The augmentation of a recipe, and the share of pictures that it changes, which may be adapted.

    Args:
        config: The recipe.
    """

    p: Tensor
    """Share of the pictures that are changed: a scalar in [0, 1]."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(config.augment_p))
        self._config = config
        self._always = config.augment_p == 1 and not config.ada_target

    def forward(self, img: Tensor, draws: Draws) -> Tensor:
        """Returns the pictures as D is to see them: (N, C, H, W) in [-1, 1] → the same.

        Args:
            img: The pictures; gradients flow through.
            draws: Source of the changes, on the device of ``img``.
        """
        settings = self._config
        if not (settings.translate or settings.colour or settings.cutout):
            return img
        changed = cutout(img, settings.cutout, draws)
        changed = translate(recolour(changed, settings.colour, draws), settings.translate, draws)
        if self._always:
            return changed
        chosen = draws.uniform(len(img), 1, 1, 1) < self.p
        return torch.where(chosen, changed, img)


def translate(img: Tensor, share: float, draws: Draws) -> Tensor:
    """Shifts each picture by its own random distance, filling with the grey of 0.

    Args:
        img: (N, C, H, W) float in [-1, 1].
        share: Largest shift, as a share of the side; 0 returns ``img`` itself.
        draws: Source of the shifts, on the device of ``img``.

    Returns:
        (N, C, H, W) float; gradients flow through.
    """
    reach = round(share * img.shape[-1])
    if reach == 0:
        return img
    dy, dx = (draws.integers(2 * reach + 1, len(img), 1, 1) for _ in range(2))
    shifted: Tensor = _Shift.apply(img, dy, dx, reach)
    return shifted


class _Shift(torch.autograd.Function):
    """Moves each picture by its own 0…2·reach rows and columns, of which ``reach`` are none.

    Written by hand because torch's derivative of an index sorts all pixels to add up those of one place, of
    which there are no two here. It is the move back.
    """

    @staticmethod
    def forward(context: Any, img: Tensor, dy: Tensor, dx: Tensor, reach: int) -> Tensor:  # noqa: ANN401
        context.save_for_backward(dy, dx)
        context.reach = reach
        n, _, height, width = img.shape
        rows = dy + torch.arange(height, device=img.device).view(1, -1, 1)
        columns = dx + torch.arange(width, device=img.device).view(1, 1, -1)
        which = torch.arange(n, device=img.device).view(-1, 1, 1)
        padded = F.pad(img, (reach,) * 4).permute(0, 2, 3, 1)
        return padded[which, rows, columns].permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        dy, dx = context.saved_tensors
        reach = context.reach
        return _Shift.apply(grad, 2 * reach - dy, 2 * reach - dx, reach), None, None, None


def recolour(img: Tensor, strength: float, draws: Draws) -> Tensor:
    """Changes brightness, saturation and contrast of each picture by its own random amounts.

    Args:
        img: (N, C, H, W) float in [-1, 1].
        strength: Largest change: of brightness in units of the range's half, of the other two as a factor's
            distance from 1; 0 returns ``img`` itself.
        draws: Source of the amounts, on the device of ``img``.

    Returns:
        (N, C, H, W) float, which may leave [-1, 1] by the change; gradients flow through.
    """
    if strength == 0:
        return img
    brightness, saturation, contrast = (
        strength * (2 * draws.uniform(len(img), 1, 1, 1) - 1) for _ in range(3)
    )
    img = img + brightness
    img = torch.lerp(img.mean(1, keepdim=True), img, 1 + saturation)
    return torch.lerp(img.mean((1, 2, 3), keepdim=True), img, 1 + contrast)


def cutout(img: Tensor, share: float, draws: Draws) -> Tensor:
    """Lays a square of the grey of 0 over each picture, at its own random place; it may reach over the edge.

    Args:
        img: (N, C, H, W) float in [-1, 1].
        share: Side of the square, as a share of the picture's; 0 returns ``img`` itself.
        draws: Source of the places, on the device of ``img``.

    Returns:
        (N, C, H, W) float; gradients flow through what is left.
    """
    side = round(share * img.shape[-1])
    if side == 0:
        return img
    n, _, height, width = img.shape
    top, left = ((draws.uniform(n, 1, 1) * extent).floor() - side // 2 for extent in (height, width))
    rows = torch.arange(height, device=img.device).view(1, -1, 1)
    columns = torch.arange(width, device=img.device).view(1, 1, -1)
    covered = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return img.masked_fill(covered[:, None], 0.0)


def suited_to(config: TrainConfig, pictures: int) -> TrainConfig:
    """Returns the recipe with an augmentation as strong as so many pictures ask for.

    DiffAugment helped below some 30,000 pictures and hurt at 70,000; the fewer they are, the sooner D knows
    them by heart.
    """
    if pictures > MANY:
        return dataclasses.replace(config, translate=0.0, colour=0.0, cutout=0.0)
    return dataclasses.replace(config, translate=0.125, colour=0.2 if pictures < FEW else 0.0, cutout=0.0)


FEW = 1_000
"""Below so many pictures a shift alone does not keep D from learning them by heart."""

MANY = 50_000
"""Above so many pictures augmentation costs more than it gives."""
