"""Sums of what steps measured, kept on the device until a window ends."""

import dataclasses
import math
from typing import Any

import torch

from training.step_stats import StepStats

_NAMES = [field.name for field in dataclasses.fields(StepStats)]


class Meter:
    """Adds up the scalars of steps without waiting for the device.

    Args:
        device: Where the scalars are.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, len(_NAMES), dtype=torch.float64, device=device)
        self._steps = 0

    def add(self, stats: StepStats) -> None:
        """Takes in a step."""
        values = torch.stack([getattr(stats, name) for name in _NAMES]).double()
        self._sums += torch.stack([values, values.square(), (values != 0).double()])
        self._steps += 1

    def means(self) -> dict[str, float]:
        """Returns the means by name, G's gradient over the steps in which it learned."""
        sums, _, counts = self._read()
        learned = max(counts["gradient_g"], 1.0)
        means = {name: total / max(self._steps, 1) for name, total in sums.items()}
        return means | {"gradient_g": sums["gradient_g"] / learned}

    def spread(self, name: str) -> float:
        """Returns the standard deviation of a scalar from step to step."""
        sums, squares, _ = self._read()
        mean = sums[name] / max(self._steps, 1)
        return math.sqrt(max(squares[name] / max(self._steps, 1) - mean**2, 0.0))

    @property
    def finite(self) -> bool:
        """Whether everything that was added up is a number."""
        return bool(self._sums.isfinite().all())

    def clear(self) -> None:
        """Begins a window."""
        self._sums.zero_()
        self._steps = 0

    def state(self) -> dict[str, Any]:
        """Returns the sums as JSON values."""
        return {"sums": self._sums.tolist(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverts ``state``; what another version measured is left out."""
        sums = torch.tensor(state["sums"], dtype=torch.float64)
        self.clear()
        if sums.shape == self._sums.shape:
            self._sums.copy_(sums)
            self._steps = state["steps"]

    def _read(self) -> list[dict[str, float]]:
        return [dict(zip(_NAMES, row, strict=True)) for row in self._sums.tolist()]
