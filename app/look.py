"""How a picture is shown: its size, what is cut out of it, and what is seen behind that."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from app.parameters import Appearance, Shape
from app.runners import Pictures
from models.contract import SeedlingError

Pairs = list[tuple[str, str]]
"""Names and values of a query, in their one order."""

TRANSPARENT = "transparent"
WHITE = "ffffff"

ROUNDING = 8
"""A side over the radius of rounded corners."""

MASKS = 8
"""Masks that are kept; one of 1024 pixels is a megabyte."""


class LookError(SeedlingError, ValueError):
    """A look that a format cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a picture is shown; ``choose_look`` makes one of parameters."""

    size: int
    """Side in pixels."""
    shape: Shape
    background: str
    """``transparent`` or six hexadecimal digits."""
    quality: int
    """1…100; of no use to a format that loses nothing."""
    pairs: Pairs
    """What differs from the default and shows, as names and values of a query, in one order."""

    @property
    def blank(self) -> tuple[int, ...]:
        """What a place without a picture has: one number a channel, or one for all."""
        if self.shape == "square":
            return (255,)
        return (255, 255, 255, 0) if self.background == TRANSPARENT else _rgb(self.background)

    def show(self, picture: Pictures) -> Pictures:
        """Makes a picture look so.

        Args:
            picture: (H, W, C) uint8 with as many columns as rows; C is 1 or 3.

        Returns:
            (size, size, C') uint8: C' is C if nothing is cut out, else 4 before what is transparent, or 3.
        """
        if len(picture) != self.size:
            scaled = to_image(picture).resize((self.size, self.size), Image.Resampling.LANCZOS)
            picture = np.asarray(scaled).reshape(self.size, self.size, -1)
        if self.shape == "square":
            return picture
        mask = cut_out(self.shape, self.size)
        rgb = np.broadcast_to(picture, (*mask.shape[:2], 3))
        if self.background == TRANSPARENT:
            return np.concatenate([rgb, mask], axis=2)
        cover = mask.astype(np.uint16)
        mixed = rgb * cover + np.array(_rgb(self.background), np.uint16) * (255 - cover) + 127
        shown: Pictures = (mixed // 255).astype(np.uint8)
        return shown


def choose_look(wanted: Appearance, native: int, *, alpha: bool, quality: int | None) -> Look:
    """Returns the look that parameters ask of a format.

    Args:
        wanted: The parameters.
        native: Side of the model's pictures, in pixels.
        alpha: Whether the format can be transparent.
        quality: The format's quality by default; None if it loses nothing.

    Raises:
        LookError: If the background is to be transparent and the format cannot.
    """
    ground = TRANSPARENT if alpha else WHITE
    if wanted.background == TRANSPARENT != ground:
        raise LookError("expected a colour as background, for the format has no alpha, got 'transparent'")
    size = wanted.size or native
    background = ground if wanted.background is None else wanted.background
    level = 100 if quality is None else wanted.quality or quality
    told = {
        "size": (size, native),
        "shape": (wanted.shape, "square"),
        "background": (background, background if wanted.shape == "square" else ground),
        "quality": (level, quality or level),
    }
    pairs = [(name, str(value)) for name, (value, default) in told.items() if value != default]
    return Look(size=size, shape=wanted.shape, background=background, quality=level, pairs=pairs)


@functools.lru_cache(MASKS)
def cut_out(shape: Shape, size: int) -> NDArray[np.uint8]:
    """Returns how much of each pixel a shape covers: (size, size, 1) uint8, 255 inside.

    A pixel at the edge is covered by half a pixel less its distance from it; square roots and all else here
    are rounded alike on every processor.

    Source: Quilez, "2D distance functions", for the rounded box.
    """
    half = size / 2
    radius = half if shape == "circle" else size / ROUNDING
    centres = np.abs(np.arange(size) + 0.5 - half) - (half - radius)
    x, y = np.meshgrid(centres, centres)
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2)
    distance = outside + np.minimum(np.maximum(x, y), 0) - radius
    mask: NDArray[np.uint8] = np.round(255 * np.clip(0.5 - distance, 0, 1)).astype(np.uint8)[:, :, None]
    mask.setflags(write=False)
    return mask


def to_image(pixels: Pictures) -> Image.Image:
    """Returns pixels, (H, W, C) uint8 with C 1, 3 or 4, as a Pillow image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _rgb(colour: str) -> tuple[int, ...]:
    return ImageColor.getrgb(f"#{colour}")
