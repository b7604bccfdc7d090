"""The one vocabulary of parameters, in bodies and in addresses alike: each name means the same everywhere."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from PIL import ImageColor
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from models.contract import SEED_MAX, SEED_TEXT_MAX, resolve_seed

SEEDS_MAX = 16
"""Most seeds in a blend, and most keys of a path."""

NAME_MAX = 64
"""Longest part of an unknown name that an error repeats, in characters."""

LATENT_MAX = 10.0
"""Largest number in a latent, by its size; of a million drawn ones the largest is near 5."""

SEED_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": SEED_MAX},
        {"type": "string", "minLength": 1, "maxLength": SEED_TEXT_MAX},
    ],
    "description": "An integer 0…2^64-1, or any text, which is hashed to one. A text of plain decimal "
    "digits is the integer that it writes.",
    "examples": ["alice@example.com", 42],
}

BINARY = {"schema": {"type": "string", "format": "binary"}}
"""How the API's description says that an answer is a file."""

_HEXADECIMAL = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{6})", re.ASCII)


def _split(value: object) -> object:
    """Takes a comma-separated text, as a query has it, for the list that a body has."""
    return value.split(",") if isinstance(value, str) else value


def _colour(text: str) -> str:
    """Returns a background as ``transparent`` or six hexadecimal digits."""
    name = text.lower()
    if name == "transparent":
        return name
    if found := _HEXADECIMAL.fullmatch(name):
        name = f"#{found[1]}"
    elif name not in ImageColor.colormap:
        raise ValueError(f"expected transparent, rgb, rrggbb or the name of a CSS colour, got {text!r}")
    red, green, blue = ImageColor.getrgb(name)[:3]
    return f"{red:02x}{green:02x}{blue:02x}"


Seed = Annotated[int, PlainValidator(resolve_seed), WithJsonSchema(SEED_SCHEMA)]
"""A seed as a client writes it; the handler gets its number, 0…2^64-1."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weights = Annotated[list[Weight], BeforeValidator(_split), Field(min_length=2, max_length=SEEDS_MAX)]
Coordinate = Annotated[float, Field(ge=-LATENT_MAX, le=LATENT_MAX, allow_inf_nan=False)]
Latents = Annotated[
    list[Annotated[list[Coordinate], Field(fail_fast=True)]], Field(min_length=1, fail_fast=True)
]
Colour = Annotated[str, AfterValidator(_colour)]
Method = Literal["slerp", "lerp"]
Easing = Literal["linear", "ease-in", "ease-out", "ease-in-out"]
Shape = Literal["square", "circle", "rounded"]
Still = Literal["png", "webp", "jpg", "avif"]
"""The formats of one picture."""
Motion = Literal["strip", "sheet", "zip", "json", "apng", "webp", "gif", "mp4"]
"""The forms of a path."""

REPEATABLE = {"with", "via"}
"""What a query may hold several times; a body has a list of them."""


class Vocabulary(BaseModel):
    """Some parameters; every other name is refused, with the nearest that there is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def names(cls) -> dict[str, str]:
        """Returns the name that a client writes, by the name of the field."""
        return {name: field.alias or name for name, field in cls.model_fields.items()}

    @model_validator(mode="before")
    @classmethod
    def _know_each_name(cls, data: object) -> object:
        known = list(cls.names().values())
        for name in data if isinstance(data, Mapping) else ():
            if name not in known:
                got = str(name)[:NAME_MAX]
                near = difflib.get_close_matches(got, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
                raise ValueError(f"got {got!r}, which is no parameter here; {hint}")
        return data

    def given(self) -> set[str]:
        """Returns the names that the client wrote; null counts as not written."""
        names = self.names()
        return {names[field] for field in self.model_fields_set if getattr(self, field) is not None}


class Place(Vocabulary):
    """Where in latent space a picture is, beside its seed."""

    to: Seed | None = Field(default=None, examples=["bob"])
    """The seed to go to; with t."""
    t: Share | None = Field(default=None, examples=[0.25])
    """The share of the way from the seed to the seed `to`, in [0, 1]."""
    method: Method = Field(default="slerp", examples=["slerp"])
    """How to go: along the great circle, or the straight line."""
    with_: list[Seed] = Field(default=[], alias="with", max_length=SEEDS_MAX - 1, examples=[["bob", "carol"]])
    """Seeds to mix in; in a query the name is repeated."""
    weights: Weights | None = Field(default=None, examples=[[2, 1, 1]])
    """A number for each seed of the mixture, the first for the seed itself; in a query separated by commas.
    At least 0, not all 0; equal by default."""
    radius: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False, examples=[0.3])
    """How far from there a neighbour is, in (0, 1]; 1 leaves nothing in common."""
    variant: int = Field(default=0, ge=0, le=SEED_MAX, examples=[1])
    """Which neighbour."""
    truncation: Share = Field(default=1.0, examples=[0.7])
    """How much of its own a picture keeps: 0 is the picture at the origin."""
    model: str | None = Field(default=None, examples=["avatars"])
    """Name of the model; the service's default when missing."""

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        given = self.given()
        for name, other in (("to", "t"), ("t", "to"), ("weights", "with"), ("variant", "radius")):
            if name in given and other not in given:
                raise ValueError(f"{name} is of use with {other} only, got {name} alone")
        if self.to is not None and self.with_:
            raise ValueError("expected to or with, got both")
        if self.weights is not None:
            wanted = 1 + len(self.with_)
            if len(self.weights) != wanted:
                raise ValueError(f"expected {wanted} weights, one for each seed, got {len(self.weights)}")
            if not any(self.weights):
                raise ValueError("expected weights that are not all 0, got 0 for each seed")
        return self


class Appearance(Vocabulary):
    """How a picture is shown."""

    size: int | None = Field(default=None, ge=16, le=1024, examples=[256])
    """Side in pixels; the model's own when missing."""
    shape: Shape = Field(default="square", examples=["circle"])
    """What is cut out of the picture."""
    background: Colour | None = Field(default=None, examples=["ffffff"])
    """What is seen behind the shape: `transparent`, `rgb`, `rrggbb` or the name of a CSS colour. Transparent
    by default where the format can, else white."""
    quality: int | None = Field(default=None, ge=1, le=100, examples=[90])
    """Of webp, jpg, avif and mp4; 90 by default. A webp of 100 is lossless, as an animated one is by
    default."""


class PictureQuery(Place, Appearance):
    """What ``/images/{seed}.{format}`` takes in its query."""


class PathQuery(Appearance):
    """What ``/interpolate`` takes."""

    from_: Seed = Field(alias="from", examples=["alice"])
    """Seed of the first frame."""
    to: Seed = Field(examples=["bob"])
    """Seed of the last frame, or the farthest if the path is a loop."""
    via: list[Seed] = Field(default=[], max_length=SEEDS_MAX - 2, examples=[["carol"]])
    """Seeds on the way, in this order; the name is repeated."""
    steps: int = Field(default=8, ge=2, examples=[24])
    """Number of frames in all."""
    method: Method = Field(default="slerp", examples=["slerp"])
    """How to go from seed to seed: along the great circle, or the straight line."""
    easing: Easing = Field(default="linear", examples=["ease-in-out"])
    """How the speed changes along the whole path."""
    loop: bool = Field(default=False, examples=[True])
    """Whether to go on from the last seed to the first; the last frame is the one before it."""
    truncation: Share = Field(default=1.0, examples=[0.7])
    """How much of its own a picture keeps: 0 is the picture at the origin."""
    format: Motion = Field(default="strip", examples=["gif"])
    """Frames side by side or in rows, as PNG; PNGs in a zip or in JSON; or an animation."""
    frame_ms: int = Field(default=80, ge=10, le=10_000, examples=[80])
    """How long an animation shows a frame, in milliseconds; a GIF counts in tens."""
    model: str | None = Field(default=None, examples=["avatars"])
    """Name of the model; the service's default when missing."""


class GenerateRequest(Place, Appearance):
    """What ``POST /generate`` takes."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"seed": "alice@example.com"},
                {"seed": 42, "count": 16, "format": "webp", "size": 256, "shape": "circle"},
                {"seed": "alice", "with": ["bob"], "weights": [2, 1], "truncation": 0.8},
            ]
        },
    )

    seed: Seed | None = Field(default=None, examples=["alice"])
    """Seed of the first picture; drawn when missing."""
    count: int = Field(default=1, ge=1, examples=[4])
    """Number of pictures. Picture k is of seed + k, modulo 2^64; with a radius, of variant + k."""
    latents: Latents | None = None
    """Latents to show instead of seeds: each a list of as many numbers as the model takes, in [-10, 10]."""
    format: Still | None = Field(default=None, examples=["webp"])
    """Of each picture; PNG when missing, or what Accept prefers where the answer is one picture."""

    @model_validator(mode="after")
    def _check_latents(self) -> Self:
        if self.latents is not None:
            others = {"seed", "to", "t", "with", "weights", "radius", "variant", "count"}
            if given := sorted(self.given() & others):
                raise ValueError(f"expected latents or {given[0]}, got both")
        return self


class GeneratedImage(BaseModel):
    """One picture of a JSON answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    seed: str | None
    """The picture's own seed, in decimal: a JSON number would lose digits. Null for a latent."""
    recipe: str = ""
    """What follows `/images/{seed}.{format}?` in the picture's own address; missing where nothing does."""
    png: str = ""
    """The picture in base64; under `webp`, `jpg` or `avif` if it is one of those."""


class GenerateResponse(BaseModel):
    """What ``POST /generate`` answers as JSON."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str
    """SHA-256 of the model file."""
    images: list[GeneratedImage]
