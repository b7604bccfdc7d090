"""A PNG that somebody sent: what it says of itself, and its pixels. Nothing of it is believed.

Its chunks are read without decoding. Who decodes it looks at its width and height first, and only the
chunks that hold pixels are decoded: nothing in it can unfold to more than its picture.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.contract import SeedlingError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")

TEXT_MAX = 4096
"""Longest entry of text that is read, in bytes; ours are far shorter."""


class SentPngError(SeedlingError, ValueError):
    """Something that is not a whole PNG."""


@dataclass(frozen=True, slots=True)
class SentPng:
    """A PNG, taken apart."""

    width: int
    height: int
    text: dict[str, str]
    """What it says of itself in ``tEXt``; of a keyword that is there twice, the first."""
    body: bytes
    """The file with nothing in it but its pixels."""


def take_apart(content: bytes) -> SentPng:
    """Reads a file's chunks, and decodes nothing.

    Raises:
        SentPngError: If it is not a PNG, or not whole.
    """
    if not content.startswith(SIGNATURE):
        raise SentPngError(f"expected a PNG, got {len(content)} bytes that do not begin like one")
    text: dict[str, str] = {}
    kept = [SIGNATURE]
    place, kind, head = len(SIGNATURE), b"", b""
    while kind != b"IEND":
        kind, data, end = _chunk(content, place)
        if (kind == b"IHDR") != (place == len(SIGNATURE)):
            raise SentPngError("expected a PNG that begins with its one head (IHDR), got another order")
        if kind == b"IHDR":
            head = data
        elif kind == b"tEXt" and len(data) <= TEXT_MAX:
            keyword, _, value = data.decode("latin-1").partition("\0")
            text.setdefault(keyword, value)
        if kind in OF_PIXELS:
            kept.append(content[place:end])
        place = end
    if len(head) != 13:
        raise SentPngError(f"expected a PNG whose head (IHDR) has 13 bytes, got {len(head)}")
    width, height = struct.unpack_from(">II", head)
    return SentPng(width, height, text, b"".join(kept))


def _chunk(content: bytes, place: int) -> tuple[bytes, bytes, int]:
    """Returns the kind and the data of the chunk at a place, and where the next one is."""
    if place + 12 > len(content):
        raise SentPngError(f"expected a whole PNG, got one that breaks off after {len(content)} bytes")
    length, kind = struct.unpack_from(">I4s", content, place)
    end = place + 12 + length
    if end > len(content):
        raise SentPngError(f"expected a whole PNG, got one that breaks off after {len(content)} bytes")
    data = content[place + 8 : end - 4]
    if zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
        raise SentPngError(f"expected a whole PNG, got one whose bytes from {place} to {end} are damaged")
    return kind, data, end


def decode(png: SentPng) -> NDArray[np.uint8]:
    """Returns a picture's pixels, (H, W, 4) uint8, whatever it stores them as; 16 bits are cut to 8.

    Raises:
        SentPngError: If they cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(png.body), formats=["PNG"]) as img:
            if not img.mode.startswith("I"):
                return np.asarray(img.convert("RGBA"))
            grey = np.asarray(img.convert("I")) >> 8  # 16 bits, which Pillow would clip
            return np.asarray(Image.fromarray(grey.astype(np.uint8)).convert("RGBA"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SentPngError(f"expected a PNG, got one whose pixels cannot be read: {error}") from None
