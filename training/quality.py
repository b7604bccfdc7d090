"""Figures of quality from features alone: in what ways generated pictures differ from real ones.

Nothing here knows pictures, networks or files. Features are (N, D) float32, on any device.
"""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from models.contract import SeedlingError

NEIGHBOURS = 5
"""A picture's ball reaches to its fifth neighbour, as in Naeem et al. (2020)."""

BLOCK = 1024
"""Rows of a distance matrix that are in memory at a time."""


class RealFeatures:
    """Features of real pictures, and what the figures need of them alone, which is computed once.

    Args:
        features: (M, D) float32, M above ``NEIGHBOURS``.
        held_out: (H, D) float32 of real pictures that the generator has not seen, for ``memorisation``.

    Raises:
        SeedlingError: If there are too few pictures.
    """

    def __init__(self, features: Tensor, held_out: Tensor | None = None) -> None:
        if len(features) <= NEIGHBOURS:
            raise SeedlingError(f"need more than {NEIGHBOURS} real pictures to compare, got {len(features)}")
        self.features = features
        self.held_out = held_out

    @cached_property
    def mean(self) -> Tensor:
        """(D,) float64."""
        return self.features.double().mean(0)

    @cached_property
    def covariance(self) -> Tensor:
        """(D, D) float64."""
        return torch.cov(self.features.double().T)

    @cached_property
    def root(self) -> Tensor:
        """Square root of the covariance: (D, D) float64, symmetric."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root

    @cached_property
    def kernel(self) -> float:
        """Mean of the kernel over pairs of different pictures."""
        return _mean_over_pairs(_kernel, self.features)

    @cached_property
    def radii(self) -> Tensor:
        """(M,): distance of each picture to its ``NEIGHBOURS``-th neighbour."""
        return _radii(self.features)

    @cached_property
    def spread(self) -> float:
        """Mean distance of two different pictures."""
        spread = _mean_over_pairs(torch.cdist, self.features)
        if spread == 0:
            raise SeedlingError("the real pictures are all the same: nothing can be compared with them")
        return spread

    @cached_property
    def own_distance(self) -> float:
        """Median distance of a picture to the nearest other one."""
        return _radii(self.features, 1).median().item()

    @cached_property
    def held_out_distance(self) -> float:
        """Median distance of a held-out picture to the nearest of ``features``."""
        if self.held_out is None:
            raise SeedlingError("memorisation needs held-out pictures, got none")
        return _nearest(self.held_out, self.features).median().item()


def fd(generated: Tensor, real: RealFeatures) -> float:
    """Returns the Fréchet distance of two normal distributions with the sets' means and covariances.

    |m - n|² + tr(S + T - 2 (S T)^½). S is XᵀX of the centred pictures X, so the product's eigenvalues are
    those of X T Xᵀ and of T^½ S T^½: symmetric, so that they are real and cheap, on a GPU too, and of
    two sizes to choose from. The expectation falls with the number of pictures: compare figures of
    equal numbers only.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017), section 4; Mathiasen and
    Hvilshøj, "Backpropagating through Fréchet Inception Distance" (2020).
    """
    features = generated.double()
    mean = features.mean(0)
    centred = (features - mean) / math.sqrt(len(features) - 1)
    if len(features) < features.shape[1]:
        product = centred @ real.covariance @ centred.T
    else:
        half = centred @ real.root
        product = half.T @ half
    roots = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
    traces = centred.square().sum() + real.covariance.trace()
    return float((mean - real.mean).square().sum() + traces - 2 * roots)


def kd(generated: Tensor, real: RealFeatures) -> float:
    """Returns the kernel distance: the squared maximum mean discrepancy, cubic kernel, unbiased.

    Over all pictures at once. That is what a mean over random subsets comes to with ever more of
    them, without their noise.

    Source: Bińkowski et al., "Demystifying MMD GANs" (2018), section 4; Gretton et al., "A Kernel
    Two-Sample Test" (2012), lemma 6.
    """
    between = _mean_over_pairs(_kernel, generated, real.features)
    return _mean_over_pairs(_kernel, generated) + real.kernel - 2 * between


def neighbourhood(generated: Tensor, real: RealFeatures) -> dict[str, float]:
    """Returns four shares of pictures that lie in balls around pictures of the other set.

    Returns:
        ``precision``: generated pictures that are in a real one's ball. ``recall``: real ones that are
        in a generated one's. ``density``: real balls around a generated picture, over ``NEIGHBOURS``;
        about 1 for equal distributions. ``coverage``: real balls that hold a generated picture.

    Source: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models"
    (2019); Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (2020).
    """
    counts = []
    covered = recalled = torch.zeros(len(real.features), dtype=torch.bool, device=generated.device)
    blocks = (torch.split(of, BLOCK) for of in (generated, _radii(generated)))
    for rows, radii in zip(*blocks, strict=True):
        distances = torch.cdist(rows, real.features)
        in_real = distances <= real.radii
        counts.append(in_real.sum(1))
        covered = covered | in_real.any(0)
        recalled = recalled | (distances <= radii[:, None]).any(0)
    balls = torch.cat(counts).float()
    return {
        "precision": (balls > 0).float().mean().item(),
        "recall": recalled.float().mean().item(),
        "density": balls.mean().item() / NEIGHBOURS,
        "coverage": covered.float().mean().item(),
    }


def diversity(generated: Tensor, real: RealFeatures) -> float:
    """Returns the mean distance of two generated pictures over that of two real ones; 0 is one picture."""
    return _mean_over_pairs(torch.cdist, generated) / real.spread


def novelty(generated: Tensor, real: RealFeatures) -> float:
    """Returns the median distance to the nearest real picture, over that of a real one to the nearest other.

    What ``memorisation`` asks, without held-out pictures: 1: as far as real ones are apart; near 0: copies.
    Infinite where most real pictures are there twice.
    """
    if real.own_distance == 0:
        return math.inf
    return _nearest(generated, real.features).median().item() / real.own_distance


def memorisation(generated: Tensor, real: RealFeatures) -> float:
    """Returns the median distance to the nearest real picture, over that of held-out pictures.

    1: generated pictures are as far from the real ones as unseen real ones are; near 0: they are copies.

    Raises:
        SeedlingError: If there are no held-out pictures.
    """
    return _nearest(generated, real.features).median().item() / real.held_out_distance


def compare(generated: Tensor, real: RealFeatures) -> dict[str, float]:
    """Returns every figure by name; ``memorisation`` only where there are held-out pictures.

    Args:
        generated: (N, D) float32, N above ``NEIGHBOURS``.
        real: What to compare with, on the same device.
    """
    figures = {
        "fd": fd(generated, real),
        "kd": kd(generated, real),
        **neighbourhood(generated, real),
        "diversity": diversity(generated, real),
        "novelty": novelty(generated, real),
    }
    return figures if real.held_out is None else figures | {"memorisation": memorisation(generated, real)}


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_over_pairs(value: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor | None = None) -> float:
    """Returns the mean of a function over all pairs; with one set, over pairs of different pictures."""
    other = a if b is None else b
    total, pairs = 0.0, len(a) * len(other)
    for k, rows in enumerate(torch.split(a, BLOCK)):
        values = value(rows, other)
        total += values.sum(dtype=torch.float64).item()
        if b is None:
            total -= values.diagonal(k * BLOCK).sum(dtype=torch.float64).item()
    return total / (pairs if b is not None else pairs - len(a))


def _radii(features: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    place = neighbours + 1  # the nearest is the picture itself
    return torch.cat(
        [torch.cdist(rows, features).kthvalue(place).values for rows in torch.split(features, BLOCK)]
    )


def _nearest(features: Tensor, others: Tensor) -> Tensor:
    return torch.cat([torch.cdist(rows, others).amin(1) for rows in torch.split(features, BLOCK)])
