"""Adam for each network: fused, with a rate that changes without a word to the device, saved exactly."""

import torch
from torch import Tensor, nn
from torch.optim import Adam


def make_adam(net: nn.Module, lr: float, betas: tuple[float, float]) -> Adam:
    """Returns an optimiser of all weights; on a GPU it can be part of a recorded step."""
    weights = list(net.parameters())
    if weights[0].device.type != "cuda":
        return Adam(weights, lr, betas, fused=True)
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
