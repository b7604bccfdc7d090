"""Sample sheets: pictures of fixed latents, the same seeds from the first sheet to the last."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from models.contract import latents, to_uint8


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
    count, height, width, _ = pixels.shape
    columns = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height))
    for k, picture in enumerate(pixels):
        sheet.paste(Image.fromarray(picture), (k % columns * width, k // columns * height))
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file)
