"""WGAN-GP's penalty: D's slope between real and generated pictures is to be 1."""

import torch
from torch import Tensor

from training.regularisers.judged import Judged
from training.regularisers.slope import slope


def gradient_penalty(judged: Judged) -> Tensor:
    """Returns the mean squared distance of D's slope from 1, at random points between pairs; a scalar.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs" (2017), algorithm 1. The paper asks for
    a D without BatchNorm, whose logits depend on the other pictures of the batch.
    """
    t = judged.draws.uniform(len(judged.real), 1, 1, 1)
    between = torch.lerp(judged.fake.float(), judged.real.float(), t)
    # The root's own slope is infinite at 0.
    return ((slope(judged.d, between) + 1e-12).sqrt() - 1).square().mean()
