"""Writes the pictures of any folder or zip as equal squares of RGB, each once."""

import dataclasses
import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from models.contract import ModelSpec, SeedlingError
from training.cli import one_line
from training.doctor import Skipped, counted
from training.packed import write_packed
from training.pictures import WHITE, PictureError
from training.sources import PictureFile, map_pictures, picture_files

MAX_REPORTED = 20
"""Most skipped pictures that are named on the terminal; ``prepared.json`` names them all."""

REPORT_NAME = "prepared.json"
"""File beside the prepared pictures that says how they were made."""


class PrepareError(SeedlingError):
    """A source or a destination that cannot be used."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What came of every picture of a source."""

    resolution: int
    """Side of the prepared pictures, in pixels."""
    background: str
    """Colour behind what was transparent, as ``#rrggbb``."""
    found: int
    """Number of pictures in the source."""
    prepared: int
    """Number of pictures written."""
    skipped: list[Skipped]
    """The others, in the order of their names."""

    def lines(self) -> Iterator[str]:
        """Yields the skipped pictures, at most ``MAX_REPORTED``, and then the counts, one line each."""
        yield from (one_line(f"{skip.path}: {skip.reason}") for skip in self.skipped[:MAX_REPORTED])
        if len(self.skipped) > MAX_REPORTED:
            yield f"and {len(self.skipped) - MAX_REPORTED:,} more, see {REPORT_NAME}"
        kinds = Counter(skip.kind for skip in self.skipped)
        fates = {"prepared": self.prepared} | {kind: kinds[kind] for kind in ("unreadable", "too small")}
        counts = ", ".join(f"{number:,} {fate}" for fate, number in fates.items())
        yield f"{counted(self.found, 'picture')} found: {counts}, {counted(kinds['duplicate'], 'duplicate')}"


def prepare(  # noqa: PLR0913 - each is a flag of the command
    source: Path,
    target: Path,
    *,
    resolution: int = 128,
    background: tuple[int, int, int] = WHITE,
    workers: int | None = None,
    packed: bool = False,
) -> Report:
    """Writes every readable picture of a source, once, as a square PNG under the same relative name.

    Args:
        source: Folder or zip; it is only read.
        target: Folder for the pictures and ``prepared.json``; must be empty or not exist.
        resolution: Side of the squares, in pixels: a power of two, 8…512.
        background: RGB colour, 0…255, behind what is transparent.
        workers: Number of threads; by default, that of processors.
        packed: Whether to write all of them into one file instead, in a random order: ``training.packed``.

    Returns:
        The counts, and what was skipped and why.

    Raises:
        PrepareError: If the target is in use or overlaps the source, or the source has no pictures.
        PictureError: If the source is neither a folder nor a zip.
        OSError: If the target cannot be written.
    """
    check_options(resolution, workers)
    _check_target(source, target)
    with some_pictures(source) as files:
        target.mkdir(parents=True, exist_ok=True)
        if packed:  # whatever is taken from a part of the file is to be like the whole
            random.Random(0).shuffle(files)
        encode = partial(_encode, resolution=resolution, background=background, packed=packed)
        results = tqdm(map_pictures(encode, files, workers), total=len(files), unit=" pictures", disable=None)
        names, skipped = [file.name for file in files], list[Skipped]()
        pictures = _once(names, results, skipped)
        if packed:
            shape = (resolution, resolution, 3)
            write_packed(
                (np.frombuffer(raw, np.uint8).reshape(shape) for _, raw in pictures), resolution, target
            )
            skipped.sort(key=lambda skip: skip.path)
        else:
            _write(target, list(_target_names(names)), pictures)
    report = Report(
        resolution=resolution,
        background="#{:02x}{:02x}{:02x}".format(*background),
        found=len(files),
        prepared=len(files) - len(skipped),
        skipped=skipped,
    )
    text = json.dumps(dataclasses.asdict(report), indent=2)
    (target / REPORT_NAME).write_text(text + "\n", encoding="utf-8")
    return report


@contextmanager
def some_pictures(source: Path) -> Iterator[list[PictureFile]]:
    """Opens the pictures of a folder or a zip.

    Raises:
        PrepareError: If there are none.
        PictureError: If the source is neither a folder nor a zip.
    """
    with picture_files(source) as files:
        if not files:
            raise PrepareError(f"no pictures found in {source}")
        yield files


def check_options(resolution: int, workers: int | None) -> None:
    """Refuses what no network could train on, and less than a thread.

    Raises:
        SeedlingError: If a value is out of range.
    """
    ModelSpec(img_resolution=resolution)
    if workers is not None and workers < 1:
        raise PrepareError(f"workers must be at least 1, got {workers}")


def check_outside(source: Path, file: Path | None) -> None:
    """Refuses to write a file into a source.

    Raises:
        PrepareError: If it would be inside.
    """
    if file and file.resolve().is_relative_to(source.resolve()):
        raise PrepareError(f"{file} is inside {source}, which is only read: choose another place")


def _check_target(source: Path, target: Path) -> None:
    real_source, real_target = source.resolve(), target.resolve()
    if real_target.is_relative_to(real_source) or real_source.is_relative_to(real_target):
        raise PrepareError(f"{target} and {source} overlap: choose a folder that neither contains the other")
    if target.exists() and not target.is_dir():
        raise PrepareError(f"{target} exists and is not a folder")
    if target.is_dir() and any(target.iterdir()):
        raise PrepareError(f"{target} is not empty: choose another folder, or empty it first")


def _encode(
    file: PictureFile, *, resolution: int, background: tuple[int, int, int], packed: bool
) -> tuple[bytes, bytes]:
    """Returns the SHA-256 of the prepared pixels, and the picture as PNG, or as it is."""
    pixels = file.load(resolution, background)
    if packed:
        return hashlib.sha256(pixels.data).digest(), pixels.tobytes()
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", compress_level=1)  # twice as fast as 6, for 6 % more bytes
    return hashlib.sha256(pixels.data).digest(), png.getvalue()


def _once(
    names: Sequence[str], results: Iterable[tuple[bytes, bytes] | PictureError], skipped: list[Skipped]
) -> Iterator[tuple[int, bytes]]:
    """Yields each picture once, with its place among the names; what is skipped is added to the list."""
    first: dict[bytes, str] = {}
    for place, (name, result) in enumerate(zip(names, results, strict=True)):
        if isinstance(result, PictureError):
            skipped.append(Skipped.unread(name, result))
        elif result[0] in first:
            skipped.append(Skipped(name, "duplicate", f"the same picture as {first[result[0]]}"))
        else:
            first[result[0]] = name
            yield place, result[1]


def _write(target: Path, paths: Sequence[str], pictures: Iterable[tuple[int, bytes]]) -> None:
    for place, png in pictures:
        file = target / paths[place]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)


def _target_names(names: Sequence[str]) -> Iterator[str]:
    # Compared without case, for the file systems that do so; a folder may carry a picture's name, too.
    taken = {str(parent).casefold() for name in names for parent in PurePosixPath(name).parents}
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        path, number = f"{stem}.png", 1
        while path.casefold() in taken:
            number += 1
            path = f"{stem}_{number}.png"
        taken.add(path.casefold())
        yield path
