"""Chooses on a CPU what the recipe leaves open of how a step is computed, by trying.

No rule holds from one processor to the next. The choice becomes part of the recipe, so that a resumed run
computes as it began. ``torch.compile`` is not tried: it takes longer than all else here.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import AUTO, LAYOUTS, TrainConfig
from training.execution import settled
from training.loop import Trainer

BATCH = 16
"""Most pictures in a step that is tried."""

STEPS = 3
"""Steps of which the shortest counts, after one that allocates."""

LONG = 300.0
"""Seconds that a run must take for a choice to be worth the time."""

AHEAD = 0.95
"""Share of the usual way's time that another must stay under: less may be chance."""

Way = tuple[str, str]
"""Arithmetic and layout."""


def choose_speed(
    config: TrainConfig,
    pixels: NDArray[np.uint8],
    device: torch.device,
    *,
    limit: float = math.inf,
) -> tuple[TrainConfig, str]:
    """Decides how steps are computed, where the recipe leaves it open.

    Args:
        config: The recipe.
        pixels: (N, H, W, C) uint8, pictures to try with.
        device: Where the run will compute.
        limit: Seconds that the run may take at most.

    Returns:
        The recipe, with nothing left open; and what was chosen in a sentence, empty where nothing was tried.
    """
    usual, *others = ways(config, device)
    if device.type != "cpu" or not others or limit < LONG:
        return settled(config, device), ""
    tried = np.array(pixels[: 4 * BATCH])
    seconds = {usual: _seconds_a_step(config, usual, tried, device)}
    whole = seconds[usual] * config.kimg * 1000 / min(BATCH, config.batch_size)
    if whole >= LONG:
        seconds |= {way: _seconds_a_step(config, way, tried, device) for way in others}
    best = fastest(seconds, usual)
    chosen = settled(_by(config, best), device)
    return chosen, _tell(seconds, best) if len(seconds) > 1 else ""


def ways(config: TrainConfig, device: torch.device) -> list[Way]:
    """Returns the ways that are open, the usual one of the device first."""
    usual = settled(config, device)
    arithmetics = [usual.arithmetic, *(["float32"] if config.arithmetic == AUTO else [])]
    layouts = [usual.layout, *(LAYOUTS if config.layout == AUTO else [])]
    return list(dict.fromkeys(itertools.product(arithmetics, layouts)))


def fastest(seconds: Mapping[Way, float], usual: Way) -> Way:
    """Returns the way of the shortest step, or the usual one where that is as good as equal."""
    best = min(seconds, key=lambda way: seconds[way])
    return best if seconds[best] < AHEAD * seconds[usual] else usual


def _by(config: TrainConfig, way: Way) -> TrainConfig:
    arithmetic, layout = way
    return dataclasses.replace(config, arithmetic=arithmetic, layout=layout)


def _seconds_a_step(config: TrainConfig, way: Way, pixels: NDArray[np.uint8], device: torch.device) -> float:
    size = min(BATCH, config.batch_size)
    trainer = Trainer(dataclasses.replace(_by(config, way), batch_size=size), pixels, device)
    trainer.train_step().as_floats()
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        trainer.train_step().as_floats()
        times.append(time.perf_counter() - began)
    return min(times)


def _tell(seconds: Mapping[Way, float], best: Way) -> str:
    shares = ", ".join(
        f"{' '.join(way)} {value / seconds[best]:.2f}" for way, value in seconds.items() if way != best
    )
    return f"computing in {best[0]}, {best[1]}: the fastest here (times of a step beside it: {shares})"
