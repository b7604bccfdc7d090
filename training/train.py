"""Trains a generator on a folder of pictures: ``python -m training.train --help``."""

import argparse
import contextlib
import dataclasses
import logging
import math
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract import ModelSpec
from training.augment import suited_to
from training.balance.keeper import Balance
from training.balance.probe import Probe, held_apart
from training.budget import Budget, measure_speed, parse_duration, tell_duration
from training.checkpoint import Checkpoint, has_checkpoint, load_checkpoint
from training.cli import Parser, run_cli
from training.config import PRESETS, ConfigError, TrainConfig
from training.data import PictureSet, default_cache, load_pictures
from training.distributed import World, joined_world
from training.doctor import brief
from training.finish import finish
from training.judge import Judge
from training.loop import Trainer
from training.losses import make_loss
from training.report.page import REPORT_FILE
from training.report.story import SETTINGS_FILE
from training.run import Run, RunOptions
from training.speed import choose_speed

RECIPE = {
    field.name: cast("type", field.type)
    for owner in (TrainConfig, ModelSpec)
    for field in dataclasses.fields(owner)
    if field.name not in {"spec", "img_channels"}
}
"""Settings that have a flag of their own, with their types; unset flags leave the preset's value."""

ADJUSTABLE = {"kimg", "lr_decay_from", "quality_kimg", "quality_samples"} | {
    *("loss", "lr_d", "lr_g", "gap_aware", "d_every", "g_every", "g_rests_until_kimg", "ndf"),
    *("balance", "stream", "perceptual"),
    *("translate", "colour", "cutout", "augment_p", "ada_target"),
    *("r1", "r1_every", "gradient_penalty", "lecam", "consistency"),
    *("arithmetic", "layout", "execution"),
}
"""Settings that a resumed run may change: its length, what mends the balance between G and D, how it is
measured and how it is computed."""

BUDGET_CHECKPOINTS = 5
"""Checkpoints of a run with a budget, besides the best: it has no time for many."""

SPEC_FIELDS = {field.name for field in dataclasses.fields(ModelSpec)}


def build_parser() -> Parser:
    """Returns the command line; every field of the recipe is a flag."""
    parser = Parser(prog="python -m training.train", description=__doc__)
    parser.add_argument(
        "--data",
        help="a folder, a zip, a torchvision data set's name, or 'avatars', drawn on this machine (default)",
    )
    parser.add_argument("--count", type=int, help="pictures to draw for 'avatars'; default 10000")
    parser.add_argument("--preset", choices=PRESETS, help="named recipe; default spec")
    parser.add_argument("--out", type=Path, help="new folder for the run; default runs/DATA-PRESET-001, …")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with the newest checkpoint of a run"
    )
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="a run that takes this long with all that belongs to it, as 25m, 1h30m or 90s: length, "
        "averaging, augmentation and measurements follow, and it ends with model.onnx and its card",
    )
    parser.add_argument(
        "--continue", action="store_true", dest="go_on", help="go on with the run in --out, if it has begun"
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=10.0,
        help="most minutes from one checkpoint to the next; default 10",
    )
    parser.add_argument("--minutes", type=float, help="stop after this much training, if not done before")
    parser.add_argument(
        "--dry-run", action="store_true", help="check data, memory and one step; write nothing"
    )
    parser.add_argument("--no-check", action="store_true", help="leave out the brief look at the pictures")
    parser.add_argument("--device", help="cuda or cpu; default: cuda where there is one")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="where drawn and fetched data are kept"
    )
    add_recipe(parser)
    return parser


def add_recipe(parser: Parser) -> None:
    """Adds every field of the recipe as a flag."""
    recipe = parser.add_argument_group("recipe (each overrides the preset)")
    for name, kind in RECIPE.items():
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            recipe.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            recipe.add_argument(flag, type=kind)


def preset_of(args: argparse.Namespace) -> str:
    """Returns the preset: the one asked for, else ``spec``, or with a budget what suits the device."""
    if args.preset or not args.budget:
        return args.preset or "spec"
    return "best" if choose_device(args.device).type == "cuda" else "light"


def configure(args: argparse.Namespace) -> TrainConfig:
    """Returns the preset with the command line's changes."""
    changes = {name: getattr(args, name) for name in RECIPE if getattr(args, name) is not None}
    return with_changes(PRESETS[preset_of(args)], changes)


def with_changes(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """Returns a recipe with other values of some settings, those of the networks' shape included."""
    spec = dataclasses.replace(config.spec, **{k: v for k, v in changes.items() if k in SPEC_FIELDS})
    rest = {k: v for k, v in changes.items() if k not in SPEC_FIELDS}
    return dataclasses.replace(config, spec=spec, **rest)


def choose_device(wanted: str | None) -> torch.device:
    """Returns the device to train on; CUDA where there is one, unless told otherwise.

    Raises:
        ConfigError: If the wanted device cannot be had.
    """
    has_cuda = torch.cuda.is_available()
    if wanted not in {None, "cpu", "cuda"}:
        raise ConfigError(f"--device must be cpu or cuda, got {wanted!r}")
    if wanted == "cuda" and not has_cuda:
        raise ConfigError("--device cuda: torch finds no CUDA device on this machine")
    return torch.device(wanted or ("cuda" if has_cuda else "cpu"))


def new_run_folder(data_name: str, preset: str) -> Path:
    """Returns runs/DATA-PRESET-NNN with the first number that is free."""
    stem = re.sub(r"[^\w.-]+", "-", f"{data_name}-{preset}")
    number = 1
    while (folder := Path("runs") / f"{stem}-{number:03d}").exists():
        number += 1
    return folder


def describe(pictures: PictureSet, source: str, count: int | None) -> dict[str, Any]:
    """Returns what a checkpoint says of its training data."""
    return {
        "source": source,
        "name": pictures.name,
        "count": count,
        "pictures": len(pictures.pixels),
        "fingerprint": pictures.fingerprint,
        "license": pictures.license,
    }


def dry_run(trainer: Trainer) -> None:
    """Takes two steps, the second one timed, and reports speed and memory."""
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


def check_folder(folder: Path, source: str, *, may_have_begun: bool = False) -> None:
    """Refuses a folder that a new run may not write to.

    Args:
        folder: The run's folder.
        source: The training data.
        may_have_begun: Whether a run that has no checkpoint yet may be begun anew in its folder.

    Raises:
        ConfigError: If it holds something else, is inside the data, or cannot be written.
    """
    begun = may_have_begun and (folder / SETTINGS_FILE).exists()
    if folder.is_dir() and any(folder.iterdir()) and not begun:
        raise ConfigError(f"--out {folder} is not empty: choose another, or go on with --resume {folder}")
    if Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve()):
        raise ConfigError(f"--out {folder} is inside the training data {source}")
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(f"--out {folder} cannot be written: {error.strerror}") from error


def begin(args: argparse.Namespace, device: torch.device, world: World) -> Run:
    """Returns a new run, as the command line asks for it.

    Raises:
        ConfigError: If a setting or the folder is of no use.
    """
    if world.most_restarts and not args.out:
        raise ConfigError("torchrun --max-restarts needs --out, to find the run that is gone on with")
    config, source, budget = configure(args), args.data or "avatars", open_budget(args)
    folder = args.out or new_run_folder(Path(source).resolve().stem, preset_of(args))
    if world.leads:
        check_folder(folder, source, may_have_begun=args.go_on or world.restarts > 0)
    folder = world.from_leader(folder)
    make_loss(config)  # an unknown name should not cost the time to load the data
    pictures = load(args, source, args.count, config, world)
    if not args.no_check:
        sys.stdout.writelines(f"advice: {advice}\n" for advice in brief(pictures.pixels))
    if config.augment_by_size:
        config = suited_to(config, len(pictures.pixels))
    options = RunOptions(folder=folder, minutes=args.minutes, checkpoint_minutes=args.checkpoint_minutes)
    config = world.from_leader(choose(args, config, pictures, device, budget) if world.leads else config)
    if budget:
        config = world.from_leader(fit(budget, args, config, pictures, device))
        options = dataclasses.replace(
            options, budget=budget, sheets=budget.sheets, checkpoints=BUDGET_CHECKPOINTS
        )
    seen, held_out = apart(pictures, config)
    trainer = Trainer(config, seen, device, world)
    balance = Balance(trainer, Probe.of(trainer, seen, held_out))
    judge = open_judge(trainer, pictures, args.cache)
    return Run(trainer, describe(pictures, source, args.count), options, judge=judge, balance=balance)


def run_to_resume(args: argparse.Namespace, world: World) -> Path | None:
    """Returns the run that is gone on with: the one named, or the one that this command has begun before."""
    if args.resume:
        return cast("Path", args.resume)
    begun_before = args.go_on or world.restarts > 0
    return args.out if args.out and begun_before and has_checkpoint(args.out) else None


def resume(args: argparse.Namespace, folder: Path, device: torch.device, world: World) -> Run:
    """Returns a run as its newest checkpoint left it.

    Raises:
        ConfigError: If the pictures are no longer those that the run began with.
    """
    checkpoint = load_checkpoint(folder)
    # The command that began a run names its recipe, which may have changed meanwhile.
    config = resumed_config(args, checkpoint.config) if args.resume else checkpoint.config
    source = args.data or checkpoint.data["source"]
    count = args.count or checkpoint.data.get("count")
    pictures = load(args, source, count, config, world)
    if checkpoint.data["fingerprint"] != pictures.fingerprint:
        raise ConfigError(
            f"--resume {folder}: {source} no longer holds the {checkpoint.data['pictures']} pictures "
            "that the run began with; where they have moved, say so with --data"
        )
    seen, held_out = apart(pictures, config)
    trainer = Trainer(checkpoint.config, seen, device, world)
    trainer.restore(checkpoint)
    sys.stdout.write(f"going on from step {checkpoint.step}\n")
    trainer.adopt(config)
    balance = Balance(trainer, Probe.of(trainer, seen, held_out), checkpoint.parts.get("balance"))
    options = RunOptions(
        folder=folder,
        minutes=args.minutes,
        checkpoint_minutes=args.checkpoint_minutes,
        seconds=checkpoint.seconds,
        budget=open_budget(args, checkpoint),
    )
    judge = open_judge(trainer, pictures, args.cache)
    return Run(trainer, describe(pictures, source, count), options, judge=judge, balance=balance)


def apart(pictures: PictureSet, config: TrainConfig) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the pictures to learn from and, where the game is watched, a few that are kept from it."""
    pixels = pictures.pixels
    return (pixels, pixels[:0]) if config.balance == "off" else held_apart(pixels)


def open_budget(args: argparse.Namespace, checkpoint: Checkpoint | None = None) -> Budget | None:
    """Returns the time that was asked for, or what is left of a resumed run's.

    Raises:
        ConfigError: If the length is asked for too, or it is no time.
    """
    if args.budget:
        if args.kimg or args.minutes:
            raise ConfigError("--budget sets the length of the run: leave out --kimg and --minutes")
        return Budget(parse_duration(args.budget), started=args.started)
    kept = checkpoint.parts.get("budget") if checkpoint else None
    return Budget(kept["seconds"], kept["spent"], args.started) if kept and not args.kimg else None


def fit(
    budget: Budget,
    args: argparse.Namespace,
    config: TrainConfig,
    pictures: PictureSet,
    device: torch.device,
) -> TrainConfig:
    """Returns the recipe for the time, after a look at how fast this machine is, and says what it chose."""
    given = {name for name in RECIPE if getattr(args, name) is not None}
    seconds = min(max(0.02 * budget.seconds, 2.0), 15.0)
    speed = measure_speed(config, pictures.pixels, device, seconds)
    config = budget.fit(config, speed, len(pictures.pixels), given)
    sys.stdout.write(f"{budget.describe(config, speed)}\n")
    return config


def choose(
    args: argparse.Namespace,
    config: TrainConfig,
    pictures: PictureSet,
    device: torch.device,
    budget: Budget | None,
) -> TrainConfig:
    """Returns the recipe with the fastest way to compute steps, and says which it is."""
    limit = budget.seconds if budget else (args.minutes or math.inf) * 60
    config, said = choose_speed(config, pictures.pixels, device, limit=limit)
    sys.stdout.write(f"{said}\n" if said else "")
    return config


def open_judge(trainer: Trainer, pictures: PictureSet, cache: Path) -> Judge | None:
    """Returns what measures quality in the run, if the recipe wants it; of several processes one does."""
    config = trainer.config
    if not config.quality_kimg or not trainer.world.leads:
        return None
    return Judge(pictures.pixels, config.quality_samples, trainer.device, cache)


def load(
    args: argparse.Namespace, source: str, count: int | None, config: TrainConfig, world: World
) -> PictureSet:
    """Returns the training pictures, and says how many there are."""
    resolution = config.spec.img_resolution
    with world.first_on_each_machine():
        pictures = load_pictures(
            source, resolution=resolution, cache=args.cache, count=count, progress=world.leads
        )
    sys.stdout.write(f"{len(pictures.pixels)} pictures from {pictures.name}\n")
    return pictures


def resumed_config(args: argparse.Namespace, config: TrainConfig) -> TrainConfig:
    """Returns a resumed run's recipe: its own, but for what ``ADJUSTABLE`` names.

    Raises:
        ConfigError: If the command line asks for another recipe.
    """
    given = {name for name in (*RECIPE, "preset", "out") if getattr(args, name) is not None}
    if wrong := [f"--{name.replace('_', '-')}" for name in sorted(given - ADJUSTABLE)]:
        raise ConfigError(f"--resume goes on with the run's own settings; leave out {', '.join(wrong)}")
    config = with_changes(config, {name: getattr(args, name) for name in given})
    make_loss(config)
    return config


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
    args.started = time.monotonic()
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
        raise ConfigError(f"out of memory with batches of {size}: try --batch-size {size // 2}") from error


if __name__ == "__main__":
    sys.exit(run_cli(main))
