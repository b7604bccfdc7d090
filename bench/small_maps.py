"""CPU training with small maps as products of matrices: ``python -m bench.small_maps [--help]``.

Each step of a run computes maps up to another side as products (``training.convolutions``), and the ratio to
those in which none are is what counts.
"""

import statistics
import sys
import time
from unittest.mock import patch

import torch

from bench.report import number, table
from training import convolutions
from training.cli import Parser, run_cli
from training.config import PRESETS
from training.flags import add_recipe, configure
from training.held_out import fresh_avatars
from training.loop import Trainer

SIDES = (0, 4, 8, 16)
"""Largest sides of maps that are computed as products; 0 computes none so."""


def build_parser() -> Parser:
    """Returns the command line; every field of the recipe is a flag."""
    parser = Parser(prog="python -m bench.small_maps", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="steps of each side; default 5")
    parser.add_argument("--preset", choices=PRESETS, help="named recipe; default spec")
    parser.set_defaults(budget=None)
    add_recipe(parser)
    return parser


def measure(trainer: Trainer, rounds: int) -> dict[int, list[float]]:
    """Returns the seconds of the steps of each side, which take turns."""
    seconds: dict[int, list[float]] = {side: [] for side in SIDES}
    for turn in range(rounds + 1):
        for side, times in seconds.items():
            with patch.object(convolutions, "SMALL_SIDE", side):
                began = time.perf_counter()
                trainer.train_step().as_floats()
            if turn:  # the first one allocates
                times.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Prints a table."""
    args = build_parser().parse_args()
    config = configure(args)
    pixels = fresh_avatars(0, config.batch_size, config.spec.img_resolution)
    seconds = measure(Trainer(config, pixels, torch.device("cpu")), args.rounds)
    medians = {side: statistics.median(times) for side, times in seconds.items()}
    rows = [
        (str(side), f"{1000 * median:.0f}", number(config.batch_size / median), f"{medians[0] / median:.2f}")
        for side, median in medians.items()
    ]
    print(table(("largest side", "ms a step", "pictures/s", "times as many as without"), rows))


if __name__ == "__main__":
    sys.exit(run_cli(main))
