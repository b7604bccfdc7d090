"""Prepared pictures in one file, ``pictures.npy``, read where they lie: for more than fit into memory.

A numpy array of uint8, which any program can map. Pictures are picked at random from all of it, in the order
of a run from memory; the operating system keeps in memory what fits.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.contract import SeedlingError

Mapped = np.memmap[tuple[int, ...], np.dtype[np.uint8]]

PIXELS_FILE = "pictures.npy"
"""(N, H, W, 3) uint8, in numpy's own format, version 1."""

DESCRIPTION_FILE = "pictures.json"
"""Written last: how many pictures there are, and the SHA-256 of their pixels."""

READERS = 8
"""Pictures that are read at once: a disk answers many questions sooner than one after another."""


class PackedError(SeedlingError):
    """A file of pictures that is missing, unfinished or of another shape."""


def write_packed(pictures: Iterable[NDArray[np.uint8]], resolution: int, folder: Path) -> int:
    """Writes pictures one after another, never holding more than one.

    Args:
        pictures: (resolution, resolution, 3) uint8 each.
        resolution: Side, in pixels.
        folder: Where to; it exists.

    Returns:
        How many there were.
    """
    digest, count = hashlib.sha256(), 0
    with (folder / PIXELS_FILE).open("wb") as file:
        _write_header(file, 0, resolution)
        for pixels in pictures:
            data = np.ascontiguousarray(pixels).data
            file.write(data)
            digest.update(data)
            count += 1
        file.seek(0)
        _write_header(file, count, resolution)  # of the same length: numpy leaves room for it to grow
        file.flush()
        os.fsync(file.fileno())
    description = {"pictures": count, "resolution": resolution, "sha256": digest.hexdigest()}
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return count


def _write_header(file: BinaryIO, count: int, resolution: int) -> None:
    shape = (count, resolution, resolution, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def is_packed(source: Path) -> bool:
    """Returns whether a folder holds pictures in one file; one that may not be looked into holds none."""
    try:
        return (source / PIXELS_FILE).is_file()
    except PermissionError:
        return False


def open_packed(folder: Path, resolution: int) -> tuple[Mapped, str]:
    """Maps the pictures of a folder.

    Args:
        folder: Where ``write_packed`` wrote them.
        resolution: Side that is wanted, in pixels.

    Returns:
        (N, resolution, resolution, 3) uint8, not read yet; and the SHA-256 that was noted when it was
        written, which is not computed again.

    Raises:
        PackedError: If the file is unfinished or of another resolution.
    """
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        pixels = np.load(folder / PIXELS_FILE, mmap_mode="r", allow_pickle=False)
        wanted = (description["pictures"], resolution, resolution, 3)
        sha256 = str(description["sha256"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PackedError(f"{folder / PIXELS_FILE} cannot be read, prepare it again: {error}") from error
    if pixels.shape != wanted or pixels.dtype != np.uint8:
        raise PackedError(
            f"{folder / PIXELS_FILE} holds {pixels.dtype} of shape {pixels.shape}, expected uint8 of {wanted}"
        )
    return pixels, sha256


class RowReader:
    """Reads rows of a mapped array at random, several at once, past the map.

    A fault of a map stops the thread that has Python's lock, and asks for one page after another; a read
    asks for a whole picture, and lets others work.

    Args:
        pixels: As ``open_packed`` gives it.
    """

    def __init__(self, pixels: Mapped) -> None:
        assert pixels.filename is not None
        self._file = os.open(pixels.filename, os.O_RDONLY)
        self._offset = pixels.offset
        self._row = pixels[0].nbytes
        self._pool = ThreadPoolExecutor(READERS, "read-pictures")
        first = np.empty_like(pixels[0])
        self._read(0, first)
        assert np.array_equal(first, pixels[0]), "rows are counted from the start of the file"

    def take(self, picks: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Reads the rows ``picks`` into ``out``: (n,) → (n, H, W, C).

        Raises:
            PackedError: If the file has become shorter.
        """
        shares = (slice(k, None, READERS) for k in range(READERS))
        for _ in self._pool.map(lambda share: self._read_rows(picks[share].tolist(), out[share]), shares):
            pass

    def _read_rows(self, picks: list[int], rows: NDArray[np.uint8]) -> None:
        for pick, row in zip(picks, rows, strict=True):
            self._read(pick, row)

    def _read(self, pick: int, row: NDArray[np.uint8]) -> None:
        found = os.preadv(self._file, [row.data], self._offset + pick * self._row)
        if found != self._row:
            raise PackedError(f"{PIXELS_FILE} ends within picture {pick}: it has been changed")

    def __del__(self) -> None:
        os.close(self._file)
