"""Turns any folder or zip of pictures into equal squares of RGB: ``python -m training.prepare SRC DST``.

With ``SRC --check`` it only reports what is wrong with them, and advises.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from tqdm import tqdm

from models.contract import ModelSpec, SeedlingError
from training.cli import Parser, one_line, run_cli
from training.data import MIN_PICTURES
from training.doctor import Diagnosis, Skipped, counted, diagnose
from training.packed import write_packed
from training.pictures import WHITE, PictureError, picture_reasons
from training.sources import PictureFile, map_pictures, picture_files
from training.symptoms import Look, look

MAX_REPORTED = 20
"""Most skipped pictures that are named on the terminal; ``prepared.json`` names them all."""

SAMPLES = 64
"""Most pictures on the sheet of a check."""

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
    background: tuple[int, int, int] = (255, 255, 255),
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
    _check_options(resolution, workers)
    _check_target(source, target)
    with picture_files(source) as files:
        if not files:
            raise PrepareError(f"no pictures found in {source}")
        target.mkdir(parents=True, exist_ok=True)
        if packed:  # whatever is taken from a part of the file is to be like the whole
            random.Random(0).shuffle(files)
        encode = partial(_encode, resolution=resolution, background=background, packed=packed)
        results = tqdm(map_pictures(encode, files, workers), total=len(files), unit=" pictures", disable=None)
        names = [file.name for file in files]
        skipped = (
            _pack(target, names, results, resolution) if packed else list(_write(target, names, results))
        )
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
    _check_options(resolution, workers)
    _check_outside(source, sheet)
    with picture_files(source) as files:
        if not files:
            raise PrepareError(f"no pictures found in {source}")
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
    columns, side = math.ceil(math.sqrt(len(pictures))), len(pictures[0])
    sheet = Image.new("RGB", (columns * side, math.ceil(len(pictures) / columns) * side), "white")
    for k, pixels in enumerate(pictures):
        sheet.paste(Image.fromarray(pixels), (k % columns * side, k // columns * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "PNG")


def _check_options(resolution: int, workers: int | None) -> None:
    ModelSpec(img_resolution=resolution)  # refuses what no network could train on
    if workers is not None and workers < 1:
        raise PrepareError(f"workers must be at least 1, got {workers}")


def _check_outside(source: Path, file: Path | None) -> None:
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


def _write(
    target: Path, names: Sequence[str], results: Iterable[tuple[bytes, bytes] | PictureError]
) -> Iterator[Skipped]:
    first: dict[bytes, str] = {}
    for name, path, result in zip(names, _target_names(names), results, strict=True):
        if isinstance(result, PictureError):
            yield Skipped.unread(name, result)
            continue
        digest, png = result
        if digest in first:
            yield Skipped(name, "duplicate", f"the same picture as {first[digest]}")
            continue
        first[digest] = name
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(png)


def _pack(
    target: Path,
    names: Sequence[str],
    results: Iterable[tuple[bytes, bytes] | PictureError],
    resolution: int,
) -> list[Skipped]:
    first: dict[bytes, str] = {}
    skipped: list[Skipped] = []

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for name, result in zip(names, results, strict=True):
            if isinstance(result, PictureError):
                skipped.append(Skipped.unread(name, result))
            elif result[0] in first:
                skipped.append(Skipped(name, "duplicate", f"the same picture as {first[result[0]]}"))
            else:
                first[result[0]] = name
                yield np.frombuffer(result[1], np.uint8).reshape(resolution, resolution, 3)

    write_packed(pictures(), resolution, target)
    return sorted(skipped, key=lambda skip: skip.path)


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


def _color(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a colour such as #ffffff or white") from None
    return red, green, blue


def build_parser() -> Parser:
    """Returns the command line."""
    parser = Parser(prog="python -m training.prepare", description=__doc__)
    parser.add_argument(
        "source", type=Path, metavar="SRC", help="folder, at any depth, or zip; never touched"
    )
    parser.add_argument("target", type=Path, metavar="DST", nargs="?", help="new or empty folder")
    parser.add_argument("--resolution", type=int, default=128, metavar="PX", help="side in pixels (128)")
    parser.add_argument(
        "--background",
        type=_color,
        metavar="COLOR",
        default="#ffffff",
        help="behind the transparent (#ffffff)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads (one per processor)")
    parser.add_argument(
        "--packed", action="store_true", help="one file instead of PNGs: for more than fit into memory"
    )
    parser.add_argument("--check", action="store_true", help="report and advise; instead of DST")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="with --check: samples as training sees them"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --check: the whole report")
    return parser


def run_prepare(args: argparse.Namespace) -> None:
    """Prepares the pictures and prints the report."""
    report = prepare(
        args.source,
        args.target,
        resolution=args.resolution,
        background=args.background,
        workers=args.workers,
        packed=args.packed,
    )
    sys.stdout.write("\n".join(report.lines()) + f" → {args.target}\n")
    if not report.prepared:
        raise PrepareError(f"none of the {counted(report.found, 'picture')} could be used")


def run_check(args: argparse.Namespace) -> None:
    """Examines the pictures and prints what was found."""
    _check_outside(args.source, args.json)
    found = check(
        args.source,
        resolution=args.resolution,
        background=args.background,
        workers=args.workers,
        sheet=args.sheet,
    )
    sys.stdout.write("\n".join(found.lines()) + "\n")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    if found.usable < MIN_PICTURES:
        raise PrepareError(f"{counted(found.usable, 'picture')} can be read, training needs {MIN_PICTURES}")


def main() -> None:
    """Runs the command line."""
    parser = build_parser()
    args = parser.parse_intermixed_args()  # since Python 3.11 takes an optional DST only right after SRC
    if args.check and args.target:
        parser.error("--check writes no pictures: leave out DST")
    if not args.check and (args.sheet or args.json):
        parser.error("--sheet and --json go with --check")
    if not args.check and not args.target:
        parser.error("the following arguments are required: DST")
    run_check(args) if args.check else run_prepare(args)


if __name__ == "__main__":
    sys.exit(run_cli(main))
