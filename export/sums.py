"""A layer in integers: products of real weights as products of whole ones, rounded with the least error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

WEIGHT_UNITS = 127
"""Largest weight: int8."""

PAIR_UNITS = 128
"""Largest sum of the sizes of two neighbouring weights. Processors with AVX2 and without VNNI add the
products of neighbours in 16 bits, where they saturate: 255·128 fits, 2·255·127 does not."""

EXACT = 1 << 24
"""float32 holds every integer up to this: sums below it are converted without rounding."""

GRAM_BLOCK = 128
"""Inputs whose errors are passed on to the rest of a layer at once: one product in place of many."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """A layer in integers: P matrix products, each K inputs → n outputs.

    An output is ``round((x @ weight + bias) * scale)``, clipped to the range of what it is.
    """

    weight: NDArray[np.int32]
    """(P, K, n)."""
    bias: NDArray[np.int32]
    """(P, n)."""
    scale: NDArray[np.float32]
    """(P, n)."""

    @classmethod
    def of(cls, kernel: Floats, bias: Floats, after: Floats, largest: int, levels: int) -> "Sums":
        """Rounds each weight to the nearest.

        Args:
            kernel: (P, K, n) real weights for inputs in their units.
            bias: (n,).
            after: Units of the outputs, (n,), or one for all.
            largest: Largest input.
            levels: Largest weight; less is used where a sum could reach 2^24.
        """
        unit = _unit(kernel, bias, largest, np.abs(kernel).max(1) / levels)
        return cls._counted(np.rint(kernel / unit[:, None]), bias, unit, after, largest)

    @classmethod
    def of_pairs(
        cls, kernel: Floats, bias: Floats, after: Floats, largest: int, gram: Floats | None = None
    ) -> "Sums":
        """Rounds weights to int8 of which no two neighbours are both large.

        Args:
            kernel: (P, K, n) real weights for inputs in their units, K even.
            bias: (n,).
            after: Units of the outputs, (n,).
            largest: Largest input.
            gram: (K, K), the inputs' products in calibration: what rounding one weight gets wrong, those
                after it make up for. Without it each goes to the nearest.
        """
        pairs = np.abs(kernel).reshape(len(kernel), -1, 2, kernel.shape[2]).sum(2).max(1)
        # One less, for both of a pair may be rounded up.
        unit = _unit(kernel, bias, largest, pairs / (PAIR_UNITS - 1))
        exact = kernel / unit[:, None]
        weight = np.rint(exact) if gram is None else _round_together(exact, gram)
        return cls._counted(weight, bias, unit, after, largest)

    @classmethod
    def _counted(cls, weight: Floats, bias: Floats, unit: Floats, after: Floats, largest: int) -> "Sums":
        whole, offset = weight.astype(np.int32), np.rint(bias / unit).astype(np.int32)
        assert (largest * np.abs(whole).sum(1, dtype=np.int64) + np.abs(offset)).max() < EXACT
        return cls(whole, offset, (unit / after).astype(np.float32))


def _unit(kernel: Floats, bias: Floats, largest: int, unit: Floats) -> Floats:
    """Returns the weights' units, (P, n): those given, but larger where a sum could reach 2^24."""
    reach = largest * np.abs(kernel).sum(1) + np.abs(bias)
    unit = np.maximum(unit, 1.02 * reach / EXACT)  # 1.02 for the rounding
    return np.where(unit > 0, unit, 1.0)


def _round_together(kernel: Floats, gram: Floats) -> Floats:
    """Rounds weights one input after another, and lets those to come make up for each one's error.

    Args:
        kernel: (P, K, n) in units of the weights.
        gram: (K, K), the inputs' products in calibration.

    Source: Frantar et al., "GPTQ" (2022), section 3.
    """
    gram = gram.astype(np.float64)
    gram[np.diag_indices_from(gram)] += 0.01 * gram.diagonal().mean() or 1.0
    shares = np.linalg.cholesky(np.linalg.inv(gram)).T
    shares = (shares / shares.diagonal()[:, None]).astype(np.float32)
    rest = np.concatenate(list(kernel), axis=1).astype(np.float32)  # (K, P·n)
    rounded = np.empty_like(rest)
    for start in range(0, len(rest), GRAM_BLOCK):
        stop = min(start + GRAM_BLOCK, len(rest))
        errors = np.empty_like(rest[start:stop])
        for k in range(start, stop):
            limit = np.minimum(PAIR_UNITS - np.abs(rounded[k - 1]), WEIGHT_UNITS) if k % 2 else WEIGHT_UNITS
            rounded[k] = np.clip(np.rint(rest[k]), -limit, limit)
            errors[k - start] = rest[k] - rounded[k]
            rest[k + 1 : stop] -= shares[k, k + 1 : stop, None] * errors[k - start]
        rest[stop:] -= shares[start:stop, stop:].T @ errors
    return np.stack(np.split(rounded, len(kernel), axis=1))
