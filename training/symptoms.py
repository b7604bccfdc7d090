"""What one picture shows, and how like each other many are: what ``training.doctor`` judges by."""

import dataclasses
import hashlib
import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

FLAT = 4.0
"""Standard deviation, in levels of 255, below which there is nothing to see in a picture."""

GREY_LEVELS = 8
"""Most that red, green and blue differ in 99 % of the pixels of a grey picture."""

GRID, NEAR = 12, 0.96
"""Side of the thumbnails that are compared, and the correlation above which two are near-duplicates."""

_BLOCK = 512  # rows of the product of all thumbnails with all: 100 MB for 50,000 pictures

Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What the trainer will see of one picture, and what its file says."""

    digest: bytes
    """SHA-256 of the pixels."""
    thumbnail: Pixels
    """(GRID, GRID, 3) uint8, RGB."""
    blank: bool
    """Whether it is one colour, or nearly."""
    grey: bool
    """Whether it has no colour."""
    sides: tuple[int, int] | None = None
    """Shorter and longer side in the file, in pixels, where there is one."""
    transparent: bool = False
    """Whether the background shows anywhere."""


def look(pixels: Pixels) -> Look:
    """Looks at one picture as it was loaded: (H, W, 3) uint8, RGB."""
    thumbnail = Image.fromarray(pixels).resize((GRID, GRID), Image.Resampling.BOX)
    red, green, blue = planes = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Look(
        digest=hashlib.sha256(pixels.data).digest(),
        thumbnail=np.asarray(thumbnail),
        blank=max(float(plane.std()) for plane in planes) < FLAT,
        grey=bool(np.count_nonzero(spread > GREY_LEVELS) <= 0.01 * spread.size),
    )


def compare(thumbnails: Pixels) -> tuple[list[list[int]], float]:
    """Finds near-duplicates, and how much a set has in common.

    The measure is the correlation of two thumbnails after each channel's mean is taken off, so that
    brightness, contrast and tint count for little. All pairs are compared, by matrix products; why not by a
    hash of some bits is in docs/adr/0012.

    Args:
        thumbnails: (N, GRID, GRID, 3) uint8.

    Returns:
        The groups, as indices: each picture is like the first of its group. And the mean correlation of all
        pairs, in -1…1: 0 if they have nothing in common.
    """
    n = len(thumbnails)
    units = (thumbnails - thumbnails.mean((1, 2), np.float32, keepdims=True)).reshape(n, 3 * GRID**2)
    norms = np.linalg.norm(units, axis=1, keepdims=True)
    # What is flat has no layout; made zero, it is like nothing.
    units = np.where(norms < FLAT * math.sqrt(units.shape[1]), 0, units / np.maximum(norms, 1))
    first_of = np.full(n, -1)
    for start in tqdm(range(0, n, _BLOCK), "comparing", leave=False, delay=1, disable=None):
        near = units[start : start + _BLOCK] @ units[start:].T > NEAR
        for k in np.flatnonzero(near.sum(1) > 1):  # each is like itself
            others = start + np.flatnonzero(near[k])
            if first_of[start + k] < 0:
                first_of[others[(others > start + k) & (first_of[others] < 0)]] = start + k
    groups = defaultdict(list)
    for k in np.flatnonzero(first_of >= 0):
        groups[int(first_of[k])].append(int(k))
    # The sum over all pairs, without the pairs: the sum of all, squared, less each with itself.
    pairs = float((units.sum(0, np.float64) ** 2).sum() - (units**2).sum(dtype=np.float64))
    return [[first, *groups[first]] for first in sorted(groups)], pairs / max(n * (n - 1), 1)
