"""One picture to bytes: PNG, WebP, JPEG, AVIF; and several laid out as one. Same pixels, same bytes."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from app.look import to_image
from app.parameters import Still
from app.png import Effort, png
from app.provenance import XMP

EXIF_DESCRIPTION, EXIF_SOFTWARE = 0x010E, 0x0131
"""EXIF's numbers of the fields that hold what a picture says of itself."""

AVIF_SPEED = 8
"""On a picture of 128 pixels a ninth of the time that libavif's default takes, for no more bytes."""

WEBP_METHOD = 2
"""Half the time of libwebp's default, for two hundredths more bytes."""

LOSSLESS = 100
"""The quality of a WebP that loses nothing."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the service can write."""

    media_type: str
    suffix: str
    alpha: bool = True
    """Whether it can be transparent."""
    quality: int | None = None
    """Its quality by default, 1…100; None if it loses nothing."""


STILLS: dict[Still, Format] = {
    "png": Format("image/png", "png"),
    "webp": Format("image/webp", "webp", quality=90),
    "jpg": Format("image/jpeg", "jpg", alpha=False, quality=90),
    "avif": Format("image/avif", "avif", quality=90),
}
"""The formats of one picture, by the name that a client writes."""


def has_avif() -> bool:
    """Tells whether Pillow was built with AVIF."""
    return bool(features.check("avif"))


def encode(
    pixels: NDArray[np.uint8], form: Still, quality: int, text: Mapping[str, str], effort: Effort
) -> bytes:
    """Encodes a picture or a sheet.

    Args:
        pixels: (H, W, C) uint8; C is 1, 3, or 4 with alpha; JPEG has none.
        form: A name in ``STILLS``.
        quality: 1…100; PNG ignores it, and WebP loses nothing at 100.
        text: What the file says of itself, ASCII by ASCII; as ``tEXt`` in PNG, else as EXIF.
        effort: How hard PNG presses.
    """
    if form == "png":
        return png(pixels, text, effort, XMP)
    options: dict[str, object]
    match form:
        case "webp" if quality == LOSSLESS:
            options = {"lossless": True, "method": 0}
        case "webp":
            options = {"quality": quality, "method": WEBP_METHOD}
        case "jpg":
            options = {"quality": quality, "subsampling": 0, "optimize": True}
        case "avif":  # the number of threads decides bytes
            options = {"quality": quality, "subsampling": "4:4:4", "speed": AVIF_SPEED, "max_threads": 1}
    kind = "JPEG" if form == "jpg" else form.upper()
    buffer = io.BytesIO()
    to_image(pixels).save(buffer, kind, exif=exif(text), xmp=XMP, **options)
    return buffer.getvalue()


def exif(text: Mapping[str, str]) -> bytes:
    """Writes what a picture says of itself as EXIF."""
    fields = Image.Exif()
    fields[EXIF_DESCRIPTION] = describe(text)
    fields[EXIF_SOFTWARE] = text.get("Software", "")
    return fields.tobytes()


def describe(text: Mapping[str, str]) -> str:
    """Returns what a picture says of itself as one line."""
    return "; ".join(f"{name}: {value}" for name, value in text.items())


def sheet(images: NDArray[np.uint8], blank: tuple[int, ...] = (255,)) -> NDArray[np.uint8]:
    """Lays pictures out in rows, as near to a square as their number allows.

    Args:
        images: (N, H, W, C) uint8.
        blank: What cells that are left over have: C numbers, or one for all.

    Returns:
        (rows·H, columns·W, C) uint8, in reading order.
    """
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    cells = np.empty((rows * columns, *images.shape[1:]), np.uint8)
    cells[: len(images)] = images
    cells[len(images) :] = blank
    return np.concatenate([strip(row) for row in cells.reshape(rows, columns, *images.shape[1:])])


def strip(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lays pictures side by side: (N, H, W, C) uint8 → (H, N·W, C) uint8."""
    return np.concatenate(list(images), axis=1)
