"""All that the settings add to D's loss, as one term."""

from collections.abc import Callable

from torch import Tensor, nn

from training.config import TrainConfig
from training.regularisers.consistency import consistency
from training.regularisers.gradient_penalty import gradient_penalty
from training.regularisers.judged import Judged
from training.regularisers.lecam import LeCam
from training.regularisers.r1 import r1

WGAN_GP_WEIGHT = 10.0
"""λ of the paper; the loss ``wgan-gp`` does not work without."""

Regulariser = Callable[[Judged], Tensor]


class Regularisation(nn.Module):
    """The weighted sum of the regularisers that are switched on; keeps what they remember.

    Args:
        config: The recipe.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.lecam = LeCam()
        self._every_step = _switched_on(
            (config.gradient_penalty or WGAN_GP_WEIGHT * (config.loss == "wgan-gp"), gradient_penalty),
            (config.lecam, self.lecam),
            (config.consistency, consistency),
        )
        self._lazy = _switched_on((config.r1 * config.r1_every, r1))

    def forward(self, judged: Judged, *, lazily: bool) -> Tensor | float:
        """Returns what is added to D's loss: a scalar; 0.0 where nothing is.

        Args:
            judged: What D saw and said.
            lazily: Whether it is the turn of what is not computed in every step.
        """
        due = self._every_step + (self._lazy if lazily else ())
        return sum((weight * regulariser(judged) for weight, regulariser in due), start=0.0)


def _switched_on(*weighted: tuple[float, Regulariser]) -> tuple[tuple[float, Regulariser], ...]:
    return tuple((weight, regulariser) for weight, regulariser in weighted if weight)
