"""The optimiser against its textbook form."""

import pytest
import torch
from torch import nn

from training.optimizers import make_adam, moments, restore_moments, set_rate


def a_net(memory: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 4), nn.BatchNorm2d(5), nn.Conv2d(5, 1, 1)).to(memory_format=memory)


def give_gradients(net: nn.Module, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for weight in net.parameters():
        weight.grad = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=random))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_steps_are_adams_in_either_memory_order(memory: torch.memory_format) -> None:
    ours, textbook = a_net(memory), a_net(torch.contiguous_format).double()
    fused = make_adam(ours, 0.5, (0.5, 0.9))
    plain = torch.optim.Adam(textbook.parameters(), 0.01, (0.5, 0.9), foreach=False)
    for seed in range(4):
        if seed == 2:  # as a resumed run
            saved = {key: value.clone() for key, value in moments(fused).items()}
            fused = make_adam(ours, 0.5, (0.5, 0.9))
            restore_moments(fused, saved)
        set_rate(fused, 0.01)
        for net, optimizer in ((ours, fused), (textbook, plain)):
            give_gradients(net, seed)
            optimizer.step()
    for found, wanted in zip(ours.parameters(), textbook.parameters(), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
        assert found.stride() == found.grad.stride()
