"""What a run leaves in its folder, to be looked at and gone on with: settings, sheets, checkpoints."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from training.best import best_checkpoint
from training.checkpoint import Checkpoint, checkpoint_name, prune_checkpoints, save_checkpoint
from training.config import TrainConfig
from training.report.story import SETTINGS_FILE
from training.samples import save_sheet


def write_settings(run: Path, config: TrainConfig, data: Mapping[str, Any]) -> None:
    """Writes the recipe in force, and of what pictures, for people and for the report."""
    run.mkdir(parents=True, exist_ok=True)
    settings = {"config": config.to_dict(), "data": data}
    (run / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_sheet(run: Path, img: Tensor, shown: int) -> str:
    """Writes a sheet of samples; returns where it is, relative to the run's folder.

    Args:
        run: The run's folder.
        img: (N, C, H, W) float32 in [-1, 1].
        shown: Real pictures shown so far.
    """
    file = run / "samples" / f"{shown:09d}.png"
    save_sheet(img, file)
    return file.relative_to(run).as_posix()


def keep_checkpoint(run: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes a checkpoint, and removes older ones but for the newest ``keep`` and the best.

    Raises:
        CheckpointError: If the disk refuses.
    """
    save_checkpoint(checkpoint, run / "checkpoints" / checkpoint_name(checkpoint.step))
    best = best_checkpoint(run)
    prune_checkpoints(run, keep, spare=best and best.folder)
