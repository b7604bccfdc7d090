"""Does the balance controller help? Provokes each imbalance, with and without: ``python -m bench.balance``.

Small networks, the same seed in both arms. A run's quality is its Fréchet distance in
EfficientNet-Lite0 features against pictures of which ``few`` has seen but fifty; lower is better.
``watch`` plays as ``off`` does, and leaves what the controller saw in the run's ``log.jsonl``.
"""

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract import ModelSpec
from training.balance.keeper import Balance
from training.balance.probe import Probe, held_apart
from training.best import choose_checkpoint
from training.cadence import RunOptions
from training.cli import Parser, run_cli
from training.config import TrainConfig
from training.data import AVATARS, default_cache, load_pictures
from training.flags import choose_device
from training.journal import Event, Metrics, read_journal
from training.judge import Judge
from training.loop import Trainer
from training.run import Run, TrainingDivergedError
from training.step_stats import StepStats

SIDE = 32
PICTURES = 1000
SAMPLES = 100
MEASUREMENTS = 8
"""Of quality in a run; the controller leaves alone what they say gets better."""

ARMS = ("off", "on")

STOPPED = "stopped"
"""How a run ended that was told to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong on purpose."""

    words: str
    """For the table."""
    change: Callable[[TrainConfig], TrainConfig] = lambda config: config
    """Spoils the recipe."""
    pictures: int = PICTURES
    """Pictures to learn from."""
    breaks_at: float = math.inf
    """Share of the run after which a weight of G is no longer a number."""


FAULTS = {
    "none": Fault(words="nothing"),
    "d20": Fault(words="D's rate × 20", change=lambda c: dataclasses.replace(c, lr_d=20 * c.lr_d)),
    "g20": Fault(words="G's rate × 20", change=lambda c: dataclasses.replace(c, lr_g=20 * c.lr_g)),
    "idle": Fault(words="D's rate / 20", change=lambda c: dataclasses.replace(c, lr_d=c.lr_d / 20)),
    "few": Fault(words="50 pictures", pictures=50),
    "nan": Fault(words="a NaN", breaks_at=0.45),
    "tenth": Fault(
        words="D of a tenth",
        change=lambda c: dataclasses.replace(
            c, spec=dataclasses.replace(c.spec, ndf=max(c.spec.ndf // 10, 1))
        ),
    ),
}


class FaultyTrainer(Trainer):
    """Breaks one weight, once."""

    breaks_at = math.inf

    def train_step(self) -> StepStats:
        """Takes a step; the fault comes after it."""
        stats = super().train_step()
        if self.step >= self.breaks_at:
            self.breaks_at = math.inf
            next(self.players.g.parameters()).data[0, 0] = torch.nan
        return stats


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run went."""

    figures: list[float]
    """Fréchet distances, in the order in which they were measured."""
    kept: float
    """That of the checkpoint that an export would take."""
    ended: str
    """"done", ``STOPPED``, or why it ended before."""
    sentences: list[str] = field(default_factory=list)
    """What the controller said."""


def play(fault: Fault, config: TrainConfig, pixels: NDArray[np.uint8], judge: Judge, folder: Path) -> Outcome:
    """Trains once with a fault, on the judge's device; returns how it went.

    Args:
        fault: What goes wrong.
        config: The recipe that it spoils.
        pixels: (N, H, W, C) uint8, of which as many are learned from as the fault leaves.
        judge: Measures quality against all of them.
        folder: Where the run is left.
    """
    config = fault.change(config)
    spaced = pixels[:: max(len(pixels) // fault.pictures, 1)][: fault.pictures]  # of all kinds
    seen, held_out = held_apart(spaced)  # without a controller too, so that arms can be compared
    trainer = FaultyTrainer(config, seen, judge.device)
    trainer.breaks_at = fault.breaks_at * config.total_steps
    balance = Balance(trainer, Probe.of(trainer, seen, held_out))
    options = RunOptions(folder=folder, sheets=1, checkpoints=10)
    run = Run(trainer, {"source": "pictures"}, options, judge=judge, balance=balance)
    ended = "done"
    try:
        if not run.train():
            ended = STOPPED
    except TrainingDivergedError as error:
        ended = str(error)
    journal = read_journal(folder)
    measured = [next(iter(entry.values.values())) for entry in journal if isinstance(entry, Metrics)]
    kept = choose_checkpoint(folder).metrics
    said = [f"{entry.shown:>6} {entry.sentence}" for entry in journal if isinstance(entry, Event)]
    return Outcome(figures=measured, kept=next(iter(kept.values()), math.nan), ended=ended, sentences=said)


def recipe(args: argparse.Namespace, arm: str) -> TrainConfig:
    """Returns the small recipe that every fault spoils."""
    spec = ModelSpec(img_resolution=SIDE, ngf=args.width, ndf=args.width)
    return TrainConfig(
        spec=spec,
        batch_size=16,
        kimg=args.kimg,
        translate=0.0625,
        ema_half_life_kimg=1.0,
        quality_kimg=args.kimg / MEASUREMENTS,
        quality_samples=SAMPLES,
        seed=args.seed,
        loss=args.loss,
        d_norm=args.d_norm,
        balance=arm,
    )


def build_parser() -> Parser:
    """Returns the command line."""
    parser = Parser(prog="python -m bench.balance", description=__doc__)
    parser.add_argument(
        "faults", nargs="*", type=_known, metavar="FAULT", help=f"of {', '.join(FAULTS)}; default: all"
    )
    parser.add_argument(
        "--arms", nargs="+", choices=(*ARMS, "all", "watch"), default=ARMS, help="of --balance"
    )
    parser.add_argument("--device", help="cuda or cpu; default: cuda where there is one")
    parser.add_argument("--data", default=AVATARS, help="as of training.train; default: avatars")
    parser.add_argument("--kimg", type=float, default=24.0, help="thousand pictures of each run; default 24")
    parser.add_argument("--width", type=int, default=10, help="ngf and ndf; default 10")
    parser.add_argument("--loss", default="bce")
    parser.add_argument("--d-norm", default="batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to leave the runs; default: nowhere")
    parser.add_argument("--json", type=Path, help="file to which each outcome is added as a line")
    parser.add_argument("--cache", type=Path, default=default_cache())
    return parser


def _known(name: str) -> str:
    # `choices` would refuse an empty list, which stands for all.
    if name not in FAULTS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(FAULTS)}, got {name!r}")
    return name


def main() -> None:
    """Prints a row of a table for each run, and what the controller said in it."""
    args = build_parser().parse_args()
    device = choose_device(args.device)
    pixels = load_pictures(args.data, resolution=SIDE, count=PICTURES, cache=args.cache).pixels
    judge = Judge(pixels, SAMPLES, device, args.cache)
    for name in args.faults or FAULTS:
        for arm in args.arms:
            with tempfile.TemporaryDirectory() as scratch:
                folder = (args.out or Path(scratch)) / f"{name}-{arm}"
                outcome = play(FAULTS[name], recipe(args, arm), pixels, judge, folder)
            _report(FAULTS[name], arm, outcome)
            if outcome.ended == STOPPED:
                return
            if args.json:
                _keep(args, name, arm, outcome)


def _report(fault: Fault, arm: str, outcome: Outcome) -> None:
    figures = ", ".join(f"{figure:.0f}" for figure in outcome.figures)
    print(f"| {fault.words} | {arm} | {figures} | {outcome.kept:.0f} | {outcome.ended} |")
    for sentence in outcome.sentences:
        print(f"    {sentence}", flush=True)


def _keep(args: argparse.Namespace, fault: str, arm: str, outcome: Outcome) -> None:
    what = {name: getattr(args, name) for name in ("data", "seed", "kimg", "width", "loss", "d_norm")}
    line = json.dumps({"fault": fault, "arm": arm, **what, **dataclasses.asdict(outcome)}, ensure_ascii=False)
    with args.json.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))
