"""From parameters to places in latent space: what the engine takes of them, and what an address says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from fastapi import HTTPException

from app.look import Pairs
from app.orders import Source
from app.parameters import GenerateRequest, Place
from models.contract import (
    INTERPOLATIONS,
    SEED_MAX,
    blend,
    latent,
    latents,
    neighbour,
    truncate,
)


class Point(Protocol):
    """Where a picture is."""

    @property
    def seed(self) -> int | None:
        """The seed that it goes out from, 0…2^64-1; None for a latent."""

    @property
    def name(self) -> str:
        """What a file of the picture is called, but for its ending."""

    @property
    def pairs(self) -> Pairs:
        """What the place is beside its seed: only what differs from the default."""

    def source(self, z_dim: int) -> Source:
        """Returns what the engine takes: the seed alone where it can, so that equal pictures are shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedPoint:
    """A place that is named by seeds, as ``settle`` writes it: equal places are equal."""

    seed: int
    to: int | None = None
    t: float = 0.0
    method: str = "slerp"
    others: tuple[int, ...] = ()
    """Seeds to mix in."""
    weights: tuple[float, ...] = ()
    """One for each seed of the mixture; none if all are equal."""
    radius: float | None = None
    variant: int = 0
    truncation: float = 1.0

    @property
    def name(self) -> str:
        """What a file of the picture is called, but for its ending."""
        return str(self.seed) if self.radius is None else f"{self.seed}-{self.variant}"

    @property
    def pairs(self) -> Pairs:
        """What the place is beside its seed: only what differs from the default, in one order."""
        found: Pairs = []
        if self.to is not None:
            found += [("to", str(self.to)), ("t", write(self.t))]
            found += [("method", self.method)] * (self.method != "slerp")
        found += [("with", str(other)) for other in self.others]
        if self.weights:
            found.append(("weights", ",".join(map(write, self.weights))))
        if self.radius is not None:
            found.append(("radius", write(self.radius)))
            found += [("variant", str(self.variant))] * (self.variant != 0)
        found += [("truncation", write(self.truncation))] * (self.truncation != 1.0)
        return found

    def source(self, z_dim: int) -> Source:
        """Returns the seed if there is nothing else, or the latent's bytes."""
        z = latent(self.seed, z_dim)
        if self.to is not None:
            z = INTERPOLATIONS[self.method](z, latent(self.to, z_dim), self.t)
        elif self.others:
            seeds = [self.seed, *self.others]
            z = blend(latents(seeds, z_dim), self.weights or (1.0,) * len(seeds))
        elif self.radius is None and self.truncation == 1.0:
            return self.seed
        if self.radius is not None:
            z = neighbour(z, self.radius, self.variant)
        return truncate(z, self.truncation).tobytes()


@dataclass(frozen=True, slots=True)
class LatentPoint:
    """A place that is given by its numbers."""

    z: bytes
    """The latent, as the bytes of its float32 numbers."""
    name: str
    """What a file of the picture is called, but for its ending."""

    @property
    def seed(self) -> None:
        """No seed: nothing names the place but its numbers."""

    @property
    def pairs(self) -> Pairs:
        """Nothing, for no address holds a latent."""
        return []

    def source(self, z_dim: int) -> Source:
        """Returns the latent's bytes."""
        assert len(self.z) == 4 * z_dim
        return self.z


def write(number: float) -> str:
    """Writes a number in the one way that an address has it: the shortest that reads back the same.

    Without a plus, which is a space there, and without the sign of a zero.
    """
    return repr(float(number) + 0.0).removesuffix(".0").replace("e+", "e")


def between(seed: int, to: int, t: float, method: str = "slerp", truncation: float = 1.0) -> SeedPoint:
    """Returns the place at a share of the way from one seed to another; an end is that seed itself."""
    if t in {0.0, 1.0} or seed == to:
        return SeedPoint(seed=to if t == 1.0 else seed, truncation=truncation)
    return SeedPoint(seed=seed, to=to, t=t, method=method, truncation=truncation)


def mixture(seed: int, others: Sequence[int], weights: Sequence[float] | None) -> SeedPoint:
    """Returns the place of a mixture: a seed of no weight is not in it; equal weights go without saying."""
    shares = weights or (1.0,) * (1 + len(others))
    kept = [(one, share) for one, share in zip((seed, *others), shares, strict=True) if share]
    (first, *rest), told = zip(*kept, strict=True)
    return SeedPoint(seed=first, others=tuple(rest), weights=told if len(set(told)) > 1 else ())


def settle(seed: int, place: Place, later: int = 0) -> SeedPoint:
    """Returns the place that parameters name, in the one form that it has.

    Args:
        seed: 0…2^64-1.
        place: The other parameters.
        later: What is added to the parameter ``variant``, modulo 2^64.
    """
    if place.to is not None:
        point = between(seed, place.to, place.t or 0.0, place.method)
    else:
        point = mixture(seed, place.with_, place.weights)
    if place.radius is not None:
        point = replace(point, radius=place.radius, variant=(place.variant + later) % (SEED_MAX + 1))
    return replace(point, truncation=place.truncation)


def settle_each(first: int, wanted: GenerateRequest, z_dim: int) -> Iterator[Point]:
    """Yields the places of a request for several pictures.

    Args:
        first: The seed to begin with, if the request is for seeds.
        wanted: The request.
        z_dim: Length of a latent.

    Raises:
        HTTPException: 422 if a latent has another length.
    """
    if wanted.latents is not None:
        return _latents(wanted.latents, wanted.truncation, z_dim)
    if wanted.radius is not None:
        return (settle(first, wanted, later) for later in range(wanted.count))
    return (settle((first + k) % (SEED_MAX + 1), wanted) for k in range(wanted.count))


def _latents(rows: list[list[float]], truncation: float, z_dim: int) -> Iterator[Point]:
    for k, row in enumerate(rows):
        if len(row) != z_dim:
            raise HTTPException(422, f"latents.{k}: expected {z_dim} numbers, got {len(row)}")
    return (
        LatentPoint(truncate(np.array(row, np.float32), truncation).tobytes(), f"latent-{k}")
        for k, row in enumerate(rows)
    )
