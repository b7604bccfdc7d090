"""LeCam: what D says of one kind is held near what it has lately said of the other, for few pictures."""

import torch
from torch import Tensor, nn

from training.regularisers.judged import Judged

DECAY = 0.99
"""Of the running means, a step."""


class LeCam(nn.Module):
    """Keeps running means of D's logits, and penalises the distance from those of the other kind.

    Source: Tseng et al., "Regularizing Generative Adversarial Networks under Limited Data" (2021),
    equation 4; as in its published code only what lies beyond the other kind's mean counts.
    """

    real_mean: Tensor
    fake_mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real_mean", torch.zeros(()))
        self.register_buffer("fake_mean", torch.zeros(()))

    def forward(self, judged: Judged) -> Tensor:
        """Returns the penalty, a scalar, and takes note of the logits."""
        with torch.no_grad():
            self.real_mean.lerp_(judged.real_logits.mean(), 1 - DECAY)
            self.fake_mean.lerp_(judged.fake_logits.mean(), 1 - DECAY)
        above = (judged.real_logits - self.fake_mean.clone()).relu().square().mean()
        below = (self.real_mean.clone() - judged.fake_logits).relu().square().mean()
        return above + below
