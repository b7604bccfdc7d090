"""Pictures for a call: grown, made to look as asked, packed; each with what names it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException

from app import encode
from app.call import Call
from app.encode import STILLS
from app.look import Look, choose_look
from app.orders import Source
from app.parameters import Appearance, Still
from app.png import Effort
from app.points import Point
from app.runners import Pictures

MAX_PIXELS = 1 << 24
"""Most pixels of all pictures of an answer that is made before it is sent: 4096×4096, or 64 of 512×512."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A packed picture."""

    point: Point
    recipe: str
    """What stands in its address beside the seed."""
    content: bytes


def pick_look(call: Call, wanted: Appearance, form: Still) -> Look:
    """Returns the look of pictures in a format.

    Raises:
        HTTPException: 422 if the format cannot show it, or cannot be written here.
    """
    if form == "avif" and not encode.has_avif():
        raise HTTPException(
            422, "expected png, webp or jpg, for this server's Pillow has no AVIF, got 'avif'"
        )
    kind = STILLS[form]
    return choose_look(wanted, native_size(call), alpha=kind.alpha, quality=kind.quality)


def native_size(call: Call) -> int:
    """Returns the side of the model's pictures, in pixels."""
    return call.engine.model.card.spec.img_resolution


def check_pixels(count: int, look: Look) -> None:
    """Refuses what would take too much memory at once.

    Raises:
        HTTPException: 422 if the pictures have more than ``MAX_PIXELS``.
    """
    if count * look.size**2 > MAX_PIXELS:
        raise HTTPException(
            422,
            f"expected at most {MAX_PIXELS} pixels in an answer that is not streamed, "
            f"got {count} pictures of {look.size}×{look.size}",
        )


def write_recipe(point: Point, look: Look) -> str:
    """Returns what stands in a picture's address beside the seed: what is not the default, in one order."""
    return "&".join(f"{name}={value}" for name, value in (*point.pairs, *look.pairs))


def write_address(seed: int, form: str, recipe: str) -> str:
    """Returns a picture's address in its plainest form."""
    return f"/images/{seed}.{form}{'?' if recipe else ''}{recipe}"


def sources(call: Call, points: Sequence[Point]) -> list[Source]:
    """Returns what the engine takes."""
    z_dim = call.engine.model.card.spec.z_dim
    return [point.source(z_dim) for point in points]


def describe(call: Call, point: Point, recipe: str) -> dict[str, str]:
    """Returns what a picture's file says of itself."""
    source = point.source(call.engine.model.card.spec.z_dim) if point.seed is None else point.seed
    return call.engine.describe(source) | ({"Recipe": recipe} if recipe else {})


async def grow(call: Call, points: Sequence[Point], look: Look, form: Still) -> list[Picture]:
    """Grows pictures and packs each.

    Raises:
        OverloadError: If they would not be, or were not, done in the call's time.
    """
    recipes = [write_recipe(point, look) for point in points]
    seeds = [point.seed for point in points if point.seed is not None]
    if form == "png" and len(seeds) == len(points) and not any(recipes):
        contents = await call.engine.pngs(seeds, call.timeout_s)  # packed by the thread that grew them
    else:
        grown = await call.engine.pixels(sources(call, points), call.timeout_s)
        texts = [describe(call, point, recipe) for point, recipe in zip(points, recipes, strict=True)]
        effort = call.settings.png
        work = (
            call.engine.pack(_finish, pixels, look, form, text, effort)
            for pixels, text in zip(grown, texts, strict=True)
        )
        contents = await asyncio.gather(*work)
    return [Picture(*each) for each in zip(points, recipes, contents, strict=True)]


async def grow_sheet(call: Call, points: Sequence[Point], look: Look, form: Still) -> bytes:
    """Grows pictures and packs them as one, in rows.

    Raises:
        OverloadError: If they would not be, or were not, done in the call's time.
    """
    grown = await call.engine.pixels(sources(call, points), call.timeout_s)
    text = describe(call, points[0], write_recipe(points[0], look)) | {"Count": str(len(points))}

    def pack() -> bytes:
        joint = encode.sheet(show_all(grown, look), look.blank)
        return encode.encode(joint, form, look.quality, text, call.settings.png)

    return await call.engine.pack(pack)


def show_all(pictures: Pictures, look: Look) -> Pictures:
    """Makes pictures look as asked: (N, H, W, C) uint8 → (N, size, size, C') uint8."""
    return np.stack([look.show(picture) for picture in pictures])


def _finish(pixels: Pictures, look: Look, form: Still, text: dict[str, str], effort: Effort) -> bytes:
    return encode.encode(look.show(pixels), form, look.quality, text, effort)
