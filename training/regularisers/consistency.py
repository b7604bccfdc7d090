"""Consistency: D is to judge a picture the same when it is moved a little."""

from torch import Tensor

from training.augment import translate
from training.regularisers.judged import Judged

SHIFT = 1 / 16
"""Largest shift, as a share of the side."""


def consistency(judged: Judged) -> Tensor:
    """Returns the mean squared change of D's logits by a small shift, of real and of generated; a scalar.

    Source: Zhao et al., "Improved Consistency Regularization for GANs" (2020), balanced form (bCR).
    """
    pairs = ((judged.real, judged.real_logits), (judged.fake, judged.fake_logits))
    changes = [
        (judged.d(translate(img, SHIFT, judged.draws)).float() - logits).square().mean()
        for img, logits in pairs
    ]
    return changes[0] + changes[1]
