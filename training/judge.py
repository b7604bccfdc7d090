"""Quality in the run: what ``training.evaluate`` measures, of fewer pictures and on the run's own device."""

import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.dcgan import Generator
from training.feature_cache import kept_features
from training.features import FeatureExtractor
from training.grower import grow_with
from training.intervals import Figure
from training.measure import Reference, measure, measure_with_intervals
from training.quality import RealFeatures

REAL_PER_SAMPLE = 5
"""Real pictures that are compared with, at most, for each generated one."""


class Judge:
    """Measures generators against the pictures of a run.

    Nothing here touches the state of the run or its random streams.

    Args:
        pixels: (N, H, W, 3) uint8, the training pictures.
        samples: Pictures to generate for a measurement.
        device: Where to compute.
        cache: Folder where features of the real pictures are kept.
    """

    def __init__(self, pixels: NDArray[np.uint8], samples: int, device: torch.device, cache: Path) -> None:
        count = min(len(pixels), REAL_PER_SAMPLE * samples)
        self.pixels = pixels[np.arange(count) * len(pixels) // count]
        self.samples = samples
        self.seconds = 0.0
        self.device = device
        self._cache = cache

    @cached_property
    def reference(self) -> Reference:
        """What generated pictures are compared with; made when it is first wanted."""
        extractor = FeatureExtractor().to(self.device)
        real = RealFeatures(kept_features(self.pixels, extractor, self.device, self._cache))
        return Reference(extractor=extractor, device=self.device, real=real)

    @property
    def has_reference(self) -> bool:
        """Whether that is made already; on a CPU it takes minutes."""
        return "reference" in self.__dict__

    def measure(self, generator: Generator) -> dict[str, float]:
        """Returns figures by their full names, of a generator in evaluation mode on the device.

        ``seconds`` then says how long it took.
        """
        reference = self.reference
        started = time.perf_counter()
        figures = measure(grow_with(generator), reference, self.samples)
        self.seconds = time.perf_counter() - started
        return figures

    def measure_with_intervals(self, generator: Generator) -> dict[str, Figure]:
        """Returns what ``measure`` does with 95 % intervals."""
        return measure_with_intervals(grow_with(generator), self.reference, self.samples)
