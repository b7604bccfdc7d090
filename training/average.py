"""The averaged generator: weights that lag behind, whose BatchNorm statistics are computed afresh.

Source: Karras et al., "Progressive Growing of GANs" (2017), section 6; ``ema_rampup`` of StyleGAN2-ADA.
"""

import torch
from torch import nn

from models.dcgan import Generator
from training.config import TrainConfig
from training.execution import autocast

BATCHES = 50
"""Batches over which BatchNorm's statistics are recomputed: averaged weights with the statistics of
other weights make broken pictures."""

RAMP_UP = 0.05
"""Largest half-life, as a share of what has been shown: else the noise of the start stays for long."""


@torch.no_grad()
def follow(averaged: nn.Module, current: nn.Module, *, steps: int, batch_size: int, half_life: float) -> None:
    """Moves averaged weights towards the current ones, as one step of ``batch_size`` pictures asks.

    Args:
        averaged: The averaged network; changed in place.
        current: The network that learns.
        steps: Steps that the average has seen before; at 0 it becomes the current one.
        batch_size: Pictures in a step.
        half_life: In thousand pictures, above 0.
    """
    reached = min(half_life, steps * batch_size / 1000 * RAMP_UP)
    decay = 0.5 ** (batch_size / 1000 / reached) if reached else 0.0
    torch._foreach_lerp_(list(averaged.parameters()), list(current.parameters()), 1 - decay)


@torch.no_grad()
def recompute_statistics(
    net: Generator, config: TrainConfig, device: torch.device, batches: int = BATCHES
) -> None:
    """Gives a generator the BatchNorm statistics of its weights: plain means over batches.

    They are computed as steps are. Rounding to bfloat16 averages out: other latents change a picture twenty
    times as much.

    Args:
        net: The generator, on the device; it is left in training mode.
        config: The recipe: its seed, its batches and its arithmetic.
        device: Where to compute.
        batches: How many.
    """
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    net.train()
    random = torch.Generator().manual_seed(config.seed)
    with autocast(config, device):
        for _ in range(batches):
            net(torch.randn(config.batch_size, config.spec.z_dim, generator=random).to(device))
