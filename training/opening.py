"""Opens a run as the command line asks for it: begins a new one, or goes on with one."""

import argparse
import dataclasses
import math
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from training.augment import suited_to
from training.balance.keeper import Balance
from training.balance.probe import Probe, held_apart
from training.budget import Budget
from training.cadence import RunOptions
from training.checkpoint import Checkpoint, has_checkpoint, load_checkpoint
from training.config import ConfigError, TrainConfig
from training.data import PictureSet, load_pictures
from training.distributed import World
from training.doctor import brief
from training.durations import parse_duration
from training.flags import RECIPE, configure, preset_of, resumed_config
from training.judge import Judge
from training.loop import Trainer
from training.losses import make_loss
from training.machine_speed import Speed, measure_speed
from training.report.story import SETTINGS_FILE
from training.run import Run
from training.speed import choose_speed


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
        shifted = config.augment_by_size or config.translate > 0
        sys.stdout.writelines(f"advice: {advice}\n" for advice in brief(pictures.pixels, shifted=shifted))
    if config.augment_by_size:
        config = suited_to(config, len(pictures.pixels))
    options = RunOptions(folder=folder, minutes=args.minutes, checkpoint_minutes=args.checkpoint_minutes)
    config = world.from_leader(choose(args, config, pictures, device, budget) if world.leads else config)
    if budget:
        config = world.from_leader(fit(budget, args, config, pictures, device) if world.leads else config)
        options = options.within(budget)
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
    budget = open_budget(args, checkpoint)
    if budget and "budget" not in checkpoint.parts and world.leads:
        budget.keep_end(config, look_at_speed(budget, config, pictures, device), len(pictures.pixels))
    seen, held_out = apart(pictures, config)
    trainer = Trainer(computed_like(checkpoint.config, config), seen, device, world)
    trainer.restore(checkpoint)
    sys.stdout.write(f"going on from step {checkpoint.step}\n")
    trainer.adopt(config)
    balance = Balance(trainer, Probe.of(trainer, seen, held_out), checkpoint.parts.get("balance"))
    options = RunOptions(
        folder=folder,
        minutes=args.minutes,
        checkpoint_minutes=args.checkpoint_minutes,
        seconds=checkpoint.seconds,
        metrics=checkpoint.metrics,
    )
    if budget:
        options = options.within(budget)
    judge = open_judge(trainer, pictures, args.cache)
    return Run(trainer, describe(pictures, source, count), options, judge=judge, balance=balance)


def computed_like(config: TrainConfig, other: TrainConfig) -> TrainConfig:
    """Returns a recipe, computed as another one is: networks are laid out and compiled as they are made."""
    return dataclasses.replace(
        config, arithmetic=other.arithmetic, layout=other.layout, execution=other.execution
    )


def apart(pictures: PictureSet, config: TrainConfig) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the pictures to learn from and, where the game is watched, a few that are kept from it."""
    pixels = pictures.pixels
    return (pixels, pixels[:0]) if config.balance == "off" else held_apart(pixels)


def open_budget(args: argparse.Namespace, checkpoint: Checkpoint | None = None) -> Budget | None:
    """Returns the time that was asked for, or what is left of a resumed run's.

    Raises:
        ConfigError: If the length is asked for too, or it is no time.
    """
    if args.budget and (args.kimg or args.minutes):
        raise ConfigError("--budget sets the length of the run: leave out --kimg and --minutes")
    kept = checkpoint.parts.get("budget") if checkpoint else None
    # The command that began a run, given again as with --continue, names the time that is running already.
    if args.budget and (args.resume or not kept):
        budget = Budget(parse_duration(args.budget), started=args.started)
    elif kept and not args.kimg:
        budget = Budget(kept["seconds"], kept["spent"], args.started)
    else:
        return None
    budget.remember(kept or {})
    return budget


def fit(
    budget: Budget,
    args: argparse.Namespace,
    config: TrainConfig,
    pictures: PictureSet,
    device: torch.device,
) -> TrainConfig:
    """Returns the recipe for the time, after a look at how fast this machine is, and says what it chose."""
    given = {name for name in RECIPE if getattr(args, name) is not None}
    speed = look_at_speed(budget, config, pictures, device)
    config = budget.fit(config, speed, len(pictures.pixels), given)
    sys.stdout.write(f"{budget.describe(config, speed)}\n")
    return config


def look_at_speed(budget: Budget, config: TrainConfig, pictures: PictureSet, device: torch.device) -> Speed:
    """Returns how fast this machine is, after a look that takes a small share of the time."""
    seconds = min(max(0.02 * budget.seconds, 2.0), 15.0)
    return measure_speed(config, pictures.pixels, device, seconds)


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
