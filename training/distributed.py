"""Several processes as one: each takes its share of every batch, and all take the same step.

``torchrun`` starts them, tells them of each other and ends them together; torch's collectives do the rest.
A process that was not started so is alone, and nothing here does anything.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from training.config import ConfigError

T = TypeVar("T")

JOINING = timedelta(minutes=2)
"""How long they may take to find each other, once all have started."""

PATIENCE = timedelta(hours=1)
"""How long the others wait for one: drawing or fetching the data takes the first of a machine that long."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run, seen from one of them."""

    rank: int = 0
    """Which one this is, from 0."""
    size: int = 1
    """How many there are."""
    restarts: int = 0
    """How often ``torchrun`` has started all of them anew, after one was lost."""
    most_restarts: int = 0
    """How often it will."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share_of(self, batch_size: int) -> slice:
        """Returns which rows of a batch are this process's.

        Raises:
            ConfigError: If the batch cannot be shared evenly.
        """
        if batch_size % self.size:
            raise ConfigError(f"batch_size must be a multiple of the {self.size} processes, got {batch_size}")
        count = batch_size // self.size
        return slice(self.rank * count, (self.rank + 1) * count)

    def mean(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by their means over all processes, in one message."""
        if self.size == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat.div_(self.size), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns for each flag whether any process says yes, the same in all of them."""
        if self.size == 1:
            return flags
        said = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return tuple(map(bool, said))

    def from_leader(self, value: T) -> T:
        """Returns what the leader has given, in all processes."""
        said = [value]
        if self.size > 1:
            dist.broadcast_object_list(said, 0, device=torch.device("cpu"))
        return said[0]

    def copy_from_leader(self, net: nn.Module) -> None:
        """Gives a network the leader's weights: machines of different kinds draw different ones."""
        if self.size > 1:
            for tensor in net.state_dict().values():
                sent = tensor.contiguous()
                dist.broadcast(sent, 0)
                tensor.copy_(sent)

    def share_statistics(self, net: nn.Module, device: torch.device) -> nn.Module:
        """Makes a network's BatchNorm layers see the whole batch; names and weights stay."""
        if self.size == 1:
            return net
        if device.type == "cuda":  # all that torch's own form of it runs on
            converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
            return converted
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                shared = partial(_shared_batch_norm, layer, layer.forward, self.size)
                layer.forward = shared  # type: ignore[method-assign]
        return net

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """Lets one process of each machine do what fills a cache, and the others find it there."""
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        if not first:
            self._meet()
        yield
        if first:
            self._meet()

    def _meet(self) -> None:
        self.any(True)  # noqa: FBT003 - what is said does not matter, that all say it does


@contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Joins the processes that ``torchrun`` started, until the block ends; alone without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield World()
        return
    # Its defaults keep the group that there is at its first import, which torch's optimisers bring about. The
    # threads of a group that outlives its end may abort the process when Python ends.
    importlib.import_module("torch.distributed.nn")
    backend = "gloo"
    if device.type == "cuda":
        _take_a_gpu()
        backend = "cpu:gloo,cuda:nccl"  # gloo for what is said of stopping, so that no GPU is waited for
    restarts, most_restarts = (
        int(os.environ[f"TORCHELASTIC_{name}"]) for name in ("RESTART_COUNT", "MAX_RESTARTS")
    )
    store, rank, size = next(dist.rendezvous("env://", timeout=JOINING))  # type: ignore[attr-defined]
    # The agent's store outlives a restart, and with it the addresses of processes that are no more.
    own = dist.PrefixStore(f"restart-{restarts}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=JOINING)
    _set_timeout(PATIENCE)
    try:
        yield World(rank, size, restarts, most_restarts)
    finally:
        dist.destroy_process_group()


def _set_timeout(timeout: timedelta) -> None:
    # Its public name is newer than the oldest torch that we take, and the older one warns since.
    named = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout  # noqa: SLF001
    named(timeout)


def _take_a_gpu() -> None:
    rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if rank >= count:
        raise ConfigError(f"this machine has {count} GPUs: --nproc-per-node must be at most that")
    torch.cuda.set_device(rank)


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - torch's context has no type
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(_: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        total: Tensor = _Sum.apply(grad)
        return total


def _shared_batch_norm(
    layer: nn.BatchNorm2d, alone: Callable[[Tensor], Tensor], size: int, x: Tensor
) -> Tensor:
    """Normalises (N, C, H, W) by the statistics of all processes' pictures, of equal number in each."""
    if not layer.training:
        return alone(x)
    values = x.float()
    mean = _mean(values, size)
    values = values - mean
    variance = _mean(values.square(), size)
    _track(layer, mean.detach().flatten(), variance.detach().flatten(), x[:, 0].numel() * size)
    scale = layer.weight.view(1, -1, 1, 1) * torch.rsqrt(variance + layer.eps)
    return (values * scale + layer.bias.view(1, -1, 1, 1)).to(x.dtype)


def _track(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Moves the running statistics as torch does: by the momentum, towards the unbiased variance."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    assert layer.momentum is not None
    layer.running_mean.lerp_(mean, layer.momentum)
    layer.running_var.lerp_(variance * count / (count - 1), layer.momentum)
    layer.num_batches_tracked.add_(1)


def _mean(x: Tensor, size: int) -> Tensor:
    """Returns the mean of each channel over all processes: (1, C, 1, 1)."""
    total: Tensor = _Sum.apply(x.mean((0, 2, 3), keepdim=True))
    return total / size
