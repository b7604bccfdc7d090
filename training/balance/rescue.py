"""Going back: from a game that is lost to a checkpoint from before."""

import json
from pathlib import Path

from training.balance.signals import WINDOW
from training.balance.verdicts import Verdict
from training.best import best_checkpoint
from training.checkpoint import (
    JSON_FILE,
    Checkpoint,
    CheckpointError,
    checkpoint_name,
    checkpoints,
    load_checkpoint,
    remove_checkpoint,
)
from training.loop import Trainer

LOST = {Verdict.COLLAPSING.value, Verdict.DIVERGED.value}


def go_back(trainer: Trainer, run: Path, found: Verdict) -> Checkpoint | None:
    """Takes a trainer back to a good checkpoint of its run, or to the start; the settings stay.

    Checkpoints that are newer are removed, since a resumed run would take the newest.

    Args:
        trainer: The game that is lost.
        run: The run's folder.
        found: Why it is. From a collapse it goes to the best checkpoint, where one was measured, else to the
            newest good one; after strides, to one from before the window that they were found in.

    Returns:
        The checkpoint; None where there is none, and the trainer is at the start.
    """
    world = trainer.world
    # The leader alone looks and removes: another process might look when half of them are gone.
    good = world.from_leader(_good_checkpoint(run, trainer.step, found) if world.leads else None)
    for folder in _checkpoints(run) if world.leads else ():
        if good is None or folder.name > good.name:
            remove_checkpoint(folder)
    if good is None:
        trainer.begin()
        return None
    checkpoint = load_checkpoint(good)
    trainer.restore(checkpoint)
    return checkpoint


def _good_checkpoint(run: Path, step: int, found: Verdict) -> Path | None:
    best = best_checkpoint(run)
    if best is not None and found == Verdict.COLLAPSING:
        return best.folder
    sound = step - WINDOW if found == Verdict.D_TOO_FAST else step
    known = [folder for folder in _checkpoints(run) if folder.name <= checkpoint_name(sound)]
    good = [folder for folder in known if _looked_like(folder) not in LOST]
    # The best is not to be removed, whatever it looked like.
    return max([*good, *([best.folder] if best else [])], key=lambda folder: folder.name, default=None)


def _checkpoints(run: Path) -> list[Path]:
    try:
        return checkpoints(run)
    except CheckpointError:
        return []


def _looked_like(folder: Path) -> str:
    """Returns the verdict on the last window before a checkpoint; "" where there was none."""
    try:
        parts = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))["parts"]
        return str(parts["balance"]["standing"]["candidate"])
    except (OSError, KeyError, TypeError, ValueError):
        return ""
