"""Frames to an animation: APNG, WebP or GIF, each without end. Same pixels, same bytes."""

import io
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.encode import LOSSLESS, WEBP_METHOD, describe, exif
from app.look import to_image
from app.provenance import XMP, mark_gif

PNG_LEVEL = 1
"""zlib level of APNGs: on the shipped model's pictures level 1 takes half the time of Pillow's default,
for a ninth more bytes."""

COLOURS = 256
"""Colours of a GIF."""

PALETTE_PIXELS = 1 << 18
"""Pixels of all frames that a GIF's colours are chosen by, about."""


def animate(
    frames: NDArray[np.uint8],
    form: Literal["apng", "webp", "gif"],
    frame_ms: int,
    quality: int,
    text: Mapping[str, str],
) -> bytes:
    """Encodes frames as an endless animation; a frame that is the one before it only makes that last longer.

    Args:
        frames: (N, H, W, C) uint8; C is 1, 3, or 4 with alpha, which a GIF has not.
        form: What to write.
        frame_ms: How long each frame is shown, in milliseconds; a GIF rounds it down to tens.
        quality: 1…100; of a WebP, which loses nothing at 100. Of no use to the others.
        text: What the file says of itself, in ASCII.
    """
    images = [to_image(frame) for frame in frames]
    bare = exif(text).removeprefix(b"Exif\0\0")  # a WebP's chunk has it without, and Pillow leaves it in
    options: dict[str, object]
    match form:
        case "apng":
            info = PngInfo()
            for name, value in text.items():
                info.add_text(name, value)
            info.add_itxt("XML:com.adobe.xmp", XMP.decode())
            options = {"compress_level": PNG_LEVEL, "pnginfo": info}
        case "webp" if quality == LOSSLESS:
            options = {"lossless": True, "method": 0, "exif": bare, "xmp": XMP}
        case "webp":
            options = {"quality": quality, "method": WEBP_METHOD, "exif": bare, "xmp": XMP}
        case "gif":
            images = _reduce(frames)
            options = {"comment": describe(text).encode(), "optimize": False}
    first, *rest = images
    buffer = io.BytesIO()
    kind = "PNG" if form == "apng" else form.upper()
    first.save(buffer, kind, save_all=True, append_images=rest, duration=frame_ms, loop=0, **options)
    return mark_gif(buffer.getvalue()) if form == "gif" else buffer.getvalue()


def _reduce(frames: NDArray[np.uint8]) -> list[Image.Image]:
    """Gives frames one palette, so that nothing flickers, and dithers, so that gradients have no bands."""
    step = math.ceil(math.sqrt(frames.size / frames.shape[-1] / PALETTE_PIXELS))
    sample = np.concatenate(list(frames[:, ::step, ::step]), axis=1)
    palette = to_image(sample).convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT)
    return [to_image(frame).convert("RGB").quantize(palette=palette) for frame in frames]
