"""Pictures to bytes: PNG, sheets, strips, animations and zips. The same pixels give the same bytes."""

import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PNG_LEVEL = 1
"""zlib level of PNGs: on the shipped model's pictures level 1 takes half the time of Pillow's default,
for a ninth more bytes."""

FRAME_MS = 80
"""Time that an animation shows each frame, in milliseconds."""

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every file in a zip: a real one would change the bytes from call to call."""


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def sheet(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lays pictures out in rows, as near to a square as their number allows.

    Args:
        images: (N, H, W, C) uint8.

    Returns:
        (rows·H, columns·W, C) uint8, in reading order; cells left over are white.
    """
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    cells = np.full((rows * columns, *images.shape[1:]), 255, np.uint8)
    cells[: len(images)] = images
    return np.concatenate([strip(row) for row in cells.reshape(rows, columns, *images.shape[1:])])


def strip(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lays pictures side by side: (N, H, W, C) uint8 → (H, N·W, C) uint8."""
    return np.concatenate(list(images), axis=1)


def animation(images: NDArray[np.uint8], kind: str) -> bytes:
    """Encodes frames, (N, H, W, C) uint8, as an endless lossless animation; kind ``PNG`` or ``WEBP``."""
    first, *rest = [_image(frame) for frame in images]
    buffer = io.BytesIO()
    options = {"compress_level": PNG_LEVEL} if kind == "PNG" else {"lossless": True, "method": 0}
    first.save(buffer, kind, save_all=True, append_images=rest, duration=FRAME_MS, loop=0, **options)
    return buffer.getvalue()


def archive(files: Mapping[str, bytes]) -> bytes:
    """Packs files by name into a zip; they are stored, since PNG is compressed already."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    return buffer.getvalue()
