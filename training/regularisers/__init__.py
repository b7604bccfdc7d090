"""What D's loss may have added to it, each by a weight among the settings."""

from training.regularisers.judged import Judged
from training.regularisers.regularisation import Regularisation

__all__ = ["Judged", "Regularisation"]
