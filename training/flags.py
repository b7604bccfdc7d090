"""The command line of a training run: every field of the recipe is a flag."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, cast

import torch

from models.contract import ModelSpec
from training.cli import Parser
from training.config import PRESETS, ConfigError, TrainConfig
from training.data import default_cache
from training.losses import make_loss

RECIPE = {
    field.name: cast("type", field.type)
    for owner in (TrainConfig, ModelSpec)
    for field in dataclasses.fields(owner)
    if field.name not in {"spec", "img_channels"}
}
"""Settings that have a flag of their own, with their types; unset flags leave the preset's value."""


ADJUSTABLE = {"kimg", "lr_decay_from", "quality_kimg", "quality_samples"} | {
    *("loss", "lr_d", "lr_g", "gap_aware", "d_every", "g_every", "g_rests_until_kimg", "ndf"),
    *("balance", "stream", "perceptual", "vision_aided", "vision_aided_from_kimg"),
    *("translate", "colour", "cutout", "augment_p", "ada_target"),
    *("r1", "r1_every", "gradient_penalty", "lecam", "consistency"),
    *("arithmetic", "layout", "execution"),
}
"""Settings that a resumed run may change: its length, what mends the balance between G and D, how it is
measured and how it is computed."""


SPEC_FIELDS = {field.name for field in dataclasses.fields(ModelSpec)}


def build_parser() -> Parser:
    """Returns the command line; every field of the recipe is a flag."""
    parser = Parser(
        prog="python -m training.train", description="Trains a generator on a folder of pictures."
    )
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
