"""How a step is computed: with which products, in which memory order, and launched how."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from training.config import AUTO, TrainConfig

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]

LAYOUT_FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def settled(config: TrainConfig, device: torch.device) -> TrainConfig:
    """Returns the recipe without an ``auto``, by rule, and without what the device cannot do.

    What it cannot do costs a sentence in the log, so that a run begun elsewhere can be gone on with.
    """
    cuda = device.type == "cuda"
    rule = {
        "arithmetic": "bfloat16" if _has_bfloat16(device) else "tf32" if cuda else "float32",
        "layout": "channels_last",
        "execution": "graph" if cuda else "eager",
    }
    impossible = set() if cuda else {"tf32", "graph"}
    changes: dict[str, Any] = {}
    for name, usual in rule.items():
        wanted = getattr(config, name)
        if wanted in impossible:
            log.warning("%s %s needs CUDA, and this is %s: taking %s", name, wanted, device.type, usual)
        if wanted in {AUTO, *impossible}:
            changes[name] = usual
    return dataclasses.replace(config, **changes)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 - torch has no public name for it


def set_arithmetic(config: TrainConfig, device: torch.device) -> None:
    """Tells torch, for the whole process, whether float32 convolutions may be tf32.

    Products of matrices may not: the networks have none, and the distances of quality are made of them.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = config.arithmetic != "float32"


def product_dtype(config: TrainConfig) -> torch.dtype:
    """Returns the type of what is multiplied; ``tf32`` is a matter of the products alone."""
    return torch.bfloat16 if config.arithmetic == "bfloat16" else torch.float32


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Returns the context in which products are computed as the recipe says."""
    return torch.autocast(device.type, torch.bfloat16, enabled=product_dtype(config) == torch.bfloat16)


class Compiled:
    """A network's forward pass through ``torch.compile``; as it is, after a sentence, where that fails.

    Args:
        net: The network; its ``forward`` is replaced.
    """

    def __init__(self, net: nn.Module) -> None:
        self._name = type(net).__name__
        self.plain: Forward = net.forward
        self._compiled: Forward | None = torch.compile(net.forward, dynamic=False)
        net.forward = self  # the instance's own, before the class's

    def __call__(self, x: Tensor) -> Tensor:
        """Computes the pass."""
        if self._compiled is not None:
            try:
                return self._compiled(x)
            except Exception as error:  # noqa: BLE001 - a compiler may fail in any way
                log.warning("%s is not compiled, which costs speed only: %s", self._name, _first_line(error))
                self._compiled = None
        return self.plain(x)


def plain(net: nn.Module) -> Forward:
    """Returns a network's forward pass as it is, since a compiled one has no second derivative."""
    return net.forward.plain if isinstance(net.forward, Compiled) else net


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
