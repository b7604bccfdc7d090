"""A look at the two networks between steps, which changes nothing about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.contract import PIXEL_SCALE
from models.dcgan import INIT_STD
from training.execution import autocast
from training.loop import Trainer
from training.samples import fixed_latents

SAMPLES = 64
"""Pictures of each kind that are looked at, where there are so many."""

DIVERSITY_SIDE = 16
"""Side to which pictures are shrunk before they are compared: what differs there differs to the eye."""


class Probe:
    """Shows D training pictures, held-out pictures and samples of fixed latents.

    Args:
        trainer: The game.
        seen: (N, H, W, C) uint8, pictures that D learns from.
        held_out: (M, H, W, C) uint8, the like that it does not; may be none.
    """

    def __init__(self, trainer: Trainer, seen: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> None:
        self._device = trainer.device
        self._latents = fixed_latents(SAMPLES, trainer.config.spec.z_dim).to(self._device)
        self._seen = self._pictures(_spaced(seen, len(held_out) or SAMPLES))
        self.held_out = len(held_out)
        self._held_out = self._pictures(held_out) if len(held_out) else None
        self._real_distance = _mean_distance(self._seen)

    @classmethod
    def of(cls, trainer: Trainer, seen: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> Self | None:
        """Returns a probe, if the settings want the game to be watched."""
        return None if trainer.config.balance == "off" else cls(trainer, seen, held_out)

    @torch.no_grad()
    def look(self, trainer: Trainer) -> dict[str, float]:
        """Returns the signals that a window's sums do not tell, by name; waits for the device once."""
        g, d = trainer.players.g, trainer.players.d
        with _unchanged(g), _unchanged(d), autocast(trainer.config, self._device):
            samples = g(self._latents).float()
            looks = {
                "diversity": _mean_distance(samples) / self._real_distance,
                "stride_d": stride(trainer.players.opt_d),
                **self._opinions(d, samples, trainer.game.loss.threshold),
            }
        return dict(zip(looks, torch.stack(list(looks.values())).tolist(), strict=True))

    def _opinions(self, d: nn.Module, samples: Tensor, threshold: float | None) -> dict[str, Tensor]:
        if self._held_out is None:
            return {}
        seen, held_out, fake = (d(x).float() for x in (self._seen, self._held_out, samples))
        cut = (seen.mean() + fake.mean()) / 2 if threshold is None else threshold
        lead = (seen.mean() - fake.mean()).clamp(min=1e-6)
        return {
            "seen_accuracy": (seen > cut).float().mean(),
            "held_out_accuracy": (held_out > cut).float().mean(),
            "overfit": ((seen.mean() - held_out.mean()) / lead).clamp(-1, 1),
        }

    def _pictures(self, pixels: NDArray[np.uint8]) -> Tensor:
        img = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
        return img.permute(0, 3, 1, 2).float() / PIXEL_SCALE - 1


def held_apart(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the pictures to learn from, and a few from all over that are kept from it.

    A twentieth, 8 to 128 of them; none where fewer than 40 would be left.

    Args:
        pixels: (N, H, W, C) uint8.
    """
    count = min(max(len(pixels) // 20, 8), 128)
    if len(pixels) - count < LEAST_LEFT:
        return pixels, pixels[:0]
    if isinstance(pixels, np.memmap):  # may not fit into memory, and is in a random order already
        return pixels[:-count], pixels[-count:]
    apart = np.zeros(len(pixels), bool)
    apart[np.arange(count) * len(pixels) // count] = True
    return pixels[~apart], pixels[apart]


LEAST_LEFT = 40
"""Pictures that must be left to learn from, for any to be kept apart."""


@torch.no_grad()
def stride(optimizer: torch.optim.Adam) -> Tensor:
    """Returns how far Adam's next step would move the weights, as a share of their size; a scalar.

    Of the size that they began with, where they have grown: steps that are too long make large weights, which
    would hide it. No weight's step counts for more than the learning rate: one gradient that is far above the
    usual makes it longer, once, where Adam's memory is short. Biases and BatchNorm's scales are left out:
    they begin at 0 or are few.
    """
    [group] = optimizer.param_groups
    beta1, beta2 = group["betas"]
    weights = [weight for weight in group["params"] if weight.ndim > 1]
    moved = size = torch.zeros((), device=weights[0].device)
    first = sum(weight.numel() for weight in weights) * INIT_STD**2
    for weight in weights:
        size = size + weight.square().sum()
        state = optimizer.state.get(weight)
        if state:
            steps = state["step"].to(weight.device)
            mean = state["exp_avg"] / (1 - beta1**steps)
            square = state["exp_avg_sq"] / (1 - beta2**steps)
            moved = moved + (mean / (square.sqrt() + group["eps"])).square().clamp(max=1).sum()
    share: Tensor = group["lr"] * (moved / size.clamp(max=first)).sqrt()
    return share


@torch.no_grad()
def all_finite(*nets: nn.Module) -> bool:
    """Returns whether every weight is a number; waits for the device."""
    return all(bool(torch.stack([p.isfinite().all() for p in net.parameters()]).all()) for net in nets)


@contextmanager
def _unchanged(net: nn.Module) -> Iterator[None]:
    """Lets a network compute as it does while it learns, by its batch's statistics, but remember nothing."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    momenta = [layer.momentum for layer in layers]
    net.eval()  # else spectral norm takes another step of its iteration
    for layer in layers:
        layer.train()
        layer.momentum = 0.0
    try:
        yield
    finally:
        net.train()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _mean_distance(img: Tensor) -> Tensor:
    points = F.adaptive_avg_pool2d(img, min(DIVERSITY_SIDE, img.shape[-1])).flatten(1)
    return torch.cdist(points, points).sum() / (len(points) * (len(points) - 1))


def _spaced(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    count = min(count, len(pixels))
    return pixels[np.arange(count) * len(pixels) // count]
