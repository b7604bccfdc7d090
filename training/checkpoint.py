"""Checkpoints: a folder of two files, ``state-….safetensors`` and ``checkpoint.json``.

``checkpoint.json`` names the state, with its SHA-256, and comes last, in one rename: a folder that has one
is whole, and one that is written anew holds the old state until the new one stands. A process that is
killed, or a machine that loses its power, leaves the one or the other. No pickle anywhere.
"""

import dataclasses
import hashlib
import json
import logging
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

log = logging.getLogger(__name__)

FORMAT_VERSION = "seedling-checkpoint/2"
JSON_FILE = "checkpoint.json"

_PARTIAL = "state.partial"


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
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What parts of a run keep besides tensors, by the part's name: plain JSON values, exact for floats."""

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
        return select(self.tensors, prefix)


def prefixed(**states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of several states as one: ``prefixed(g=state)`` has ``g.`` before G's names."""
    return {f"{prefix}.{key}": value for prefix, state in states.items() for key, value in state.items()}


def select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Inverts ``prefixed`` for one of the states."""
    start = f"{prefix}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes a checkpoint so that ``folder`` holds either all of it or what it held before, at any moment.

    Raises:
        CheckpointError: If the disk refuses; the text says why.
    """
    description = {
        "format": FORMAT_VERSION,
        "config": checkpoint.config.to_dict(),
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "data": dict(checkpoint.data),
        "metrics": dict(checkpoint.metrics),
        "parts": dict(checkpoint.parts),
    }
    json.dumps(description)  # what JSON cannot hold should not cost the time to write the state
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = _write_state(checkpoint.tensors, folder)
        state = f"state-{sha256[:16]}.safetensors"
        description |= {"state": state, "sha256": sha256}
        (folder / _PARTIAL).rename(folder / state)
        _replace(folder / JSON_FILE, json.dumps(description, indent=2) + "\n")
        for directory in (folder, *folder.absolute().parents[:2]):
            _flush_to_disk(directory)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the checkpoint {folder}: {error}") from error
    finally:
        _sweep(folder)


def _write_state(tensors: Mapping[str, Tensor], folder: Path) -> str:
    """Writes the state under its temporary name; returns its SHA-256."""
    # safetensors refuses shared or strided memory; detach and pack.
    packed = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    save_file(packed, folder / _PARTIAL)
    _flush_to_disk(folder / _PARTIAL)
    return _sha256(folder / _PARTIAL)


def _replace(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    _flush_to_disk(partial)
    _flush_to_disk(partial.parent)  # the state must have its name before anything says it
    partial.replace(file)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)  # a folder too: what was renamed in it is lost otherwise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sweep(folder: Path) -> None:
    """Removes what a checkpoint's folder holds besides it: all of it, where no checkpoint was completed."""
    try:
        known = {JSON_FILE, json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))["state"]}
    except FileNotFoundError:
        shutil.rmtree(folder, ignore_errors=True)
    except (OSError, KeyError, TypeError, ValueError):
        return  # damaged: for a person to look at
    else:
        for file in folder.iterdir():
            if file.name not in known:
                file.unlink()


def checkpoint_name(step: int) -> str:
    """Returns how the checkpoint of a step is called in a run's folder; names are in the order of steps."""
    return f"step-{step:08d}"


def remove_checkpoint(folder: Path) -> None:
    """Removes a checkpoint, so that a kill leaves no half of one that seems whole."""
    (folder / JSON_FILE).unlink()
    shutil.rmtree(folder)


def prune_checkpoints(run: Path, keep: int, spare: Path | None = None) -> None:
    """Removes all but a run's newest checkpoints, and what writes that were cut short have left.

    Args:
        run: The run's folder.
        keep: Number of newest checkpoints that stay, at least 1.
        spare: One that stays besides: the best.
    """
    for folder in (run / "checkpoints").glob("step-*"):
        _sweep(folder)
    for old in checkpoints(run)[:-keep]:
        if old != spare:
            remove_checkpoint(old)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint folder, or the newest one of a run's folder that is not damaged.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    *newer, oldest = [path] if (path / JSON_FILE).is_file() else checkpoints(path)[::-1]
    for folder in newer:
        try:
            return _read(folder)
        except CheckpointError as error:
            log.warning("%s; taking the checkpoint before it", error)
    return _read(oldest)


def _read(folder: Path) -> Checkpoint:
    try:
        description = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        if description["format"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{folder} has format {description['format']!r}, this version reads {FORMAT_VERSION!r}"
            )
        state = folder / description["state"]
        if (found := _sha256(state)) != description["sha256"]:
            raise CheckpointError(
                f"{state} is damaged: its SHA-256 is {found[:16]}…, expected {description['sha256'][:16]}…"
            )
        return Checkpoint(
            config=TrainConfig.from_dict(description["config"]),
            tensors=load_file(state),
            step=description["step"],
            seconds=description["seconds"],
            data=description["data"],
            metrics=description["metrics"],
            parts=description.get("parts", {}),
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint {folder} cannot be read: {error}") from error


def has_checkpoint(run: Path) -> bool:
    """Returns whether a run's folder holds one."""
    return any(run.glob(f"checkpoints/step-*/{JSON_FILE}"))


def checkpoints(run: Path) -> list[Path]:
    """Returns the checkpoint folders of a run, the oldest first.

    Raises:
        CheckpointError: If the folder holds none.
    """
    folders = sorted(file.parent for file in run.glob(f"checkpoints/step-*/{JSON_FILE}"))
    if not folders:
        raise CheckpointError(
            f"no checkpoint in {run}: expected {run / 'checkpoints' / 'step-…' / JSON_FILE}"
        )
    return folders


def newest_checkpoint(run: Path) -> Path:
    """Returns the checkpoint folder with the highest step in a run's folder.

    Raises:
        CheckpointError: If the folder holds none.
    """
    return checkpoints(run)[-1]
