"""What D has seen and said in a step: the argument of every regulariser."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from training.draws import Draws


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judged:
    """One batch of each kind before D."""

    d: Callable[[Tensor], Tensor]
    """The discriminator: (N, C, H, W) → (N, 1)."""
    real: Tensor
    """(N, C, H, W) in [-1, 1], as D saw it, without a gradient."""
    fake: Tensor
    """The like, generated."""
    real_logits: Tensor
    """(N, 1) float32."""
    fake_logits: Tensor
    """(N, 1) float32."""
    draws: Draws
    """Source of what a regulariser draws, on the device of the pictures."""
