"""Adam for each network: fused, with a rate that changes without a word to the device, saved exactly."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam


class InMemoryOrder(Adam):
    """Fused Adam that shows its kernel weights in the order in which they lie.

    On a CPU the kernel copies each weight whose channels lie last, which takes longer than the step.
    """

    def _init_group(self, group: dict[str, Any], *lists: Any) -> bool:  # noqa: ANN401 - lists of tensors
        is_complex: bool = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        last = [
            weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
            for weight in lists[0]
        ]
        *like_weights, _ = lists  # weights, gradients and moments; the numbers of steps are scalars
        for tensors in like_weights:
            tensors[:] = [x.permute(0, 2, 3, 1) if k else x for x, k in zip(tensors, last, strict=False)]
        return is_complex


def make_adam(net: nn.Module, lr: float, betas: tuple[float, float]) -> Adam:
    """Returns an optimiser of all weights; on a GPU it can be part of a recorded step."""
    weights = list(net.parameters())
    if weights[0].device.type != "cuda":
        return InMemoryOrder(weights, lr, betas, fused=True)
    # A number would be recorded as it was; a tensor is read at every replay.
    return Adam(weights, torch.tensor(lr, device=weights[0].device), betas, fused=True, capturable=True)


def set_rate(optimizer: Adam, lr: float) -> None:
    """Changes the learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def rate(optimizer: Adam) -> float:
    """Returns the learning rate; waits for a GPU."""
    return float(optimizer.param_groups[0]["lr"])


def moments(optimizer: Adam) -> dict[str, Tensor]:
    """Returns what Adam remembers, as ``<index of the weight>.<name>``."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_moments(optimizer: Adam, saved: dict[str, Tensor]) -> None:
    """Inverts ``moments``."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, name = key.split(".")
        like = weights[int(index)]
        if value.shape == like.shape:
            # The fused kernel walks weights and moments in memory order, so both need the same one.
            value = torch.empty_like(like).copy_(value)  # noqa: PLW2901
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
