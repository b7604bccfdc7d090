"""Reads one picture from outside, whatever its format, size and honesty, as a square of RGB pixels."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from models.contract import SeedlingError

MIN_SIDE = 32
"""Shortest side of a usable picture, in pixels: what is enlarged more than four times is mostly made up."""

MAX_PIXELS = 89_478_485
"""Most pixels of a picture, Pillow's own limit: 256 MiB as RGB. A small file can claim any size."""

WHITE = (255, 255, 255)

# No format whose reader starts another program (EPS) or is seldom used and seldom tested.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM")


class PictureError(SeedlingError):
    """A picture, or a folder or zip of them, that cannot be read; the text is the reason."""


class TooSmallError(PictureError):
    """A picture with fewer pixels than training can use."""


def load_picture(
    source: Path | BinaryIO, *, resolution: int = 128, background: tuple[int, int, int] = WHITE
) -> NDArray[np.uint8]:
    """Reads one picture, upright and opaque: its first frame, if it moves.

    Args:
        source: Path or seekable binary stream.
        resolution: Side of the square that is returned, in pixels.
        background: RGB colour, 0…255, that shows where the picture is transparent.

    Returns:
        (resolution, resolution, 3) uint8 in 0…255, RGB.

    Raises:
        PictureError: If the file is unreadable, truncated or has more than ``MAX_PIXELS``.
        TooSmallError: If its shorter side is below ``MIN_SIDE`` (and below ``resolution``).
    """
    with picture_reasons(), Image.open(source, formats=_FORMATS) as img:
        _check_size(*img.size, resolution)
        # Decodes a large JPEG at 1/2…1/8, never below twice the side, so that the resize still does its part.
        img.draft(None, (2 * resolution, 2 * resolution))
        ImageOps.exif_transpose(img, in_place=True)
        return fit_picture(img, resolution=resolution, background=background)


def fit_picture(
    img: Image.Image, *, resolution: int = 128, background: tuple[int, int, int] = WHITE
) -> NDArray[np.uint8]:
    """Makes a decoded picture a square of RGB: the shorter side to ``resolution``, the middle of the longer.

    Args:
        img: Picture of any size and mode.
        resolution: Side of the square, in pixels. A picture that has it already is not resampled.
        background: RGB colour, 0…255, behind what is transparent.

    Returns:
        (resolution, resolution, 3) uint8 in 0…255.

    Raises:
        PictureError: If the picture's pixels have no agreed range (32-bit integers, floats).
    """
    # Antialiased bilinear is what torchvision's Resize does; Lanczos rings beside the hard edges of drawings.
    # Resize and CenterCrop in one step: a long thin picture must not be enlarged before it is cropped.
    return np.array(
        ImageOps.fit(_to_rgb(img, background), (resolution, resolution), Image.Resampling.BILINEAR)
    )


def _to_rgb(img: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if img.mode.startswith("I"):
        return _scale_16_bit(img).convert("RGB")
    if img.mode == "F":
        raise PictureError("its pixels are floats, which have no agreed range")
    if not img.has_transparency_data:
        return img.convert("RGB")
    # Before any resizing, or the colours hidden under transparent pixels would bleed into the edges.
    canvas = Image.new("RGBA", img.size, background)
    canvas.alpha_composite(img.convert("RGBA"))
    return canvas.convert("RGB")


def _scale_16_bit(img: Image.Image) -> Image.Image:
    grey = np.asarray(img).astype(np.int64)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise PictureError("its pixels are 32-bit integers, which have no agreed range")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))  # 257 = 65535 / 255, rounded to nearest


def _check_size(width: int, height: int, resolution: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"{width}×{height} is over the limit of {MAX_PIXELS:,} pixels")
    least = min(MIN_SIDE, resolution)
    if min(width, height) < least:
        raise TooSmallError(f"{width}×{height} is too small, the shorter side must have {least} pixels")


@contextlib.contextmanager
def picture_reasons() -> Iterator[None]:
    """Turns whatever reading a damaged picture raises into a ``PictureError`` that names the reason."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"over the limit of {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # damaged files make Pillow and zipfile raise nearly anything
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise PictureError(f"unreadable: {reason or type(error).__name__}") from error
