"""Writes the report of a run anew: ``python -m training.report RUN``."""

import argparse
import logging
import sys
from pathlib import Path

import torch

from models.contract import SeedlingError
from training.best import choose_checkpoint
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from training.cli import Parser, run_cli
from training.data import default_cache, load_pictures
from training.judge import Judge
from training.report.looks import Looks, generator_of, look
from training.report.page import write_report
from training.report.story import read_story

log = logging.getLogger(__name__)


def main() -> None:
    """Runs the command line."""
    parser = Parser(prog="python -m training.report", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder: of one that goes on, was stopped or is old")
    parser.add_argument(
        "--no-neighbours", action="store_true", help="leave out the nearest training pictures"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="where data and features are kept"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    story = read_story(args.run)
    sys.stdout.write(f"{write_report(story, looks_of(args, best=story.finished))}\n")


def looks_of(args: argparse.Namespace, *, best: bool) -> Looks | None:
    """Returns what the run's best or newest generator draws, if a checkpoint of it was kept."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        choice = choose_checkpoint(args.run, newest=not best)
    except CheckpointError as error:
        log.warning("%s", error)
        return None
    checkpoint = load_checkpoint(choice.folder)
    judge = None if args.no_neighbours else judge_of(checkpoint, device, args.cache)
    return look(generator_of(checkpoint, device), judge)


def judge_of(checkpoint: Checkpoint, device: torch.device, cache: Path) -> Judge | None:
    """Returns what finds the nearest training pictures, if they are still there."""
    data, config = checkpoint.data, checkpoint.config
    try:
        pictures = load_pictures(
            data["source"], resolution=config.spec.img_resolution, cache=cache, count=data.get("count")
        )
    except (SeedlingError, OSError) as error:
        log.warning("no nearest training pictures: %s", error)
        return None
    return Judge(pictures.pixels, config.quality_samples, device, cache)


if __name__ == "__main__":
    sys.exit(run_cli(main))
