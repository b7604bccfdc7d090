"""The embedded data set: cartoon faces drawn by ``python-avatars`` and rendered by ``resvg``.

Every picture is a function of its seed alone, so the set is endless and the same everywhere.
"""

import random
from io import BytesIO
from typing import Any

import python_avatars as pa
import resvg_py
from PIL import Image

BACKGROUNDS = ("#65C9FF", "#FFD8A8", "#B2F2BB", "#FFC9DE", "#D0BFFF", "#FFF3BF", "#E9ECEF", "#99E9F2")
"""Soft plain colours: a background that a small generator can learn and a page can show."""

VIEW_BOX = (2, 8, 260, 260)
"""The square of the 264×280 drawing that is kept: x, y, width, height. Holds every head and hat."""

# Text needs a font, and fonts differ from machine to machine.
_GRAPHICS = [g for g in pa.ClothingGraphic if g.name not in {"NONE", "CUSTOM_TEXT"}]
_MOUTHS = [m for m in pa.MouthType if m.name != "VOMIT"]


def _draw(rng: random.Random) -> str:
    """Returns one random face as SVG text."""

    def pick(options: Any) -> Any:  # noqa: ANN401 - python-avatars has no types
        return rng.choice(list(options))

    hair_color = pick(pa.HairColor)
    bald = pa.FacialHairType.NONE
    avatar: Any = pa.Avatar(
        style=pa.AvatarStyle.TRANSPARENT,
        top=pick(pa.HairType) if rng.random() < 0.85 else pick(pa.HatType),
        hat_color=pick(pa.ClothingColor),
        eyebrows=pick(pa.EyebrowType),
        eyes=pick(pa.EyeType),
        nose=pick(pa.NoseType),
        mouth=pick(_MOUTHS),
        facial_hair=bald if rng.random() < 0.7 else pick(pa.FacialHairType),
        skin_color=pick(pa.SkinColor),
        hair_color=hair_color,
        facial_hair_color=hair_color,
        accessory=pa.AccessoryType.NONE if rng.random() < 0.6 else pick(pa.AccessoryType),
        clothing=pick(pa.ClothingType),
        clothing_color=pick(pa.ClothingColor),
        shirt_graphic=pick(_GRAPHICS),
    )
    svg: str = avatar.render()
    return svg


def render_avatar(seed: int, resolution: int = 128) -> Image.Image:
    """Draws the cartoon face of a seed.

    Args:
        seed: Any integer ≥ 0; the same seed gives the same pixels.
        resolution: Side of the square picture, in pixels.

    Returns:
        RGB picture of ``resolution`` × ``resolution``.
    """
    rng = random.Random(seed)
    background = rng.choice(BACKGROUNDS)
    svg = _draw(rng)
    x, y, width, height = VIEW_BOX
    svg = svg.replace('viewBox="0 0 264 280"', f'viewBox="{x} {y} {width} {height}"', 1)
    svg = svg.replace('width="264px"', f'width="{width}px"', 1).replace(
        'height="280px"', f'height="{height}px"', 1
    )
    png = resvg_py.svg_to_bytes(
        svg_string=svg, background=background, width=resolution, height=resolution, skip_system_fonts=True
    )
    with Image.open(BytesIO(png)) as img:
        return img.convert("RGB")
