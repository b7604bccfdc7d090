"""Checkpoints: a folder of two files, ``state.safetensors`` and ``checkpoint.json``.

The folder is written under a temporary name and renamed when complete, so a checkpoint that exists
is whole. No pickle anywhere.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.contract import ModelSpec, SeedlingError
from training.config import TrainConfig

FORMAT_VERSION = "seedling-checkpoint/1"
STATE_FILE = "state.safetensors"
JSON_FILE = "checkpoint.json"


class CheckpointError(SeedlingError):
    """A checkpoint that is missing, damaged or of another version."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Everything a run needs to go on, and everything an export needs to describe the model."""

    config: TrainConfig
    """The recipe."""
    tensors: Mapping[str, Tensor]
    """State by prefix: ``g.``, ``d.``, ``opt_g.``, ``opt_d.`` and, where kept, ``g_ema.``."""
    step: int
    """Steps done."""
    seconds: float
    """Time spent in steps, in seconds, resumed parts included."""
    data: Mapping[str, Any]
    """The training data: source, name, pictures, fingerprint, license."""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Measured quality by metric name."""

    @property
    def spec(self) -> ModelSpec:
        """Shape of the networks."""
        return self.config.spec

    @property
    def generator_state(self) -> dict[str, Tensor]:
        """State dict of the generator to show and export: the averaged one, where one is kept."""
        return self.select("g_ema") or self.select("g")

    def select(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors under a prefix, without it: ``select("g")`` is G's state dict."""
        return {
            key.removeprefix(f"{prefix}."): value
            for key, value in self.tensors.items()
            if key.startswith(f"{prefix}.")
        }


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes a checkpoint so that ``folder`` either holds all of it or is as it was before.

    Raises:
        CheckpointError: If the disk refuses; the text says why.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    description = {
        "format": FORMAT_VERSION,
        "config": checkpoint.config.to_dict(),
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "data": dict(checkpoint.data),
        "metrics": dict(checkpoint.metrics),
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        # safetensors refuses shared or strided memory; detach and pack.
        tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
        save_file(tensors, partial / STATE_FILE)
        (partial / JSON_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        for file in (partial / STATE_FILE, partial / JSON_FILE):
            _flush_to_disk(file)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"cannot write the checkpoint {folder}: {error}") from error


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint folder, or the newest one of a run's folder.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    folder = path if (path / JSON_FILE).is_file() else newest_checkpoint(path)
    try:
        description = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        if description["format"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{folder} has format {description['format']!r}, this version reads {FORMAT_VERSION!r}"
            )
        return Checkpoint(
            config=TrainConfig.from_dict(description["config"]),
            tensors=load_file(folder / STATE_FILE),
            step=description["step"],
            seconds=description["seconds"],
            data=description["data"],
            metrics=description["metrics"],
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint {folder} cannot be read: {error}") from error


def newest_checkpoint(run: Path) -> Path:
    """Returns the checkpoint folder with the highest step in a run's folder.

    Raises:
        CheckpointError: If the folder holds none.
    """
    folders = sorted(file.parent for file in run.glob(f"checkpoints/step-*/{JSON_FILE}"))
    if not folders:
        raise CheckpointError(
            f"no checkpoint in {run}: expected {run / 'checkpoints' / 'step-…' / JSON_FILE}"
        )
    return folders[-1]
