"""The order in which pictures are shown: a function of the seed and the place in the run alone."""

import torch
from torch import Tensor

SEED_STRIDE = 1_000_003
"""From one run's seed to the next: steps and epochs count up from it."""


class Sampler:
    """Shows every picture once an epoch; each epoch has an order of its own.

    Args:
        count: Number of pictures.
        seed: Of the run.
        device: Where the picks are wanted; an epoch's order is moved there whole, a step moves nothing.
    """

    def __init__(self, count: int, seed: int, device: torch.device) -> None:
        self._count = count
        self._seed = seed
        self._device = device
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def picks(self, first: int, number: int) -> Tensor:
        """Returns which pictures come at the places first…first+number-1 of the run: (number,) int64."""
        parts = []
        while number:
            epoch, place = divmod(first, self._count)
            part = self._order_of(epoch)[place : place + number]
            parts.append(part)
            first, number = first + len(part), number - len(part)
        return torch.cat(parts)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self._seed * SEED_STRIDE + epoch)
            self._order = torch.randperm(self._count, generator=generator).to(self._device)
            self._epoch = epoch
        return self._order
