"""CPU training with and without ``training.convolutions``: ``python -m bench.small_maps [PRESET]``.

Both forms take turns in one run; the ratio of their medians is what counts.
"""

import dataclasses
import statistics
import sys
import time
from unittest.mock import patch

import numpy as np
import torch

from training import loop
from training.config import PRESETS

STEPS = 3


def seconds_a_step(trainer: loop.Trainer) -> float:
    """Returns the time of one step."""
    started = time.perf_counter()
    trainer.train_step().as_floats()
    return time.perf_counter() - started


def main() -> None:
    """Prints the median seconds of a step of a preset (``light``) in both forms, and their ratio."""
    config = dataclasses.replace(
        PRESETS[sys.argv[1] if len(sys.argv) > 1 else "light"], ema_half_life_kimg=0.0
    )
    pixels = np.zeros((config.batch_size, 128, 128, 3), np.uint8)
    products = loop.Trainer(config, pixels, torch.device("cpu"))
    with patch.object(loop, "use_matrix_products", lambda _: None):
        plain = loop.Trainer(config, pixels, torch.device("cpu"))
    times: dict[str, list[float]] = {"plain": [], "products": []}
    for step in range(STEPS + 1):
        for name, trainer in (("plain", plain), ("products", products)):
            seconds = seconds_a_step(trainer)
            if step:  # the first one allocates
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:8}  {median:.3f} s a step, {config.batch_size / median:.1f} pictures/s")
    print(f"plain/products  {medians['plain'] / medians['products']:.2f}")


if __name__ == "__main__":
    main()
