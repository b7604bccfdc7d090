"""From stored pictures to the batch of a step, on the device: at once if they lie there, else read ahead."""

import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.distributed import World
from training.packed import RowReader
from training.sampler import Sampler

AHEAD = 3
"""Batches that are read before they are asked for."""

LARGEST_SHARE = 0.5
"""Most of a GPU's free memory that pictures may take; the networks need the rest."""


class Feed(Protocol):
    """Gives the pictures of any step."""

    def batch(self, step: int) -> Tensor:
        """Returns this process's pictures of a step: (n, H, W, C) uint8 on the device."""


def make_feed(
    pixels: NDArray[np.uint8], batch_size: int, seed: int, device: torch.device, world: World
) -> Feed:
    """Returns a feed of pictures: from the device's own memory where they fit, else from where they are.

    Args:
        pixels: (N, H, W, C) uint8; an array in memory or one mapped from a file.
        batch_size: Pictures in a step, in all processes together.
        seed: Of the run; the order follows from it.
        device: Where batches are wanted.
        world: The processes that share a batch.
    """
    if device.type == "cuda" and pixels.nbytes > LARGEST_SHARE * torch.cuda.mem_get_info(device)[0]:
        return ReadAhead(pixels, batch_size, seed, device, world)
    if isinstance(pixels, np.memmap) and device.type != "cuda":
        return ReadAhead(pixels, batch_size, seed, device, world)
    return Resident(pixels, batch_size, seed, device, world)


class Resident:
    """Pictures that lie in the device's memory, whole."""

    def __init__(
        self, pixels: NDArray[np.uint8], batch_size: int, seed: int, device: torch.device, world: World
    ) -> None:
        with warnings.catch_warnings():
            # Nothing writes to a file that is mapped to be read only.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._pixels = torch.from_numpy(pixels).to(device)
        self._places = _places(batch_size, Sampler(len(pixels), seed, device), world)

    def batch(self, step: int) -> Tensor:
        """Returns this process's pictures of a step: (n, H, W, C) uint8 on the device."""
        return self._pixels.index_select(0, self._places(step))


class ReadAhead:
    """Pictures in the host's memory or in a file: a thread gathers the next batches meanwhile."""

    def __init__(
        self, pixels: NDArray[np.uint8], batch_size: int, seed: int, device: torch.device, world: World
    ) -> None:
        self._pixels = pixels
        self._reader = RowReader(pixels) if isinstance(pixels, np.memmap) else None
        self._device = device
        self._places = _places(batch_size, Sampler(len(pixels), seed, torch.device("cpu")), world)
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._coming: dict[int, Future[Tensor]] = {}

    def batch(self, step: int) -> Tensor:
        """Returns this process's pictures of a step: (n, H, W, C) uint8 on the device."""
        wanted = range(step, step + AHEAD + 1)
        self._coming = {
            k: self._coming.get(k) or self._thread.submit(self._gather, self._places(k)) for k in wanted
        }
        # Pinned memory is kept by torch until the copy has been made.
        return self._coming.pop(step).result().to(self._device, non_blocking=True)

    def _gather(self, picks: Tensor) -> Tensor:
        size = (len(picks), *self._pixels.shape[1:])
        rows = torch.empty(size, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        if self._reader is not None:
            self._reader.take(picks.numpy(), rows.numpy())
        else:
            np.take(self._pixels, picks.numpy(), axis=0, out=rows.numpy())
        return rows


def _places(batch_size: int, sampler: Sampler, world: World) -> Callable[[int], Tensor]:
    """Returns a function from a step to the pictures that are this process's: (n,) int64."""
    share = world.share_of(batch_size)
    return lambda step: sampler.picks(step * batch_size + share.start, share.stop - share.start)
