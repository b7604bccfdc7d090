"""R1: D may not be steep at real pictures, so that the game can come to rest there."""

from torch import Tensor

from training.regularisers.judged import Judged
from training.regularisers.slope import slope


def r1(judged: Judged) -> Tensor:
    """Returns half the mean squared gradient of D at the real pictures, a scalar.

    Source: Mescheder et al., "Which Training Methods for GANs do actually Converge?" (2018), equation 9;
    that it may be computed lazily: Karras et al., StyleGAN2 (2019), appendix B.
    """
    return slope(judged.d, judged.real).mean() / 2
