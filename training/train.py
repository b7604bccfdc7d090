"""Trains a generator on a folder of pictures: ``python -m training.train --help``."""

import argparse
import contextlib
import logging
import os
import resource
import sys
import time
from pathlib import Path

import torch

from training.cli import run_cli
from training.config import ConfigError
from training.distributed import World, joined_world
from training.durations import tell_duration
from training.finish import finish
from training.flags import build_parser, choose_device, configure
from training.graphs import WARM_UP
from training.loop import Trainer
from training.opening import begin, resume, run_to_resume
from training.report.page import REPORT_FILE
from training.run import Run


def dry_run(trainer: Trainer) -> None:
    """Takes steps until they are computed as all later ones, times one more, and reports speed and memory."""
    for _ in range(WARM_UP + 2 if trainer.config.execution == "graph" else 1):
        trainer.train_step().as_floats()
    started = time.perf_counter()
    stats = trainer.train_step().as_floats()
    seconds = time.perf_counter() - started
    if trainer.device.type == "cuda":
        memory, kind = torch.cuda.max_memory_allocated(), "GPU memory"
    else:
        memory, kind = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "memory"
    speed = trainer.config.batch_size / seconds
    hours = trainer.config.kimg * 1000 / speed / 3600
    losses = ", ".join(f"{name} {value:.3f}" for name, value in stats.items())
    sys.stdout.write(
        f"one step works: {losses}\n"
        f"{speed:.0f} pictures/s, {memory / 2**30:.1f} GiB of {kind} at the peak; "
        f"the whole run of {trainer.config.kimg:g} kimg would take {hours:.1f} h\n"
        "dry run: nothing was written\n"
    )


def carry_out(run: Run) -> None:
    """Trains, and says at the end what to do next."""
    folder = run.options.folder
    sys.stdout.write(f"training on {run.trainer.device}, writing to {folder}; Ctrl-C saves and stops\n")
    sys.stdout.flush()
    try:
        done = run.train()
    finally:
        run.report()
    sys.stdout.write(f"{'done' if done else 'stopped'} after {run.shown} pictures; saved in {folder}\n")
    budget = run.options.budget
    if not run.world.leads:
        return
    if done and budget and (model := finish(folder, str(run.data["name"]), run.judge)):
        sys.stdout.write(f"{model} and its card were written; {tell_duration(budget.spent)} in all\n")
        sys.stdout.write(f"serve it: SEEDLING_MODEL={model} make serve\n")
    elif done:
        sys.stdout.write(f"next: python -m export.to_onnx {folder} {folder / 'model.onnx'}\n")
    else:
        sys.stdout.write(f"go on with: python -m training.train --resume {folder}\n")
    sys.stdout.write(f"look at it: {folder / REPORT_FILE}\n")


def main() -> None:
    """Runs the command line."""
    args = build_parser().parse_args()
    args.started = time.monotonic() - time.process_time()  # what loading torch took is of the time, too
    device = choose_device(args.device)
    with joined_world(device) as world, contextlib.ExitStack() as silence:
        if not world.leads:
            silence.enter_context(
                contextlib.redirect_stdout(silence.enter_context(Path(os.devnull).open("w")))
            )
        logging.basicConfig(level=logging.INFO if world.leads else logging.ERROR, format="%(message)s")
        train(args, device, world)


def train(args: argparse.Namespace, device: torch.device, world: World) -> None:
    """Begins a run or goes on with one, and carries it out."""
    folder = run_to_resume(args, world)
    size = configure(args).batch_size
    try:  # the first steps are those that try how fast the machine is
        run = resume(args, folder, device, world) if folder else begin(args, device, world)
        size = run.trainer.config.batch_size
        if device.type == "cpu" and not (folder or args.preset or args.budget):
            sys.stdout.write("no GPU: the preset spec takes days here; --preset light is made for that\n")
        dry_run(run.trainer) if args.dry_run else carry_out(run)
    except torch.OutOfMemoryError as error:
        # A run that is gone on with keeps its batches, and none are smaller than 2.
        hint = "" if folder or size < 4 else f": try --batch-size {size // 2}"
        raise ConfigError(f"out of memory with batches of {size}{hint}") from error


if __name__ == "__main__":
    sys.exit(run_cli(main))
