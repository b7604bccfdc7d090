"""Real pictures that a generator has not seen, to tell whether it learned others by heart."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from models.contract import SeedlingError
from training.avatars import render_avatar
from training.data import MIN_PICTURES


def fresh_avatars(first: int, count: int, resolution: int) -> NDArray[np.uint8]:
    """Draws the avatars of seeds first…first+count-1: (count, resolution, resolution, 3) uint8."""
    return np.stack([np.asarray(render_avatar(seed, resolution)) for seed in range(first, first + count)])


def unseen(held_out: NDArray[np.uint8], seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the held-out pictures that are not, pixel for pixel, among those that were learned.

    Args:
        held_out: (N, H, W, 3) uint8.
        seen: The like.

    Raises:
        SeedlingError: If fewer than ``MIN_PICTURES`` are left.
    """
    known = {hashlib.sha256(picture).digest() for picture in seen}
    new = np.array([hashlib.sha256(picture).digest() not in known for picture in held_out])
    if new.sum() < MIN_PICTURES:
        raise SeedlingError(
            f"{new.sum()} of the {len(held_out)} held-out pictures are not among those compared with; "
            f"need at least {MIN_PICTURES} that the model has not seen"
        )
    left: NDArray[np.uint8] = held_out[new]
    return left
