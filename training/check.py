"""Examines every picture of a folder or zip as the trainer will see it, and writes nothing."""

import dataclasses
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from training.doctor import Diagnosis, Skipped, diagnose
from training.pictures import WHITE, PictureError, picture_reasons
from training.sheet import sheet_of
from training.sources import PictureFile, map_pictures
from training.squares import check_options, check_outside, some_pictures
from training.symptoms import Look, look

SAMPLES = 64
"""Most pictures on the sheet of a check."""


def check(
    source: Path,
    *,
    resolution: int = 128,
    background: tuple[int, int, int] = WHITE,
    workers: int | None = None,
    sheet: Path | None = None,
) -> Diagnosis:
    """Examines every picture of a source, and writes nothing but a sheet of samples, if asked.

    Args:
        source: Folder or zip; it is only read.
        resolution: Side of the squares that would be trained on, in pixels: a power of two, 8…512.
        background: RGB colour, 0…255, behind what is transparent.
        workers: Number of threads; by default, that of processors.
        sheet: PNG for up to ``SAMPLES`` pictures as the trainer will see them, spread evenly over the source.

    Returns:
        What was found.

    Raises:
        PrepareError: If the source has no pictures, or the sheet would be inside it.
        PictureError: If the source is neither a folder nor a zip.
        OSError: If the sheet cannot be written.
    """
    check_options(resolution, workers)
    check_outside(source, sheet)
    with some_pictures(source) as files:
        examine = partial(_examine, resolution=resolution, background=background)
        results = list(
            tqdm(map_pictures(examine, files, workers), total=len(files), unit=" pictures", disable=None)
        )
        seen = [
            (file, result) for file, result in zip(files, results, strict=True) if isinstance(result, Look)
        ]
        if sheet and seen:
            number = min(SAMPLES, len(seen))
            chosen = [seen[k * len(seen) // number][0] for k in range(number)]
            _save_sheet(map_pictures(lambda file: file.load(resolution, background), chosen, workers), sheet)
    skipped = [
        Skipped.unread(file.name, result)
        for file, result in zip(files, results, strict=True)
        if isinstance(result, PictureError)
    ]
    return diagnose(resolution, len(files), [(file.name, result) for file, result in seen], skipped)


def _examine(file: PictureFile, *, resolution: int, background: tuple[int, int, int]) -> Look:
    pixels = file.load(resolution, background)
    with picture_reasons(), file.open() as stream, Image.open(stream) as img:
        shorter, longer = sorted(img.size)
        transparent = img.has_transparency_data
    if transparent:  # often the alpha channel is full: does another background make a difference?
        red, green, blue = ((channel + 128) % 256 for channel in background)
        transparent = not np.array_equal(pixels, file.load(resolution, (red, green, blue)))
    return dataclasses.replace(look(pixels), sides=(shorter, longer), transparent=transparent)


def _save_sheet(results: Iterable[NDArray[np.uint8] | PictureError], path: Path) -> None:
    pictures = [result for result in results if not isinstance(result, PictureError)]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet_of(pictures, "white").save(path, "PNG")
