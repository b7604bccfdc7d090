"""What one step measured."""

import dataclasses

import torch
from torch import Tensor

from training.regularisers import Judged


@dataclasses.dataclass(frozen=True, slots=True)
class StepStats:
    """Scalars on the device, so that reading them is the caller's choice."""

    loss_d: Tensor
    loss_g: Tensor
    real_logit: Tensor
    """Mean logit of real pictures."""
    fake_logit: Tensor
    """Mean logit of generated pictures."""
    real_accuracy: Tensor
    """Share of real pictures that D calls real."""
    fake_accuracy: Tensor
    """Share of generated pictures that D calls generated."""
    gradient_g: Tensor
    """Norm of the gradient that reached G's weights; 0 where G rested."""

    def as_floats(self) -> dict[str, float]:
        """Returns the scalars by name; waits for the device."""
        values = torch.stack(self.tensors()).tolist()
        return {field.name: value for field, value in zip(dataclasses.fields(self), values, strict=True)}

    def tensors(self) -> list[Tensor]:
        """Returns the scalars, in the order of the fields."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def copy(self) -> "StepStats":
        """Returns scalars of their own memory."""
        return StepStats(*(value.clone() for value in self.tensors()))


@torch.no_grad()
def measured(
    judged: Judged, loss_d: Tensor, loss_g: Tensor, gradient_g: Tensor, threshold: float | None
) -> StepStats:
    """Returns what is told of a step.

    Args:
        judged: What D saw and said.
        loss_d: D's loss, a scalar, without penalties.
        loss_g: G's, the like.
        gradient_g: Norm of the gradient that reached G's weights.
        threshold: The logit above which D calls a picture real; None is half way between the means.
    """
    real, fake = judged.real_logits.detach(), judged.fake_logits.detach()
    real_mean, fake_mean = real.mean(), fake.mean()
    cut = (real_mean + fake_mean) / 2 if threshold is None else threshold
    return StepStats(
        loss_d=loss_d.detach(),
        loss_g=loss_g.detach(),
        real_logit=real_mean,
        fake_logit=fake_mean,
        real_accuracy=(real > cut).float().mean(),
        fake_accuracy=(fake < cut).float().mean(),
        gradient_g=gradient_g,
    )
