"""Measures the quality of a checkpoint or a model file: ``python -m training.evaluate MODEL``.

Compares generated pictures with real ones in the features of a network. Each figure is named with the
network and the numbers of pictures; compare figures of one name only. ``docs/metrics.md`` explains them.
"""

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract import SeedlingError
from training.checkpoint import load_checkpoint, save_checkpoint
from training.cli import Parser, run_cli
from training.data import AVATARS, AVATARS_LICENSE, MIN_PICTURES, PictureSet, default_cache, load_pictures
from training.feature_cache import kept_features
from training.features import EXTRACTORS, open_extractor
from training.grower import Grower, open_grower
from training.held_out import fresh_avatars, unseen
from training.intervals import GROUPS, Figure
from training.measure import BATCH, Reference, measure_with_intervals, picture_batches
from training.quality import RealFeatures

__all__ = ["BATCH", "main", "picture_batches"]

HELD_OUT = 1000
"""Held-out pictures, unless told otherwise: a median does not need more."""

Figures = dict[str, Figure]


def build_parser() -> Parser:
    """Returns the command line."""
    parser = Parser(prog="python -m training.evaluate", description=__doc__)
    add = parser.add_argument
    add(
        "model",
        type=Path,
        help="a checkpoint's folder, or a run's (its best is taken, where one was measured, else its "
        "newest), or a model file (.onnx)",
    )
    add("--newest", action="store_true", help="of a run, take the newest checkpoint")
    add("--data", help="pictures to compare with, as the trainer takes them; default: those of the training")
    add("--count", type=int, help="real pictures to compare with; default: all")
    add("--samples", type=int, default=10_000, help="pictures to generate; default 10000")
    add(
        "--held-out",
        metavar="DATA",
        help="real pictures that the model has not seen, for memorisation; default: fresh ones for avatars, "
        "else none",
    )
    add("--held-out-count", type=int, default=HELD_OUT, help=f"most held-out pictures; default {HELD_OUT}")
    add("--extractor", choices=EXTRACTORS, default=EXTRACTORS[0], help=f"default {EXTRACTORS[0]}")
    add("--inception-weights", type=Path, metavar="FILE", help="weights of the extractor inception_v3")
    add("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    add("--json", type=Path, metavar="FILE", help="write the figures with their intervals here too")
    add(
        "--cache",
        type=Path,
        default=default_cache(),
        help="where drawn and fetched data and features are kept",
    )
    return parser


def check(args: argparse.Namespace) -> torch.device:
    """Returns the device, if the command line asks for something that can be done.

    Raises:
        SeedlingError: If not; better now than after minutes of work.
    """
    if args.samples < 2 * GROUPS:
        raise SeedlingError(f"--samples must be at least {2 * GROUPS}, got {args.samples}")
    if args.held_out_count < MIN_PICTURES:
        raise SeedlingError(f"--held-out-count must be at least {MIN_PICTURES}, got {args.held_out_count}")
    if args.json and not args.json.absolute().parent.is_dir():
        raise SeedlingError(f"--json {args.json}: there is no folder {args.json.parent}")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SeedlingError("--device cuda: torch finds no CUDA device on this machine")
    return torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def real_pictures(args: argparse.Namespace, grower: Grower) -> tuple[str, PictureSet]:
    """Returns the pictures to compare with, and where they are from.

    Raises:
        SeedlingError: If nobody says where they are, or they are no longer what the model learned from.
    """
    source, count = args.data, args.count
    if not source:
        source = grower.data.get("source")
        count = count or grower.data.get("count")
    if not source and grower.data.get("license") == AVATARS_LICENSE:
        source, count = AVATARS, count or grower.data.get("pictures")
    if not source:
        raise SeedlingError(
            f"{grower.path} learned from {grower.data.get('name', 'unknown pictures')!r} and does not say "
            "where they are: say so with --data"
        )
    pictures = load_pictures(source, resolution=grower.spec.img_resolution, cache=args.cache, count=count)
    own = not (args.data or args.count) and "fingerprint" in grower.data
    if own and grower.data["fingerprint"] != pictures.fingerprint:
        raise SeedlingError(
            f"{source} no longer holds the {grower.data['pictures']} pictures that {grower.path} learned "
            "from; name what to compare with by --data"
        )
    return source, pictures


def held_out_pictures(
    args: argparse.Namespace, grower: Grower, source: str, real: PictureSet
) -> NDArray[np.uint8] | None:
    """Returns pictures like those compared with that the model has not seen, or None where there are none.

    Raises:
        SeedlingError: If they are too few.
    """
    side = grower.spec.img_resolution
    if args.held_out:
        found = load_pictures(args.held_out, resolution=side, cache=args.cache, count=args.held_out_count)
        return unseen(found.pixels, real.pixels)
    if source.casefold() != AVATARS:
        return None
    first = max(len(real.pixels), grower.data.get("pictures", 0))
    return unseen(fresh_avatars(first, args.held_out_count, side), real.pixels)


def note(grower: Grower, figures: Figures) -> None:
    """Writes figures into the checkpoint, from where an export takes them."""
    checkpoint = load_checkpoint(grower.path)
    metrics = {
        **checkpoint.metrics,
        **{name: float(f"{figure.value:.5g}") for name, figure in figures.items()},
    }
    save_checkpoint(dataclasses.replace(checkpoint, metrics=metrics), grower.path)


def describe(
    args: argparse.Namespace, grower: Grower, reference: Reference, pictures: PictureSet
) -> dict[str, Any]:
    """Returns what was compared with what, for the JSON file."""
    held_out = reference.real.held_out
    return {
        "model": str(grower.path),
        "extractor": reference.extractor.identity,
        "device": reference.device.type,
        "samples": args.samples,
        "data": {
            "name": pictures.name,
            "pictures": len(pictures.pixels),
            "fingerprint": pictures.fingerprint,
        },
        "held_out": 0 if held_out is None else len(held_out),
        "confidence": 0.95,
    }


def main() -> None:
    """Measures, prints, and notes the figures in the checkpoint if they are against its own data."""
    args = build_parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = check(args)
    grower = open_grower(args.model, device, newest=args.newest)
    extractor = open_extractor(args.extractor, args.inception_weights, device)
    source, pictures = real_pictures(args, grower)
    held_out = held_out_pictures(args, grower, source, pictures)

    def features(pixels: NDArray[np.uint8]) -> torch.Tensor:
        return kept_features(pixels, extractor, device, args.cache)

    real = RealFeatures(features(pictures.pixels), None if held_out is None else features(held_out))
    reference = Reference(extractor=extractor, device=device, real=real)
    figures = measure_with_intervals(grower.grow, reference, args.samples)
    for name, (value, low, high) in figures.items():
        sys.stdout.write(f"{name}: {value:.4g} (95 %: {low:.4g} to {high:.4g})\n")
    sys.stdout.write(f"against {pictures.name}; what each figure says: docs/metrics.md\n")
    if held_out is None:
        sys.stdout.write("memorisation was not measured: that needs --held-out pictures\n")
    if args.json:
        described = describe(args, grower, reference, pictures)
        described["metrics"] = {name: figure._asdict() for name, figure in figures.items()}
        args.json.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if grower.is_checkpoint and not args.data:
        note(grower, figures)


if __name__ == "__main__":
    sys.exit(run_cli(main))
