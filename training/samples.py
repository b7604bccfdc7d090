"""Sample sheets: pictures of fixed latents, the same seeds from the first sheet to the last."""

from pathlib import Path

import torch
from torch import Tensor

from models.contract import latents, to_uint8
from training.sheet import sheet_of


def fixed_latents(count: int, z_dim: int) -> Tensor:
    """Returns the latents of seeds 0…count-1: (count, z_dim) float32, as the service draws them."""
    return torch.from_numpy(latents(list(range(count)), z_dim))


def save_sheet(img: Tensor, file: Path) -> None:
    """Writes pictures as one PNG sheet, as near to a square as their number allows.

    Args:
        img: (N, 3, H, W) float32 in [-1, 1].
        file: Where to; folders are made.
    """
    # Not torchvision's save_image, which loads for longer than most commands run.
    pixels = to_uint8(img.permute(0, 2, 3, 1).cpu().numpy())
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet_of(list(pixels)).save(file)
