"""Differentiable augmentation of what the discriminator sees, real and generated alike.

Source: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020).
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def translate(img: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Shifts each picture by its own random distance, filling with the grey of 0.

    Args:
        img: (N, C, H, W) float in [-1, 1].
        share: Largest shift, as a share of the side; 0 returns ``img`` itself.
        generator: Source of the shifts, on the device of ``img``.

    Returns:
        (N, C, H, W) float; gradients flow through.
    """
    reach = round(share * img.shape[-1])
    if reach == 0:
        return img
    n, _, height, width = img.shape
    dy, dx = torch.randint(0, 2 * reach + 1, (2, n, 1, 1), generator=generator, device=img.device)
    rows = dy + torch.arange(height, device=img.device).view(1, -1, 1)
    columns = dx + torch.arange(width, device=img.device).view(1, 1, -1)
    which = torch.arange(n, device=img.device).view(-1, 1, 1)
    padded = F.pad(img, (reach,) * 4).permute(0, 2, 3, 1)
    return padded[which, rows, columns].permute(0, 3, 1, 2)
