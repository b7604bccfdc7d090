"""Every setting of a training run, with presets; saved whole in each checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from models.contract import ModelSpec, SeedlingError


class ConfigError(SeedlingError):
    """A setting that is unknown or out of range."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The recipe of a run. The defaults are the preset ``spec``."""

    spec: ModelSpec = dataclasses.field(default_factory=ModelSpec)
    """Shape of both networks."""
    loss: str = "bce"
    """Name in ``training.losses.LOSSES``."""
    real_label: float = 0.9
    """Target for real pictures, and for the generator's wish; used by ``bce``."""
    fake_label: float = 0.1
    """Target for generated pictures; used by ``bce``."""
    d_norm: str = "batch"
    """Normalisation in the discriminator: ``batch``, ``spectral`` or ``none``."""
    lr_g: float = 2e-4
    """Adam's learning rate for the generator."""
    lr_d: float = 2e-4
    """Adam's learning rate for the discriminator."""
    lr_decay_from: float = 1.0
    """Share of the run after which both rates fall linearly to a tenth; 1 never."""
    beta1: float = 0.5
    """Adam's first momentum."""
    beta2: float = 0.999
    """Adam's second momentum."""
    batch_size: int = 128
    """Pictures in a step."""
    translate: float = 0.0
    """Largest random shift of what the discriminator sees, as a share of the side; 0 is off."""
    mirror: bool = False
    """Whether a real picture is shown mirrored half of the time."""
    ema_half_life_kimg: float = 0.0
    """Half-life of the averaged generator, in thousand pictures; 0 keeps no average."""
    kimg: float = 1000.0
    """Length of the run, in thousand real pictures shown."""
    seed: int = 0
    """Makes weights, order and latents repeatable."""

    def __post_init__(self) -> None:
        self._require(self.d_norm in {"batch", "spectral", "none"}, "d_norm", "batch, spectral or none")
        self._require(self.batch_size >= 2, "batch_size", "at least 2")
        self._require(self.kimg > 0, "kimg", "above 0")
        self._require(self.lr_g > 0, "lr_g", "above 0")
        self._require(self.lr_d > 0, "lr_d", "above 0")
        self._require(0 <= self.beta1 < 1, "beta1", "in 0…1")
        self._require(0 <= self.beta2 < 1, "beta2", "in 0…1")
        self._require(0 <= self.translate <= 0.5, "translate", "in 0…0.5")
        self._require(0 <= self.lr_decay_from <= 1, "lr_decay_from", "in 0…1")
        self._require(self.ema_half_life_kimg >= 0, "ema_half_life_kimg", "0 or above")
        self._require(0 <= self.seed < 2**32, "seed", "in 0…2^32-1")

    def _require(self, holds: bool, name: str, wanted: str) -> None:  # noqa: FBT001
        if not holds:
            raise ConfigError(f"{name} must be {wanted}, got {getattr(self, name)}")

    @property
    def total_steps(self) -> int:
        """Number of steps in the whole run, at least 1."""
        return max(round(self.kimg * 1000 / self.batch_size), 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """Inverts ``to_dict``.

        Raises:
            ConfigError: If a setting is unknown or missing its type.
        """
        try:
            return cls(**{**settings, "spec": ModelSpec(**settings["spec"])})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"these settings are not of this version: {error}") from error


PRESETS: dict[str, TrainConfig] = {
    "spec": TrainConfig(),
    "light": TrainConfig(
        spec=ModelSpec(ndf=32),
        batch_size=32,
        translate=0.0625,
        ema_half_life_kimg=4.0,
        lr_decay_from=0.6,
        kimg=160.0,
    ),
}
"""Named recipes. ``spec`` is the specification to the letter; ``light`` is for a computer without a
GPU: the same game against a discriminator of half the width, in small batches, shown shifted
pictures, and an averaged generator."""
