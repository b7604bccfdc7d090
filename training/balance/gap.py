"""Two rules that turn a signal into a setting without a verdict: D's rate by its lead, and ADA."""

import math

ADA_KIMG = 500.0
"""Thousand pictures in which the share of augmented pictures can go from 0 to 1; ADA's own."""


def gap_factor(health: float) -> float:
    """Returns the factor on D's learning rate that its lead over G asks for, from 0.1 to 2.

    Measured from the floor of D's loss, so that smoothed labels do not count as a lead.

    Args:
        health: D's loss, 0 at its floor and 1 at its equilibrium.

    Source: Li et al., "Adaptive learning rate scheduler for GANs" (arXiv 2302.00089), with the paper's
    limits: a gap of a tenth of the ideal loss doubles the rate, or cuts it to a tenth.
    """
    gap = (health - 1) / 0.1
    return math.exp2(min(gap, 1.0)) if gap >= 0 else max(math.pow(0.1, -gap), 0.1)


def adapted_share(share: float, sign: float, target: float, kimg: float) -> float:
    """Returns ADA's next share of augmented pictures, in [0, 1].

    Args:
        share: The present one.
        sign: Mean sign of D's logits of real pictures, in [-1, 1]; near 1 D knows them all.
        target: What it is to be.
        kimg: Thousand pictures since the last adaptation.

    Source: Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020), section 3.
    """
    step = kimg / ADA_KIMG
    return min(max(share + (step if sign > target else -step), 0.0), 1.0)
