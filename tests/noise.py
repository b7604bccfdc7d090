"""Folders of pictures to learn from, of which none is like another."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def save_pictures(pictures: Iterable[np.ndarray], folder: Path) -> Path:
    """Writes (H, W, 3) uint8 pictures as PNG, ``00.png`` and so on; returns the folder, which is made."""
    folder.mkdir(exist_ok=True)
    for k, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{k:02d}.png")
    return folder


def save_noise(count: int, folder: Path, side: int = 16) -> Path:
    """Writes so many pictures of noise, the same ones each time."""
    return save_pictures(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8), folder)
