"""The API's parameters as a program writes them; the service knows their ranges and says what is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypedDict
from urllib.parse import quote, urlencode

Seed = int | str
Method = Literal["slerp", "lerp"]
Easing = Literal["linear", "ease-in", "ease-out", "ease-in-out"]
Shape = Literal["square", "circle", "rounded"]
Still = Literal["png", "webp", "jpg", "avif"]
Motion = Literal["strip", "sheet", "zip", "json", "apng", "webp", "gif", "mp4"]

REPEATABLE = {"with", "via"}
"""What a query holds several times; any other list is one text there, separated by commas."""


class Look(TypedDict, total=False):
    """How pictures are shown; None is the default."""

    size: int | None
    """Side in pixels, 16…1024; the model's own by default."""
    shape: Shape | None
    background: str | None
    """``transparent``, ``rgb``, ``rrggbb`` or the name of a CSS colour."""
    quality: int | None
    """1…100; of no use to a format that loses nothing."""
    truncation: float | None
    """How much of its own a picture keeps, 0…1."""
    model: str | None
    """Name of a model that is served."""


class PictureOptions(Look, total=False):
    """Where a picture is in latent space beside its seed, and how it is shown; None is the default."""

    to: Seed | None
    """The seed to go to; with ``t``."""
    t: float | None
    """The share of the way, 0…1."""
    method: Method | None
    with_: Sequence[Seed] | None
    """Seeds to mix in."""
    weights: Sequence[float] | None
    """A number for each seed of the mixture, the first for the seed itself."""
    radius: float | None
    """How far away a neighbour is, above 0 to 1."""
    variant: int | None
    """Which neighbour, 0…2^64-1."""
    format: Still | None


class PathOptions(Look, total=False):
    """How to go from seed to seed, and how the frames are shown; None is the default."""

    via: Sequence[Seed] | None
    """Seeds on the way."""
    steps: int | None
    """Frames in all."""
    method: Method | None
    easing: Easing | None
    loop: bool | None
    """Whether to go on to where it began."""
    format: Motion | None
    frame_ms: int | None
    """How long an animation shows a frame, in milliseconds."""


class ServedModel(TypedDict, total=False):
    """A model that is served, as the service describes it; what is not known is missing."""

    id: str
    """Its name."""
    status: Literal["ready", "loading", "broken"]
    error: str
    default: bool
    edition: str
    """What decides the bytes, fit for an address."""
    spec: dict[str, int]
    """The shape of its pictures and latents."""
    sha256: str
    """SHA-256 of the file."""
    provider: str
    precision: str
    arithmetic: str
    stored: str
    data: dict[str, object]
    """What it was trained on."""
    training: dict[str, object]
    metrics: dict[str, float]


class Verification(TypedDict, total=False):
    """Whether a picture was grown by a service, as the service says; what is not known is missing."""

    verdict: Literal["identical", "same_pixels", "other_edition", "altered", "other_model", "unknown"]
    """Byte for byte what the service grows; in its pixels; but for rounding; not; or it cannot be told."""
    detail: str
    """The same in a sentence."""
    seed: str
    """In decimal."""
    model: str
    """SHA-256 of the model file."""
    address: str
    """Path of the picture as it is grown there, for ever."""
    pixels: int
    """How many were compared."""
    different: int
    """How many of them differ."""
    largest_difference: int
    """By how much at most, in levels of 255."""


def to_body(options: Mapping[str, object]) -> dict[str, object]:
    """Returns parameters as JSON has them: under their own names, and only those that are given."""
    given = {name.rstrip("_"): value for name, value in options.items() if value is not None}
    return {
        name: list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
        for name, value in given.items()
    }


def to_query(options: Mapping[str, object]) -> str:
    """Returns parameters as an address has them, a question mark before them if there are any."""
    pairs = []
    for name, value in to_body(options).items():
        values = list(map(_write, value)) if isinstance(value, list) else [_write(value)]
        pairs += [(name, text) for text in (values if name in REPEATABLE else [",".join(values)])]
    return "?" * bool(pairs) + urlencode(pairs, quote_via=quote, safe=",")


def _write(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
