"""Batches of pictures a second by where they lie: ``python -m bench.data [--help]``.

From memory, from one file of pixels read at random (``training.packed``), and from WebDataset's shards of
JPEG, which are read in order, decoded in other processes and mixed in a buffer. The system has a file in its
memory, or, where it says "forgotten", was told to drop it. All take turns in one run; nothing is trained.
"""

import argparse
import importlib.util
import io
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.report import machine, number, table, write_json
from training.cli import Parser, run_cli
from training.distributed import World
from training.feed import ReadAhead, Resident
from training.held_out import fresh_avatars
from training.packed import PIXELS_FILE, open_packed, write_packed

DRAWN = 64
"""Different pictures; the others are their repetitions."""

QUALITY = 95
"""Of the JPEG files in shards."""

SHARD = 1000
"""Pictures in a shard, and in the buffer that mixes them."""

CPU = torch.device("cpu")

Batches = Callable[[], Iterator[Any]]


def feed_batches(kind: type[Resident] | type[ReadAhead], pixels: NDArray[np.uint8], size: int) -> Batches:
    """Returns a way to begin a run's batches, without an end."""

    def batches() -> Iterator[Any]:
        feed = kind(pixels, size, 0, CPU, World())
        step = 0
        while True:
            yield feed.batch(step)
            step += 1

    return batches


def write_shards(pixels: NDArray[np.uint8], folder: Path) -> list[Path]:
    """Writes pictures as JPEG into tar files of ``SHARD`` each."""
    shards = []
    for first in range(0, len(pixels), SHARD):
        shards.append(folder / f"{first:08d}.tar")
        with tarfile.open(shards[-1], "w") as tar:
            for k, picture in enumerate(pixels[first : first + SHARD], first):
                jpeg = io.BytesIO()
                Image.fromarray(picture).save(jpeg, "JPEG", quality=QUALITY)
                info = tarfile.TarInfo(f"{k:08d}.jpg")
                info.size = len(jpeg.getvalue())
                tar.addfile(info, io.BytesIO(jpeg.getvalue()))
    return shards


def shard_batches(shards: list[Path], size: int, workers: int) -> Batches:
    """Returns a way to begin WebDataset's batches, without an end, as its documentation writes them."""
    import webdataset  # noqa: PLC0415 - measured where it is installed

    def batches() -> Iterator[Any]:
        dataset = webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=len(shards), seed=0)
        dataset = dataset.repeat().shuffle(SHARD).decode("rgb8").to_tuple("jpg").batched(size)
        yield from torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)

    return batches


def forget(files: list[Path]) -> None:
    """Tells the system to drop files from its memory, once they are on the disk."""
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pictures_a_second(batches: Batches, size: int, seconds: float) -> float:
    """Takes batches for some seconds; the first one, for which processes start, is not counted."""
    taken = batches()
    next(taken)
    count, began = 0, time.perf_counter()
    while not count or time.perf_counter() - began < seconds:
        next(taken)
        count += 1
    return count * size / (time.perf_counter() - began)


def build_parser() -> Parser:
    """Returns the command line."""
    parser = Parser(prog="python -m bench.data", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--pictures", type=int, default=20_000, help="number of pictures; default 20000")
    parser.add_argument("--resolution", type=int, default=128, help="side in pixels; default 128")
    parser.add_argument("--batch-size", type=int, default=128, help="default 128")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode shards; default 2")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement; default 5")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way; default 3")
    parser.add_argument("--folder", type=Path, help="disk to measure; default: where temporary files are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there too")
    return parser


def measure(args: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Returns pictures a second by way, one of each round, and the bytes on disk."""
    drawn = fresh_avatars(0, min(DRAWN, args.pictures), args.resolution)
    pixels = drawn[np.arange(args.pictures) % len(drawn)]
    write_packed(iter(pixels), args.resolution, folder)
    file = folder / PIXELS_FILE
    mapped, _ = open_packed(folder, args.resolution)
    size = args.batch_size
    ways: dict[str, tuple[Batches, list[Path]]] = {
        "memory": (feed_batches(Resident, pixels, size), []),
        "one file": (feed_batches(ReadAhead, mapped, size), [file]),
    }
    if importlib.util.find_spec("webdataset"):
        shards = write_shards(pixels, folder)
        ways["shards of JPEG (WebDataset)"] = (shard_batches(shards, size, args.workers), shards)
    else:
        print("WebDataset is not installed, and is left out: pip install webdataset")
    rates: dict[str, list[float]] = {}
    for turn in range(args.rounds):
        for name, (batches, files) in ways.items():
            for what in ("", ", forgotten") if files else ("",):
                if what:
                    forget(files)
                rate = pictures_a_second(batches, size, args.seconds)
                rates.setdefault(name + what, []).append(rate)
                print(f"round {turn + 1}/{args.rounds}: {name}{what}: {number(rate)} pictures/s", flush=True)
    return rates, {name: sum(f.stat().st_size for f in files) for name, (_, files) in ways.items()}


def main() -> None:
    """Prints a table."""
    args = build_parser().parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rates, sizes = measure(args, Path(folder))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        (name, number(median), f"{median / medians['memory']:.2f}", _kib(sizes, name, args.pictures))
        for name, median in medians.items()
    ]
    print("\n" + table(("", "pictures/s", "of memory's", "KiB a picture on disk"), rows))
    if args.json:
        write_json(args.json, {"machine": machine(), "rates": rates, "bytes": sizes}, [])


def _kib(sizes: dict[str, int], name: str, pictures: int) -> str:
    return number(sizes[name.removesuffix(", forgotten")] / 1024 / pictures)


if __name__ == "__main__":
    sys.exit(run_cli(main))
