"""A wider discriminator that judges as the narrow one did, so that a game goes on where it was.

Source: Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer" (2015), section 2.3.
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.dcgan import Discriminator
from training.config import ConfigError


@torch.no_grad()
def widened(d: Discriminator, ndf: int, random: torch.Generator) -> Discriminator:
    """Returns a discriminator of more channels and the same logits.

    Each channel becomes several of the same output, whose weights further on add up to the old one. They are
    shared out unevenly, by chance, else the copies would learn the same for ever. Where a norm follows, which
    does not see how large weights are, they stay as large as they were: Adam's steps do not shrink with them.

    Args:
        d: The narrow one.
        ndf: The new width, a multiple of the old one.
        random: Source of the shares, on the CPU.

    Raises:
        ConfigError: If it is not a multiple.
    """
    factor, rest = divmod(ndf, d.spec.ndf)
    if rest or factor < 2:
        raise ConfigError(f"ndf can only grow to a multiple of {d.spec.ndf}, got {ndf}")
    wide = Discriminator(dataclasses.replace(d.spec, ndf=ndf), d.norm)
    pairs = list(zip(d.layers, wide.layers, strict=True))
    last = d.convolutions()[-1]
    for old, new in pairs:
        if isinstance(old, nn.Conv2d):
            weight = old.weight.cpu()
            weight = weight if old is last else weight.repeat(factor, 1, 1, 1)
            if old is not d.convolutions()[0]:
                weight = _shared_out(weight, factor, random)
                if d.norm == "batch" and old is not last:
                    weight *= factor
            assert isinstance(new, nn.Conv2d)
            _set_weight(new, weight)
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias if old is last else old.bias.repeat(factor))
        elif isinstance(old, nn.BatchNorm2d | nn.SyncBatchNorm):
            state = {k: v.repeat(factor) if v.ndim else v for k, v in old.state_dict().items()}
            state["running_mean"] *= factor
            state["running_var"] *= factor**2
            new.load_state_dict(state)
    return wide


def _shared_out(weight: Tensor, factor: int, random: torch.Generator) -> Tensor:
    """Shares each input's weight out among its copies: (O, I, k, k) → (O, factor · I, k, k)."""
    shares = 0.5 + torch.rand(factor, *weight.shape[:2], 1, 1, generator=random)
    return torch.cat(list(weight * shares / shares.sum(0)), 1)


def _set_weight(layer: nn.Conv2d, weight: Tensor) -> None:
    if not parametrize.is_parametrized(layer, "weight"):
        layer.weight.copy_(weight)
        return
    # Spectral norm divides by the largest singular value, which it finds by vectors that it keeps; the gain
    # puts it back.
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    size = layer.get_parameter("parametrizations.weight.original").square().mean().sqrt()
    state = {
        "parametrizations.weight.original": weight * (size / weight.square().mean().sqrt()),
        "parametrizations.weight.0._u": left[:, 0],
        "parametrizations.weight.0._v": right[0],
        "parametrizations.weight.0.gain": values[0],
    }
    layer.load_state_dict(layer.state_dict() | state)
