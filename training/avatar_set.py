"""The embedded data set as an array: avatars drawn once, in all processors, and kept in a file."""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.avatars import render_avatar

log = logging.getLogger(__name__)

VERSION = 1
"""Part of the cached file's name; to be raised when ``render_avatar`` draws the same seed differently."""

_DRAWN_MEANWHILE = 100  # avatars that one process draws while another starts


def load_avatars(count: int, resolution: int, cache: Path, *, progress: bool = True) -> NDArray[np.uint8]:
    """Returns the avatars of seeds 0…count-1, from the cache if they were drawn before.

    A cached file that is damaged, or no longer what ``render_avatar`` draws, is replaced. One that
    cannot be written costs a warning, and the time to draw again.

    Args:
        count: Number of avatars, at least 1.
        resolution: Side, in pixels.
        cache: Folder for the file; made if need be.
        progress: Whether to show a bar, where there is a terminal to show it on.

    Returns:
        (count, resolution, resolution, 3) uint8 in 0…255, RGB.
    """
    path = cache / f"avatars-v{VERSION}-{resolution}px-{count}.npy"
    if path.exists():
        try:
            return _read(path, count, resolution)
        except (OSError, ValueError) as error:
            log.warning("%s is of no use, drawing again: %s", path, error)
    picture = np.dtype((np.uint8, (resolution, resolution, 3)))
    rows = tqdm(
        _draw(count, resolution), "drawing", count, unit=" avatars", disable=None if progress else True
    )
    pixels: NDArray[np.uint8] = np.fromiter(rows, picture, count)
    try:
        _write(path, pixels)
    except OSError as error:
        log.warning("cannot keep the avatars for the next time: %s", error)
    return pixels


def _avatar(resolution: int, seed: int) -> NDArray[np.uint8]:
    return np.asarray(render_avatar(seed, resolution))


def _draw(count: int, resolution: int) -> Iterator[NDArray[np.uint8]]:
    draw = partial(_avatar, resolution)
    workers = min(os.cpu_count() or 1, count // _DRAWN_MEANWHILE)
    if workers < 2:
        yield from map(draw, range(count))
        return
    # Processes, since resvg holds Python's lock; spawned, since a fork may copy another thread's locks.
    # Ctrl-C is for the parent, which then stops them.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, ignore) as pool:
        yield from pool.map(draw, range(count), chunksize=16)


def _read(path: Path, count: int, resolution: int) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        pixels: NDArray[np.uint8] = np.lib.format.read_array(file, allow_pickle=False)
    if pixels.shape != (count, resolution, resolution, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"it holds {pixels.dtype} of shape {pixels.shape}")
    if not all(np.array_equal(pixels[seed], _avatar(resolution, seed)) for seed in (0, count - 1)):
        raise ValueError("it was drawn differently")
    return pixels


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # replaced in one step, so never seen half
        np.save(Path(folder, path.name), pixels)
        Path(folder, path.name).replace(path)
