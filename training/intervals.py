"""How surely a figure is known: its 95 % interval, by the jackknife over groups of pictures."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from models.contract import SeedlingError

GROUPS = 10
"""Groups of generated pictures of which the jackknife leaves out one at a time."""

T_95 = 2.262
"""Student's t for 95 % on both sides and ``GROUPS - 1`` degrees of freedom."""


class Figure(NamedTuple):
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float


def with_intervals(figures: Callable[[Tensor], Mapping[str, float]], generated: Tensor) -> dict[str, Figure]:
    """Returns figures with 95 % intervals of what they are on average over draws of that many pictures.

    By the jackknife over groups: the bootstrap draws some pictures twice, and that alone moves a Fréchet
    distance or a nearest neighbour.

    Args:
        figures: Features → figures by name.
        generated: (N, D), independent of each other; N at least 2 · ``GROUPS``.

    Raises:
        SeedlingError: If there are too few pictures.

    Source: Kott, "The Delete-a-Group Jackknife", Journal of Official Statistics 17 (2001).
    """
    if len(generated) < 2 * GROUPS:
        raise SeedlingError(f"an interval needs at least {2 * GROUPS} pictures, got {len(generated)}")
    group = torch.arange(len(generated), device=generated.device) % GROUPS
    without = [figures(generated[group != left_out]) for left_out in range(GROUPS)]
    return {
        name: _interval(value, [figure[name] for figure in without])
        for name, value in figures(generated).items()
    }


def _interval(value: float, without: list[float]) -> Figure:
    error = math.sqrt((GROUPS - 1) * statistics.pvariance(without))
    return Figure(value, value - T_95 * error, value + T_95 * error)
