"""The random numbers of a step: one stream for the whole batch, of which each process takes its rows."""

import torch
from torch import Tensor

from training.distributed import World


class Draws:
    """Draws for every row of a batch, in all processes alike, and returns those of this one.

    So a run of several processes sees what one process with the whole batch would see.

    Args:
        device: Where the numbers are wanted.
        world: The processes that share a batch.
    """

    def __init__(self, device: torch.device, world: World | None = None) -> None:
        self._world = world or World()
        self.generator = torch.Generator(device)

    def begin(self, seed: int) -> None:
        """Starts the stream of a step."""
        self.generator.manual_seed(seed)

    def renew(self) -> None:
        """Replaces the generator by a fresh one that begins the same stream."""
        self.generator = torch.Generator(self.generator.device).manual_seed(self.generator.initial_seed())

    def normal(self, n: int, *shape: int) -> Tensor:
        """Returns standard normal numbers: (n, *shape) float32, n being this process's rows."""
        whole = torch.randn(self._rows(n), *shape, generator=self.generator, device=self.generator.device)
        return whole[self._mine(n)]

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Returns numbers in [0, 1): (n, *shape) float32, n being this process's rows."""
        whole = torch.rand(self._rows(n), *shape, generator=self.generator, device=self.generator.device)
        return whole[self._mine(n)]

    def integers(self, below: int, n: int, *shape: int) -> Tensor:
        """Returns integers in 0…below-1: (n, *shape) int64, n being this process's rows."""
        size = (self._rows(n), *shape)
        whole = torch.randint(below, size, generator=self.generator, device=self.generator.device)
        return whole[self._mine(n)]

    def _rows(self, n: int) -> int:
        return n * self._world.size

    def _mine(self, n: int) -> slice:
        return self._world.share_of(self._rows(n))
