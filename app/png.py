"""Pixels to PNG, fast for answers or small for storage: the same bytes on every processor."""

import re
import struct
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from models.contract import SeedlingError

Effort = Literal["fast", "small"]
"""How hard to press: ``fast`` for answers, ``small`` for storage."""

EFFORTS: tuple[Effort, ...] = get_args(Effort)

Bytes = NDArray[np.uint8]

COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's numbers for grey, RGB and RGBA, by number of channels."""

UP = 2
"""PNG's number of the filter that subtracts the row above."""

RUNS_FROM_ZEROS = 0.25
"""Share of zeros among filtered bytes from which runs are worth looking for."""

MEM_LEVEL = 9
"""zlib's largest blocks: one table of codes serves 32 thousand bytes."""

BAND = 64
"""Rows that are filtered at once where all filters are tried: the temporaries stay in the cache."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_HEAD = b"XML:com.adobe.xmp" + bytes(5)
"""Neither compressed, nor in a language, nor translated."""

_KEYWORD = re.compile(r"(?! )(?!.*  )[\x20-\x7e\xa1-\xff]{1,79}(?<! )")
_TEXT = re.compile(r"[\n\x20-\x7e\xa0-\xff]*")


class PngError(SeedlingError, ValueError):
    """Pixels or metadata that no PNG can hold."""


def png(
    pixels: Bytes, text: Mapping[str, str] | None = None, effort: Effort = "fast", xmp: bytes = b""
) -> bytes:
    r"""Encodes a picture; safe to call from many threads, which run at the same time.

    Args:
        pixels: (H, W, C) uint8 of any H and W; C is 1 (grey), 3 (RGB) or 4 (RGBA, alpha not premultiplied).
        text: ``tEXt`` metadata by keyword, in the order to be written. A keyword is 1…79 printable Latin-1
            characters without spaces at its ends or two in a row; a value is printable Latin-1, lines end in
            ``\n``.
        effort: ``fast``; or ``small``, which tries many ways, takes many times as long, and keeps the
            smallest, so that it is never larger than ``fast``.
        xmp: An XMP packet in UTF-8; none if empty.

    Returns:
        The file.

    Raises:
        PngError: If the shape or the type of ``pixels``, the text or the effort is not one of these.

    Source: Portable Network Graphics Specification (W3C, Third Edition), sections 5, 9 and 11.3.3.
    """
    if effort not in EFFORTS:
        raise PngError(f"effort must be one of {', '.join(EFFORTS)}, got {effort!r}")
    height, width, channels = _shape(pixels)
    rows = pixels.reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    texts = [_chunk(b"tEXt", _entry(keyword, value)) for keyword, value in (text or {}).items()]
    if xmp:
        texts.append(_chunk(b"iTXt", _XMP_HEAD + xmp))
    stream = _fast(rows) if effort == "fast" else _small(rows, channels)
    return b"".join(
        [_SIGNATURE, _chunk(b"IHDR", header), *texts, _chunk(b"IDAT", stream), _chunk(b"IEND", b"")]
    )


def _shape(pixels: Bytes) -> tuple[int, int, int]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in COLOUR_TYPES or not pixels.size:
        raise PngError(
            f"pixels must be (H, W, C) uint8 with H and W at least 1 and C 1, 3 or 4, "
            f"got {pixels.shape} {pixels.dtype}"
        )
    height, width, channels = pixels.shape
    return height, width, channels


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib_ng.crc32(content, zlib_ng.crc32(kind))
    return b"".join([len(content).to_bytes(4, "big"), kind, content, crc.to_bytes(4, "big")])


def _entry(keyword: str, value: str) -> bytes:
    if not _KEYWORD.fullmatch(keyword):
        raise PngError(
            "a tEXt keyword must be 1…79 printable Latin-1 characters, without spaces at its ends or two "
            f"in a row, got {keyword!r}"
        )
    if not _TEXT.fullmatch(value):
        raise PngError(f"the tEXt value of {keyword!r} must be printable Latin-1 text, got {value!r}")
    return b"\0".join([keyword.encode("latin-1"), value.encode("latin-1")])


# --- Compression ---------------------------------------------------------------------------------
# Neither of the strategies that `fast` takes hashes anything: what comes out is what the algorithm
# says, whatever the processor, the release or the library that runs it.


def _compress(lines: Bytes, level: int, strategy: int) -> bytes:
    compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, zlib_ng.MAX_WBITS, MEM_LEVEL, strategy)
    return b"".join([compressor.compress(lines), compressor.flush()])


def _fast(rows: Bytes) -> bytes:
    """Takes the row above from each, then codes by frequency, with runs where there are many zeros."""
    lines = _up(rows)
    zeros = lines.size - np.count_nonzero(lines)
    runs = zeros >= RUNS_FROM_ZEROS * lines.size
    return _compress(lines, 1, zlib_ng.Z_RLE if runs else zlib_ng.Z_HUFFMAN_ONLY)


def _small(rows: Bytes, channels: int) -> bytes:
    """Returns the smallest stream that any filtering and strategy gives; among equals, the first."""
    strategies = (zlib_ng.Z_DEFAULT_STRATEGY, zlib_ng.Z_FILTERED, zlib_ng.Z_RLE, zlib_ng.Z_HUFFMAN_ONLY)
    streams = (
        _compress(lines, 9, strategy)
        for lines in (_unfiltered(rows), _up(rows), _adaptive(rows, channels))
        for strategy in strategies
    )
    return min(streams, key=len)


# --- Filters -------------------------------------------------------------------------------------
# A line is a row behind one byte that names its filter: (H, W·C) → (H, 1 + W·C), differences modulo 256.


def _unfiltered(rows: Bytes) -> Bytes:
    return np.pad(rows, ((0, 0), (1, 0)))


def _up(rows: Bytes) -> Bytes:
    lines = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    lines[:, 0] = UP
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    return lines


def _adaptive(rows: Bytes, channels: int) -> Bytes:
    """Gives each row the filter whose differences, as signed numbers, have the smallest sum of sizes."""
    lines = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    padded = np.pad(rows, ((1, 0), (channels, 0)))
    for start in range(0, len(rows), BAND):
        differences = _differences(padded[start : start + BAND + 1].astype(np.int16), channels)
        costs = np.minimum(differences, -differences).sum(axis=2, dtype=np.int64)  # |d| of a signed byte
        best = costs.argmin(axis=0)
        band = lines[start : start + BAND]
        band[:, 0] = best
        band[:, 1:] = differences[best, np.arange(len(best))]
    return lines


def _differences(padded: NDArray[np.int16], channels: int) -> Bytes:
    """Applies PNG's five filters: rows under the one above, behind a pixel of zeros → (5, H, W·C)."""
    here, left = padded[1:, channels:], padded[1:, :-channels]
    above, corner = padded[:-1, channels:], padded[:-1, :-channels]
    to_left, to_above, to_corner = abs(above - corner), abs(left - corner), abs(left + above - 2 * corner)
    nearer = np.where(to_above <= to_corner, above, corner)
    paeth = np.where((to_left <= to_above) & (to_left <= to_corner), left, nearer)
    predictions = np.stack([np.zeros_like(here), left, above, (left + above) >> 1, paeth])
    differences: Bytes = (here - predictions).astype(np.uint8)
    return differences
