"""What the trainer trains on: all pictures of a data set in memory, as one array."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models.contract import SeedlingError
from training.avatar_set import load_avatars
from training.cli import one_line
from training.packed import PackedError, is_packed, open_packed
from training.pictures import PictureError, fit_picture, picture_reasons
from training.sources import map_pictures, picture_files

log = logging.getLogger(__name__)

MIN_PICTURES = 16
"""Fewest pictures to train on: fewer would only be learnt by heart."""

AVATARS = "avatars"
AVATARS_COUNT = 10_000
AVATARS_LICENSE = (
    "python-avatars (MIT), after Avataaars by Pablo Stanley (free for personal and commercial use)"
)

DATASETS: dict[str, tuple[dict[str, Any], ...]] = {
    "CelebA": ({"split": "all", "target_type": []},),
    "CIFAR10": ({"train": True},),
    "CIFAR100": ({"train": True},),
    "EuroSAT": ({},),
    "FashionMNIST": ({"train": True},),
    "FGVCAircraft": ({"split": "trainval"}, {"split": "test"}),
    "Flowers102": ({"split": "train"}, {"split": "val"}, {"split": "test"}),
    "Food101": ({"split": "train"},),
    "Imagenette": ({"split": "train", "size": "320px"},),
    "MNIST": ({"train": True},),
    "OxfordIIITPet": ({"split": "trainval"}, {"split": "test"}),
    "STL10": ({"split": "train+unlabeled"},),
    "SVHN": ({"split": "train"},),
}
"""Classes of ``torchvision.datasets``, with the arguments of each part that is used."""

T = TypeVar("T")
Pixels = NDArray[np.uint8]


class DataError(SeedlingError):
    """Training data that does not exist, cannot be had, or is too little."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureSet:
    """Pictures to train on."""

    name: str
    """Short name: of the folder, the zip or the data set."""
    pixels: Pixels
    """(N, H, W, 3) in 0…255, RGB; H = W = resolution."""
    skipped: int
    """Number of pictures that could not be read."""
    license: str | None
    """Licence of the pictures, where known."""
    fingerprint: str
    """SHA-256 of ``pixels``, as hexadecimal: whether a resumed run sees the same pictures."""


def default_cache() -> Path:
    """Returns ``$XDG_CACHE_HOME/seedling``, where the variable is ``~/.cache`` unless set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedling"


def load_pictures(
    source: str,
    *,
    resolution: int = 128,
    cache: Path | None = None,
    count: int | None = None,
    progress: bool = True,
) -> PictureSet:
    """Loads a data set into memory, 48 KiB a picture at 128×128, or maps the one file of a prepared one.

    Args:
        source: A folder or a zip, prepared or not; or ``avatars``; or a name in ``DATASETS``. Names are taken
            in any case, and go before a folder of that name, which can be written ``./name``.
        resolution: Side of the pictures, in pixels.
        cache: Folder for drawn and downloaded pictures; ``default_cache()`` unless given.
        count: Most pictures to take, spread evenly over the source; all unless given, or 10,000 avatars.
        progress: Whether to show a bar, where there is a terminal to show it on.

    Returns:
        The pictures, in an order that depends on the source alone.

    Raises:
        DataError: If the source is unknown or cannot be read, or gives under ``MIN_PICTURES`` pictures.
    """
    if count is not None and count < MIN_PICTURES:
        raise DataError(f"the count of pictures must be at least {MIN_PICTURES}, got {count}")
    cache = default_cache() if cache is None else cache
    known = {name.casefold(): name for name in DATASETS}
    name, license_, failed = known.get(source.casefold(), source), None, list[str]()
    if source.casefold() == AVATARS:
        name, license_ = AVATARS, AVATARS_LICENSE
        pixels = load_avatars(count or AVATARS_COUNT, resolution, cache, progress=progress)
    elif name in DATASETS:
        pixels, failed = _load_torchvision(name, count, resolution, cache, progress=progress)
    elif is_packed(Path(source)):
        return _load_packed(Path(source), count, resolution)
    else:
        path = Path(source)
        name = path.resolve().name if path.is_dir() else path.stem
        pixels, failed = _load_files(path, count, resolution, progress=progress)
    _check_enough(source, len(pixels), failed)
    fingerprint = hashlib.sha256(pixels.data).hexdigest()
    return PictureSet(
        name=name, pixels=pixels, skipped=len(failed), license=license_, fingerprint=fingerprint
    )


def _check_enough(source: str, readable: int, failed: Sequence[str]) -> None:
    if failed:
        log.warning("%s: %d pictures skipped, the first is %s", source, len(failed), one_line(failed[0]))
    if readable < MIN_PICTURES:
        noun = "picture" if readable == 1 else "pictures"
        raise DataError(f"found {readable} readable {noun} in {source}, need at least {MIN_PICTURES}")


def _load_files(
    source: Path, count: int | None, resolution: int, *, progress: bool
) -> tuple[Pixels, list[str]]:
    if not source.exists():
        names = ", ".join(DATASETS)
        raise DataError(f"there is no {source}: give a folder, a zip, {AVATARS}, or one of {names}")
    try:
        with picture_files(source) as found:
            files = _spread(found, count)
            pixels, errors = _gather(lambda file: file.load(resolution), files, resolution, progress=progress)
    except PictureError as error:
        raise DataError(str(error)) from error
    return pixels, [f"{files[k].name}: {error}" for k, error in errors.items()]


def _load_packed(folder: Path, count: int | None, resolution: int) -> PictureSet:
    """Maps prepared pictures; the first ones of the file are as good as any, for it is in a random order."""
    pixels: Pixels
    try:
        pixels, fingerprint = open_packed(folder, resolution)
    except PackedError as error:
        raise DataError(str(error)) from error
    if count is not None and count < len(pixels):
        pixels, fingerprint = pixels[:count], hashlib.sha256(f"{fingerprint} {count}".encode()).hexdigest()
    _check_enough(str(folder), len(pixels), [])
    return PictureSet(
        name=folder.resolve().name, pixels=pixels, skipped=0, license=None, fingerprint=fingerprint
    )


def _load_torchvision(
    name: str, count: int | None, resolution: int, cache: Path, *, progress: bool
) -> tuple[Pixels, list[str]]:
    from torchvision import datasets  # noqa: PLC0415 - seconds that only this branch should cost

    root = cache / "torchvision"
    try:
        root.mkdir(parents=True, exist_ok=True)
        parts = [getattr(datasets, name)(root, download=True, **arguments) for arguments in DATASETS[name]]
    except ImportError as error:
        raise DataError(f"the data set {name} needs a package that is not installed: {error}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"cannot get the data set {name} into {root}, the first time needs the net: {error}"
        ) from error

    def read(item: tuple[Any, int]) -> Pixels:
        part, index = item
        with picture_reasons():
            return fit_picture(part[index][0], resolution=resolution)

    items = _spread([(part, index) for part in parts for index in range(len(part))], count)
    pixels, errors = _gather(read, items, resolution, progress=progress)
    return pixels, [f"picture {items[k][1]}: {error}" for k, error in errors.items()]


def _spread(items: Sequence[T], count: int | None) -> Sequence[T]:
    if count is None or count >= len(items):
        return items
    return [items[k * len(items) // count] for k in range(count)]


def _gather(
    read: Callable[[T], Pixels], items: Sequence[T], resolution: int, *, progress: bool
) -> tuple[Pixels, dict[int, PictureError]]:
    try:
        pixels = np.empty((len(items), resolution, resolution, 3), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"{len(items)} pictures of {resolution}×{resolution} pixels do not fit into memory: make one "
            "file of them with python -m training.prepare --packed, or take fewer with --count"
        ) from error
    errors: dict[int, PictureError] = {}
    rows = tqdm(
        map_pictures(read, items), "reading", len(items), unit=" pictures", disable=None if progress else True
    )
    for k, row in enumerate(rows):
        if isinstance(row, PictureError):
            errors[k] = row
        else:
            pixels[k - len(errors)] = row
    return pixels[: len(items) - len(errors)], errors
