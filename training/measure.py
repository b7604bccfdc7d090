"""Measures whatever grows pictures from seeds, against the features of real ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.features import Extractor
from training.intervals import Figure, with_intervals
from training.quality import RealFeatures, compare

BATCH = 50
"""Pictures that a network sees at a time."""

Grow = Callable[[Sequence[int]], Tensor]
"""Grows pictures: N seeds → (N, 3, H, W) uint8, on any device."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """What generated pictures are compared with, and by which network."""

    extractor: Extractor
    """Judges generated pictures as it judged the real ones."""
    device: torch.device
    """Where the extractor and the features are."""
    real: RealFeatures
    """Features of the real pictures."""

    def metric(self, figure: str, samples: int) -> str:
        """Returns a figure's full name, with all that it must share with one that it is compared with."""
        return f"{figure}_{self.extractor.name}_{samples}_of_{len(self.real.features)}"


def measure(grow: Grow, reference: Reference, samples: int) -> dict[str, float]:
    """Measures the pictures of the seeds 0…samples-1.

    Args:
        grow: What to measure; of a generator, ``training.grower.grow_with``.
        reference: What to compare with; made once, it keeps what is computed of the real pictures.
        samples: Number of pictures, above ``training.quality.NEIGHBOURS``.

    Returns:
        Figures by metric name, as ``fd_efficientnet_lite0_2000_of_10000``.
    """
    figures = compare(_grown_features(grow, reference, samples, progress=False), reference.real)
    return {reference.metric(name, samples): value for name, value in figures.items()}


def measure_with_intervals(grow: Grow, reference: Reference, samples: int) -> dict[str, Figure]:
    """Returns what ``measure`` does with 95 % intervals, at ten times the arithmetic on features.

    Raises:
        SeedlingError: If there are too few samples for an interval.
    """
    generated = _grown_features(grow, reference, samples, progress=True)
    figures = with_intervals(lambda features: compare(features, reference.real), generated)
    return {reference.metric(name, samples): figure for name, figure in figures.items()}


@torch.no_grad()
def extract(batches: Iterable[Tensor], extractor: Extractor, device: torch.device) -> Tensor:
    """Returns the features of pictures: batches of (n, 3, H, W) uint8 → (N, D) float32 on the device."""
    return torch.cat([extractor(batch.to(device)).float() for batch in batches])


def picture_batches(pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Yields (N, H, W, 3) uint8 pixels as batches of (n, 3, H, W) uint8."""
    for first in tqdm(range(0, len(pixels), BATCH), "real", disable=None):
        yield torch.from_numpy(pixels[first : first + BATCH]).permute(0, 3, 1, 2)


def _grown_features(grow: Grow, reference: Reference, samples: int, *, progress: bool) -> Tensor:
    firsts = tqdm(range(0, samples, BATCH), "generated", disable=None if progress else True)
    batches = (grow(range(first, min(first + BATCH, samples))) for first in firsts)
    return extract(batches, reference.extractor, reference.device)
