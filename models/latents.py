"""Where a picture is in latent space: at a seed, between seeds, beside one; a part of the contract.

Users import these names from ``models.contract``. As there, what gives a published picture its latent never
changes. Sums are rounded exactly (``math.fsum``) and angles come from the C library's scalar functions:
numpy's vector forms of both differ in the last bit from one processor to another.
"""

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Seeding a RandomState anew takes a tenth of the time that making one does. One for each thread.
_streams = threading.local()


# --- At a seed -----------------------------------------------------------------------------------


def latent(seed: int, z_dim: int = 100) -> NDArray[np.float32]:
    """Draws the latent of one seed, from a generator of its own.

    The stream is numpy's legacy ``RandomState``, the only one whose *distributions* numpy has
    frozen for ever (NEP 19); ``Generator.standard_normal`` may change between releases.

    Args:
        seed: 0…2^64-1, as ``resolve_seed`` gives it.
        z_dim: Length of the latent.

    Returns:
        (z_dim,) float32, standard normal.
    """
    words = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32)
    try:
        stream: np.random.RandomState = _streams.stream
    except AttributeError:  # the first latent of this thread
        stream = _streams.stream = np.random.RandomState(0)
    stream.seed(words)
    return stream.standard_normal(z_dim).astype(np.float32)


def latents(seeds: list[int], z_dim: int = 100) -> NDArray[np.float32]:
    """Stacks the latents of several seeds: (N, z_dim) float32; row k depends on seed k alone."""
    return np.stack([latent(seed, z_dim) for seed in seeds])


# --- Between seeds -------------------------------------------------------------------------------


def lerp(a: NDArray[np.float32], b: NDArray[np.float32], t: float) -> NDArray[np.float32]:
    """Walks the straight line from ``a`` to ``b``; t in [0, 1], both ends exact.

    In many dimensions its middle is nearer to the origin than any likely latent, so the pictures
    there are plainer than at the ends; ``slerp`` avoids that.
    """
    return ((1.0 - t) * a.astype(np.float64) + t * b.astype(np.float64)).astype(np.float32)


def slerp(a: NDArray[np.float32], b: NDArray[np.float32], t: float) -> NDArray[np.float32]:
    """Walks the great circle from ``a`` to ``b``; t in [0, 1], both ends exact.

    Source: White, "Sampling Generative Networks" (2016), section 2.1.
    """
    if t in (0.0, 1.0):
        return b.copy() if t else a.copy()
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = math.sqrt(math.fsum(x * x)) * math.sqrt(math.fsum(y * y))
    if norms == 0.0:
        return lerp(a, b, t)
    omega = math.acos(max(-1.0, min(1.0, math.fsum(x * y) / norms)))
    if math.sin(omega) < 1e-6:  # parallel or opposite: no one great circle joins them
        return lerp(a, b, t)
    weight_a = math.sin((1.0 - t) * omega) / math.sin(omega)
    weight_b = math.sin(t * omega) / math.sin(omega)
    return (weight_a * x + weight_b * y).astype(np.float32)


INTERPOLATIONS = {"slerp": slerp, "lerp": lerp}


def latent_path(
    a: NDArray[np.float32], b: NDArray[np.float32], steps: int, method: str = "slerp"
) -> NDArray[np.float32]:
    """Walks from one latent to another in equal steps.

    Args:
        a: (z_dim,) float32, the first frame.
        b: (z_dim,) float32, the last frame.
        steps: Number of frames, both ends included; at least 2.
        method: A name in ``INTERPOLATIONS``.

    Returns:
        (steps, z_dim) float32.
    """
    walk = INTERPOLATIONS[method]
    return np.stack([walk(a, b, k / (steps - 1)) for k in range(steps)])


EASINGS: dict[str, Callable[[Fraction], Fraction]] = {
    "linear": lambda t: t,
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: t * (2 - t),
    "ease-in-out": lambda t: t * t * (3 - 2 * t),
}
"""How far along a path one is after a share of the time: both in [0, 1], from 0 to 1, always forwards."""


def places_between(keys: int, steps: int, easing: str = "linear") -> list[tuple[int, float]]:
    """Shares the frames of a path out over its keys; every key has a frame that is the key itself.

    The frame nearest in time shows the key, and the frames between two keys go from one to the other: in
    equal steps if the easing is linear, else in those that the easing of the whole path has there.

    Args:
        keys: Number of keys, the ends included; at least 2.
        steps: Number of frames, at least as many as keys.
        easing: A name in ``EASINGS``.

    Returns:
        For each frame the key k that it comes from, 0…keys-2, and the share of the way to key k+1, in [0, 1].
    """
    at = [EASINGS[easing](Fraction(frame, steps - 1)) for frame in range(steps)]
    reached = [float(share) * (keys - 1) for share in at]
    shown = [0]
    for key in range(1, keys - 1):
        left = range(shown[-1] + 1, steps - (keys - 1 - key))  # each later key needs a frame too
        shown.append(min(left, key=lambda frame: abs(reached[frame] - key)))
    places = [
        (key, float((at[frame] - at[start]) / (at[end] - at[start])))
        for key, (start, end) in enumerate(pairwise([*shown, steps - 1]))
        for frame in range(start, end)
    ]
    return [*places, (keys - 2, 1.0)]


# --- Mixed and beside ----------------------------------------------------------------------------


def blend(z: NDArray[np.float32], weights: Sequence[float]) -> NDArray[np.float32]:
    """Mixes latents; of independent standard normal ones the mixture is standard normal again.

    Args:
        z: (N, z_dim) float32.
        weights: One for each latent, at least 0 and not all 0; only their proportions matter.

    Returns:
        (z_dim,) float32: the weighted sum over the square root of the sum of the squared weights.
    """
    largest = max(weights)
    shares = [weight / largest for weight in weights]
    total = np.zeros(z.shape[1], np.float64)
    for share, row in zip(shares, z, strict=True):
        total += share * row.astype(np.float64)
    return (total / math.sqrt(math.fsum(share * share for share in shares))).astype(np.float32)


def neighbour(z: NDArray[np.float32], radius: float, variant: int = 0) -> NDArray[np.float32]:
    """Steps from a latent in a direction that the latent and a number decide; it stays standard normal.

    The direction is the latent of the text seed ``variant {variant} of {digest}``, the digest being the first
    16 bytes, as hexadecimal, of the SHA-256 of ``z`` as little-endian float32.

    Args:
        z: (z_dim,) float32.
        radius: How far, in (0, 1]; at 1 nothing is left of ``z``.
        variant: Which neighbour, 0…2^64-1.

    Returns:
        (z_dim,) float32: sqrt(1-r²)·z + r·n.
    """
    digest = hashlib.sha256(z.astype("<f4").tobytes()).digest()[:16].hex()
    text = f"variant {variant} of {digest}"
    noise = latent(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"), len(z))
    kept = math.sqrt(1.0 - radius * radius)
    return (kept * z.astype(np.float64) + radius * noise.astype(np.float64)).astype(np.float32)


def truncate(z: NDArray[np.float32], truncation: float) -> NDArray[np.float32]:
    """Draws a latent, float32 of any shape, nearer to the mean picture: 1 leaves it, 0 is that picture."""
    return (truncation * z.astype(np.float64)).astype(np.float32)
