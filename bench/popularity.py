"""How often a cache has what is asked for, where people ask by Zipf's law.

The name of rank k is asked for in proportion to k^-s. Ranks far down are as good as equal, so they are
counted in blocks: a thousand million names are some thousand numbers.

Sources: H. Che, Y. Tung and Z. Wang, "Hierarchical Web caching systems" (2002); C. Fricker, P. Robert and
J. Roberts, "A versatile and accurate approximation for LRU cache performance" (2012).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT = 1000
"""Names, the most popular, that are blocks of their own."""
BLOCKS = 4000
STEPS = 100
"""Halvings of the interval in which Che's time lies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Popularity:
    """Names in blocks, the most popular first."""

    names: NDArray[np.float64]
    """(B,), names of each block."""
    shares: NDArray[np.float64]
    """(B,), share of the requests that one name of the block gets."""


def zipf(names: int, exponent: float) -> Popularity:
    """Returns the popularity of names by Zipf's law.

    Args:
        names: How many there are.
        exponent: s; 0 makes all names equal.
    """
    exact = np.arange(1.0, min(names, EXACT) + 1)
    edges = np.unique(
        np.geomspace(len(exact) + 1, names + 1, BLOCKS).round()
    )  # one only, where all are exact
    starts, ends = edges[:-1], edges[1:]
    middles = _integral(ends - 0.5, exponent) - _integral(starts - 0.5, exponent)
    counts = np.concatenate([np.ones(len(exact)), ends - starts])
    weights = np.concatenate([exact**-exponent, middles])
    return Popularity(names=counts, shares=weights / weights.sum() / counts)


def _integral(x: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Returns the integral of x^-s, up to a constant: over ranks far down it is their sum."""
    return np.log(x) if exponent == 1 else x ** (1 - exponent) / (1 - exponent)


def lru_hits(popularity: Popularity, pictures: float) -> float:
    """Returns the share of requests that a cache answers which drops what was not asked for the longest.

    By Che's approximation: a name is there if it was asked for within the last t requests, where t is
    such that as many names as the cache holds are.

    Args:
        popularity: Of the names.
        pictures: How many the cache holds.
    """
    if pictures >= popularity.names.sum():
        return 1.0
    low, high = 0.0, 1.0
    while _held(popularity, high) < pictures:
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _held(popularity, middle) < pictures else (low, middle)
    return float(popularity.names @ (popularity.shares * -np.expm1(-popularity.shares * high)))


def first_hits(popularity: Popularity, requests: float) -> float:
    """Returns what share of its first requests a cache answers that is empty at first and drops nothing."""
    return 1 - _held(popularity, requests) / requests


def top_hits(popularity: Popularity, pictures: float) -> float:
    """Returns the share of requests for the most popular names: the best that a cache of that size can do."""
    before = np.cumsum(popularity.names) - popularity.names
    held = np.clip(pictures - before, 0, popularity.names)
    return float(held @ popularity.shares)


def _held(popularity: Popularity, requests: float) -> float:
    """Returns how many names so many requests ask for, on average."""
    return float(popularity.names @ -np.expm1(-popularity.shares * requests))
