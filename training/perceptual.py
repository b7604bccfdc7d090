"""A perceptual loss for G: a trained network is to see no difference in what pictures are on average."""

import torch
from torch import Tensor, nn

from training.features import FeatureExtractor


class Perceptual(nn.Module):
    """Distance of the mean features of a generated batch from those of a real one.

    The features are those that ``training.evaluate`` measures by: a model that learned with this has
    better figures than pictures.

    Source: feature matching, Salimans et al., "Improved Techniques for Training GANs" (2016), section 3.1,
    with a network trained on other pictures in the place of D, as Johnson et al., "Perceptual Losses" (2016).
    """

    def __init__(self) -> None:
        super().__init__()
        self.extractor = FeatureExtractor()

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the squared distance over the real variance: two (N, 3, H, W) in [-1, 1] → scalar."""
        with torch.no_grad():
            wanted = self.extractor.describe((real.float() + 1) / 2)
        found = self.extractor.describe((fake.float() + 1) / 2)
        variance = wanted.var(0).sum().clamp(min=1e-6)
        return (found.mean(0) - wanted.mean(0)).square().sum() / variance
