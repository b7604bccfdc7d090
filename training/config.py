"""Every setting of a training run, with presets; saved whole in each checkpoint."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from models.contract import ModelSpec, SeedlingError

AUTO = "auto"
"""The value of a setting that is left to what the device does fastest; replaced before the first step."""

ARITHMETICS = ("float32", "tf32", "bfloat16")
LAYOUTS = ("nchw", "channels_last")
EXECUTIONS = ("eager", "compile", "graph")

BALANCES = ("on", "watch", "off", "all")

WEIGHTS = (
    *("r1", "gradient_penalty", "lecam", "consistency", "perceptual"),
    *("vision_aided", "vision_aided_from_kimg", "g_rests_until_kimg"),
)
"""Settings of 0 or above, without an upper bound."""

_SPLIT = {"beta1": ("beta1_g", "beta1_d"), "beta2": ("beta2_g", "beta2_d")}


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
    d_init: str = "normal"
    """First weights of the discriminator: ``normal`` (0.02) or ``orthogonal``."""
    d_gain: float = 1.0
    """Factor on each of the discriminator's convolutions under ``spectral``; above 1 it speaks up sooner."""
    lr_g: float = 2e-4
    """Adam's learning rate for the generator."""
    lr_d: float = 2e-4
    """Adam's learning rate for the discriminator."""
    lr_decay_from: float = 1.0
    """Share of the run after which both rates fall linearly to a tenth; 1 never."""
    beta1_g: float = 0.5
    """Adam's first momentum for the generator."""
    beta2_g: float = 0.999
    """Adam's second momentum for the generator."""
    beta1_d: float = 0.5
    """Adam's first momentum for the discriminator."""
    beta2_d: float = 0.999
    """Adam's second momentum for the discriminator."""
    gap_aware: bool = False
    """Whether D's learning rate falls with its lead over G and rises with its lag."""
    d_every: int = 1
    """The discriminator learns in every so-manieth step, and only looks in the others."""
    g_every: int = 1
    """The generator learns in every so-manieth step: 2 gives the discriminator two steps for one."""
    g_rests_until_kimg: float = 0.0
    """The generator does not learn before so many thousand pictures were shown."""
    batch_size: int = 128
    """Pictures in a step."""
    translate: float = 0.0
    """Largest random shift of what the discriminator sees, as a share of the side; 0 is off."""
    colour: float = 0.0
    """Largest change of brightness, saturation and contrast of what the discriminator sees; 0 is off."""
    cutout: float = 0.0
    """Side of a grey square laid over what the discriminator sees, as a share of the side; 0 is off."""
    augment_p: float = 1.0
    """Share of the pictures that ``translate``, ``colour`` and ``cutout`` change, at the start."""
    ada_target: float = 0.0
    """Adapts that share: real pictures' logits are to have this mean sign, as 0.6; 0 keeps it fixed."""
    augment_by_size: bool = False
    """Whether ``translate``, ``colour`` and ``cutout`` are chosen by the number of pictures instead."""
    mirror: bool = False
    """Whether a real picture is shown mirrored half of the time."""
    r1: float = 0.0
    """Weight γ of the R1 penalty on the discriminator's gradient at real pictures; 0 is off."""
    r1_every: int = 16
    """Steps from one R1 penalty to the next; it counts so many times as much."""
    gradient_penalty: float = 0.0
    """Weight λ of WGAN-GP's penalty; 0 is off, but for the loss ``wgan-gp``, where it means 10."""
    lecam: float = 0.0
    """Weight of the LeCam penalty, for few pictures; 0 is off."""
    consistency: float = 0.0
    """Weight of the penalty on a discriminator that judges a moved picture otherwise; 0 is off."""
    perceptual: float = 0.0
    """Weight of the distance between mean features of real and generated pictures in G's loss; 0 is off."""
    vision_aided: float = 0.0
    """Weight in G's loss of what heads on a trained network's features say, beside D; 0 is off."""
    vision_aided_from_kimg: float = 250.0
    """Thousand pictures shown until those heads begin: first G must learn from D what belongs where."""
    ema_half_life_kimg: float = 0.0
    """Half-life of the averaged generator, in thousand pictures; 0 keeps no average."""
    kimg: float = 1000.0
    """Length of the run, in thousand real pictures shown."""
    quality_kimg: float = 50.0
    """Thousand pictures from one measurement of quality to the next, and one at the end; 0 measures none."""
    quality_samples: int = 2000
    """Pictures that are generated for a measurement; of real ones at most five times as many are taken."""
    seed: int = 0
    """Makes weights, order and latents repeatable."""
    balance: str = "on"
    """Whether the trainer keeps the game in balance: ``on``, ``watch`` (it only says what it finds), ``off``,
    or ``all`` (it also tries what did not help in trials)."""
    stream: int = 0
    """Another one draws other weights at the start, and other latents and augmentations in each step."""
    arithmetic: str = AUTO
    """How products are computed: ``float32``, ``tf32``, ``bfloat16`` or ``auto``."""
    layout: str = AUTO
    """How feature maps lie in memory: ``nchw``, ``channels_last`` or ``auto``."""
    execution: str = AUTO
    """How a step is run: ``eager``, ``compile`` by ``torch.compile``, as one CUDA ``graph``, or ``auto``."""

    def __post_init__(self) -> None:
        self._require(self.d_norm in {"batch", "spectral", "none"}, "d_norm", "batch, spectral or none")
        self._require(self.batch_size >= 2, "batch_size", "at least 2")
        self._require(0 < self.kimg < math.inf, "kimg", "above 0 and finite")
        self._require(self.lr_g > 0, "lr_g", "above 0")
        self._require(self.lr_d > 0, "lr_d", "above 0")
        self._require(self.d_init in {"normal", "orthogonal"}, "d_init", "normal or orthogonal")
        self._require(self.d_gain > 0, "d_gain", "above 0")
        self._require(self.balance in BALANCES, "balance", f"one of {', '.join(BALANCES)}")
        for name in ("beta1_g", "beta2_g", "beta1_d", "beta2_d"):
            self._require(0 <= getattr(self, name) < 1, name, "in 0…1")
        for name in ("d_every", "g_every", "r1_every"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(0 <= self.translate <= 0.5, "translate", "in 0…0.5")
        for name in ("colour", "cutout", "augment_p", "ada_target"):
            self._require(0 <= getattr(self, name) <= 1, name, "in 0…1")
        for name in WEIGHTS:
            self._require(0 <= getattr(self, name) < math.inf, name, "0 or above")
        self._require(0 <= self.lr_decay_from <= 1, "lr_decay_from", "in 0…1")
        self._require(self.ema_half_life_kimg >= 0, "ema_half_life_kimg", "0 or above")
        self._require(self.quality_kimg >= 0, "quality_kimg", "0 or above")
        self._require(self.quality_samples >= 20, "quality_samples", "at least 20")
        self._require(0 <= self.seed < 2**32, "seed", "in 0…2^32-1")
        self._require(0 <= self.stream < 2**16, "stream", "in 0…2^16-1")
        for name, choices in (("arithmetic", ARITHMETICS), ("layout", LAYOUTS), ("execution", EXECUTIONS)):
            wanted = ", ".join((*choices, AUTO))
            self._require(getattr(self, name) in {*choices, AUTO}, name, f"one of {wanted}")

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
        settings = dict(settings)
        for old, names in _SPLIT.items():  # one momentum was for both networks once
            if old in settings:
                settings = dict.fromkeys(names, settings.pop(old)) | settings
        try:
            return cls(**{**settings, "spec": ModelSpec(**settings["spec"])})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"these settings are not of this version: {error}") from error


_BEST = TrainConfig(
    loss="hinge",
    d_norm="spectral",
    d_init="orthogonal",
    lr_d=4e-4,
    beta1_g=0.0,
    beta2_g=0.9,
    beta1_d=0.0,
    beta2_d=0.9,
    translate=0.125,
    ema_half_life_kimg=10.0,
    lr_decay_from=0.6,
    vision_aided=0.5,
    vision_aided_from_kimg=400.0,
)

PRESETS: dict[str, TrainConfig] = {
    "spec": TrainConfig(),
    "light": dataclasses.replace(
        _BEST,
        spec=ModelSpec(ndf=32),
        batch_size=32,
        ema_half_life_kimg=4.0,
        kimg=160.0,
        quality_kimg=16.0,
        quality_samples=250,
        vision_aided=0.0,
        vision_aided_from_kimg=64.0,
    ),
    "best": _BEST,
}
"""Named recipes: ``spec`` is the specification to the letter; ``best`` is the best start known, for a GPU;
``light`` is the same for a computer without one, against a discriminator of half the width, in small batches,
and without heads on trained features.

What they reach is in docs/recipes.md."""
