"""Going back: from a game that is lost to a checkpoint from before."""

import json
import shutil
from pathlib import Path

from training.balance.verdicts import Verdict
from training.best import best_checkpoint
from training.checkpoint import JSON_FILE, CheckpointError, checkpoints, load_checkpoint
from training.loop import Trainer

LOST = {Verdict.COLLAPSING.value, Verdict.DIVERGED.value}


def go_back(trainer: Trainer, run: Path, *, newest: bool, steps: int = 0) -> str:
    """Takes a trainer back to a good checkpoint of its run, or to the start; the settings stay.

    Checkpoints that are newer are removed, since a resumed run would take the newest.

    Args:
        trainer: The game that is lost.
        run: The run's folder.
        newest: Whether the newest good checkpoint is wanted; else the best one, where one was measured.
        steps: How many steps older than the game the newest one must be, where the last were not sound.

    Returns:
        The checkpoint's name; "the start" where there is none.
    """
    world = trainer.world
    # The leader alone looks and removes: another process might look when half of them are gone.
    found = world.from_leader(
        _good_checkpoint(run, trainer.step - steps, newest=newest) if world.leads else None
    )
    for folder in _checkpoints(run) if world.leads else ():
        if found is None or folder.name > found.name:
            (folder / JSON_FILE).unlink()  # first, so that a kill leaves no half of one that seems whole
            shutil.rmtree(folder)
    if found is None:
        trainer.begin()
        return "the start"
    trainer.restore(load_checkpoint(found))
    return found.name


def _good_checkpoint(run: Path, step: int, *, newest: bool) -> Path | None:
    best = best_checkpoint(run)
    if best is not None and not newest:
        return best.folder
    known = [folder for folder in _checkpoints(run) if folder.name <= f"step-{step:08d}"]
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
