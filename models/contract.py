"""The contract between the rooms of the house: what a seed, a latent, an image and a model file are.

numpy and the standard library only: the trainer, the exporter and the service all import this
module, and nothing in it may change once a picture has been published under its seed.
"""

import dataclasses
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.latents import (
    EASINGS,
    INTERPOLATIONS,
    blend,
    latent,
    latent_path,
    latents,
    lerp,
    neighbour,
    places_between,
    slerp,
    truncate,
)

__all__ = [
    "EASINGS",
    "FORMAT_VERSION",
    "INPUT_NAME",
    "INTERPOLATIONS",
    "METADATA_KEY",
    "OUTPUT_NAME",
    "PIXEL_OFFSET",
    "PIXEL_SCALE",
    "SEED_MAX",
    "SEED_TEXT_MAX",
    "Z_DIM_MAX",
    "ModelCard",
    "ModelFileError",
    "ModelSpec",
    "SeedError",
    "SeedlingError",
    "blend",
    "consecutive_seeds",
    "draw_seed",
    "latent",
    "latent_path",
    "latents",
    "lerp",
    "neighbour",
    "places_between",
    "resolve_seed",
    "slerp",
    "to_float",
    "to_uint8",
    "truncate",
]

SEED_MAX = 2**64 - 1
"""Largest integer seed; arithmetic on seeds wraps past it."""

SEED_TEXT_MAX = 256
"""Longest text seed, in characters."""

PIXEL_SCALE = 127.5
PIXEL_OFFSET = 128.0
"""A pixel is ``clip(x * PIXEL_SCALE + PIXEL_OFFSET, 0, 255)``, truncated, for x in [-1, 1]."""

INPUT_NAME = "z"
"""Input of a model file: latents, (N, z_dim) float32."""

OUTPUT_NAME = "images"
"""Output of a model file: pictures, (N, H, W, C) uint8."""

Z_DIM_MAX = 65_536
"""Longest latent of a model file: far beyond any use, and a few hundred of them still fit in memory."""

FORMAT_VERSION = "seedling/1"
METADATA_KEY = "seedling"

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


class SeedlingError(Exception):
    """Root of every error that Seedling raises on purpose; its text is fit to show to a user."""


class SeedError(SeedlingError, ValueError):
    """A seed that is neither an integer in range nor a text of allowed length."""


class ModelFileError(SeedlingError):
    """A model file that cannot be read, or does not describe itself as the contract asks."""


# --- Seeds ---------------------------------------------------------------------------------------


def resolve_seed(seed: int | str) -> int:
    """Turns anything that may be called a seed into its 64-bit number.

    An integer is itself, and so is a text that writes one in plain decimal: ``"42"`` is ``42``.
    Any other text is hashed: the first eight bytes, big-endian, of the SHA-256 of its UTF-8.

    Args:
        seed: An integer in 0…2^64-1, or a text of 1…256 characters.

    Returns:
        The seed's number, 0…2^64-1.

    Raises:
        SeedError: If the integer is out of range, or the text is empty, too long or not valid Unicode.
    """
    if isinstance(seed, int) and not isinstance(seed, bool):
        if not 0 <= seed <= SEED_MAX:
            raise SeedError(f"an integer seed must be in 0…{SEED_MAX}, got {seed}")
        return seed
    if not isinstance(seed, str):
        raise SeedError(f"a seed must be an integer or a text, got {type(seed).__name__}")
    if not 1 <= len(seed) <= SEED_TEXT_MAX:
        raise SeedError(f"a text seed must have 1…{SEED_TEXT_MAX} characters, got {len(seed)}")
    if _DECIMAL.fullmatch(seed) and int(seed) <= SEED_MAX:
        return int(seed)
    try:
        encoded = seed.encode()
    except UnicodeEncodeError as error:
        raise SeedError(f"a text seed must be valid Unicode: {error.reason}") from None
    return int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big")


def draw_seed() -> int:
    """Returns a fresh random seed, 0…2^64-1."""
    return secrets.randbits(64)


def consecutive_seeds(first: int, count: int) -> list[int]:
    """Returns the seeds of a request for ``count`` pictures: first, first+1, …, wrapping at 2^64."""
    return [(first + k) % (SEED_MAX + 1) for k in range(count)]


# --- Pixels --------------------------------------------------------------------------------------


def to_uint8(x: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Turns generator output into pixels: any shape, float in [-1, 1] → uint8 in 0…255.

    Inverts ``to_float`` for all 256 values; values outside the range are clipped.
    """
    pixels: NDArray[np.uint8] = np.clip(x * PIXEL_SCALE + PIXEL_OFFSET, 0, 255).astype(np.uint8)
    return pixels


def to_float(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turns pixels into network input: any shape, uint8 → float32 in [-1, 1]."""
    return pixels.astype(np.float32) / np.float32(PIXEL_SCALE) - np.float32(1)


# --- Models --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """The shape of a generator and its discriminator, from which every layer follows.

    One rule builds every resolution: between pictures and the 4×4 (generator) or 2×2
    (discriminator) maps, each layer doubles or halves the side, and a feature map of side ``s``
    has ``base * 64 / s`` channels. Going from 64 to 128 adds one layer to each network.
    """

    img_resolution: int = 128
    """Side of the square pictures, in pixels: a power of two, 8…512."""
    img_channels: int = 3
    """Channels of a picture: 3 for RGB."""
    z_dim: int = 100
    """Length of a latent, at most ``Z_DIM_MAX``."""
    ngf: int = 64
    """Channels of the generator's feature map of side 64."""
    ndf: int = 64
    """Channels of the discriminator's feature map of side 64."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise SeedlingError(f"{field.name} must be an integer, got {value!r}")
        side = self.img_resolution
        if side & (side - 1) or not 8 <= side <= 512:
            raise SeedlingError(f"img_resolution must be a power of two in 8…512, got {side}")
        for name in ("img_channels", "z_dim", "ngf", "ndf"):
            if getattr(self, name) < 1:
                raise SeedlingError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.z_dim > Z_DIM_MAX:
            raise SeedlingError(f"z_dim must be at most {Z_DIM_MAX}, got {self.z_dim}")

    def feature_sides(self, smallest: int) -> list[int]:
        """Returns the sides of the feature maps: ``smallest``, twice that, …, half a picture."""
        return [smallest << k for k in range((self.img_resolution // smallest).bit_length() - 1)]

    @staticmethod
    def channels(side: int, base: int) -> int:
        """Returns the channels of a feature map of the given side, at least 1."""
        return max(base * 64 // side, 1)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a model file says about itself; kept in its metadata as JSON, read by the service."""

    name: str
    """Short name, for addresses and cards: ``avatars``."""
    spec: ModelSpec
    weights_sha256: str
    """SHA-256 of the float32 weights that the file was made from, as hexadecimal."""
    precision: str
    """How weights are stored: ``float32``, ``float16`` or ``int8``; ``arithmetic`` says how it computes."""
    arithmetic: str = "float32"
    """How the graph computes: ``float32``, ``float16``, ``int8`` or ``integer``."""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The training data: name, number of pictures, licence where known."""
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """How it was trained: preset, pictures shown, seconds."""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Measured quality by metric name; empty when nobody measured."""

    def to_metadata(self) -> dict[str, str]:
        """Returns the card as the string pairs that a model file's metadata holds."""
        return {
            METADATA_KEY: json.dumps({"format": FORMAT_VERSION} | dataclasses.asdict(self), sort_keys=True)
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Reads the card from a model file's metadata.

        Raises:
            ModelFileError: If there is no card, or one of another format, or one with wrong fields.
        """
        if METADATA_KEY not in metadata:
            raise ModelFileError(
                "it carries no 'seedling' metadata: export it with `python -m export.to_onnx`"
            )
        try:
            fields = json.loads(metadata[METADATA_KEY])
            found = fields.pop("format")
            if found == FORMAT_VERSION:
                return cls(**fields | {"spec": ModelSpec(**fields["spec"])})
        except SeedlingError as error:
            raise ModelFileError(f"its 'seedling' metadata cannot be read: {error}") from error
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ModelFileError(f"its 'seedling' metadata cannot be read: {error!r}") from error
        raise ModelFileError(f"it has format {found!r}, this version reads {FORMAT_VERSION!r}")
