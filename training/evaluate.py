"""Measures the quality of a checkpoint: ``python -m training.evaluate RUN``.

The Fréchet distance between the features of generated pictures and of the training pictures. Lower is
better; compare only figures of one extractor and the same numbers of pictures, which are in the name.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from tqdm import tqdm

from models.contract import SeedlingError, latents, to_uint8
from models.dcgan import Generator
from training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from training.cli import Parser, run_cli
from training.data import default_cache, load_pictures

BATCH = 50


def frechet_distance(
    real: Iterator[Tensor], fake: Iterator[Tensor], extractor: nn.Module, side: int
) -> float:
    """Returns the Fréchet distance between two sets of pictures in an extractor's features.

    Args:
        real: Batches of (N, 3, H, W) uint8.
        fake: The like.
        extractor: (N, 3, H, W) uint8 → (N, F) float; has ``num_features``.
        side: H and W.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017), section 4.
    """
    distance = FrechetInceptionDistance(extractor, input_img_size=(3, side, side))
    for batches, are_real in ((real, True), (fake, False)):
        for batch in batches:
            distance.update(batch, real=are_real)
    return float(distance.compute())


def picture_batches(pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Yields (N, H, W, 3) uint8 pixels as batches of (N, 3, H, W) uint8."""
    for first in tqdm(range(0, len(pixels), BATCH), "real", disable=None):
        yield torch.from_numpy(pixels[first : first + BATCH]).permute(0, 3, 1, 2)


def generated_batches(generator: Generator, count: int) -> Iterator[Tensor]:
    """Yields the pictures of seeds 0…count-1 as batches of (N, 3, H, W) uint8."""
    for first in tqdm(range(0, count, BATCH), "generated", disable=None):
        z = latents(list(range(first, min(first + BATCH, count))), generator.spec.z_dim)
        with torch.no_grad():
            img = generator(torch.from_numpy(z))
        yield torch.from_numpy(to_uint8(img.numpy()))


def main() -> None:
    """Measures, prints, and notes the figure in the checkpoint, from where an export takes it."""
    parser = Parser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint's folder, or a run's (its newest is taken)"
    )
    parser.add_argument("--data", help="pictures to compare with; default: those of the training")
    parser.add_argument("--count", type=int, help="real pictures to compare with; default: all")
    parser.add_argument("--samples", type=int, default=10_000, help="pictures to generate; default 10000")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="where drawn and fetched data are kept"
    )
    args = parser.parse_args()
    if args.samples < 2:
        raise SeedlingError(f"--samples must be at least 2, got {args.samples}")

    from training.features import EXTRACTOR, FeatureExtractor  # noqa: PLC0415 - after the arguments are known

    checkpoint = load_checkpoint(args.checkpoint)
    generator = Generator(checkpoint.spec)
    generator.load_state_dict(checkpoint.generator_state)
    generator.eval()
    source, side = args.data or checkpoint.data["source"], checkpoint.spec.img_resolution
    count = args.count or (None if args.data else checkpoint.data.get("count"))
    pictures = load_pictures(source, resolution=side, cache=args.cache, count=count)
    distance = frechet_distance(
        picture_batches(pictures.pixels), generated_batches(generator, args.samples), FeatureExtractor(), side
    )
    name = f"fd_{EXTRACTOR}_{args.samples}_of_{len(pictures.pixels)}"
    sys.stdout.write(f"{name}: {distance:.1f}, against {pictures.name}\n")
    if not args.data:
        folder = (
            args.checkpoint
            if (args.checkpoint / "checkpoint.json").is_file()
            else newest_checkpoint(args.checkpoint)
        )
        metrics = {**checkpoint.metrics, name: round(distance, 2)}
        save_checkpoint(dataclasses.replace(checkpoint, metrics=metrics), folder)


if __name__ == "__main__":
    sys.exit(run_cli(main))
