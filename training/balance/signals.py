"""What the controller is told of a window of steps: plain numbers."""

from dataclasses import dataclass

WINDOW = 32
"""Steps that are judged together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """Means over a window of steps, and what a look at its end showed."""

    finite: bool = True
    """Whether every loss was a number."""
    health: float | None
    """D's loss: 0 at its floor, 1 at its equilibrium; None where the loss has no floor."""
    real_accuracy: float
    """Share of training pictures that D calls real."""
    fake_accuracy: float
    """Share of generated pictures that D calls generated."""
    held_out_accuracy: float | None
    """Share of pictures kept from training that D calls real; None where none are kept."""
    held_out: int = 0
    """Pictures that are kept from training, from which that share is told."""
    overfit: float | None
    """D's lead of training pictures over held-out ones, as a share of their lead over fakes."""
    gradient_g: float
    """Norm of the gradient that reaches G's weights."""
    spread_g: float
    """Standard deviation of G's loss from step to step, as a share of D's way from floor to equilibrium."""
    diversity: float
    """Mean distance of samples of fixed latents, over that of real pictures."""
    stride_d: float
    """How far a step moves D's weights, as a share of their size."""

    @property
    def accuracy(self) -> float:
        """Share of all pictures that D tells rightly; 0.5 is a coin."""
        return (self.real_accuracy + self.fake_accuracy) / 2
