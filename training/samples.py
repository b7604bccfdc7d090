"""Sample sheets: pictures of fixed latents, the same seeds from the first sheet to the last."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from models.contract import latents


def fixed_latents(count: int, z_dim: int) -> Tensor:
    """Returns the latents of seeds 0…count-1: (count, z_dim) float32, as the service draws them."""
    return torch.from_numpy(latents(list(range(count)), z_dim))


def save_sheet(img: Tensor, file: Path) -> None:
    """Writes pictures as one PNG sheet, as near to a square as their number allows.

    Args:
        img: (N, C, H, W) float32 in [-1, 1].
        file: Where to; folders are made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = math.ceil(math.sqrt(len(img)))
    save_image(img, file, nrow=columns, padding=0, normalize=True, value_range=(-1, 1))
