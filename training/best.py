"""Which checkpoint of a run is its best: the one whose measured Fréchet distance is lowest."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from training.checkpoint import JSON_FILE, CheckpointError, checkpoints, newest_checkpoint

DECIDES = "fd_"
"""How the names of the figures begin that decide; lower is better."""


class Choice(NamedTuple):
    """A checkpoint, and why it was taken."""

    folder: Path
    reason: str
    """The checkpoint's name and the reason, in a phrase."""
    metrics: dict[str, float]
    """What was measured of it."""


def best_checkpoint(run: Path) -> Choice | None:
    """Returns the best measured checkpoint of a run; None where none was measured.

    Only figures of one name can be compared: of several names, the one that most checkpoints have counts.

    Args:
        run: The run's folder.
    """
    try:
        measured = {folder: _metrics(folder) for folder in checkpoints(run)}
    except CheckpointError:
        return None
    names = Counter(name for metrics in measured.values() for name in metrics if name.startswith(DECIDES))
    if not names:
        return None
    [(name, count)] = names.most_common(1)
    figures = {folder: metrics[name] for folder, metrics in measured.items() if name in metrics}
    folder = min(figures, key=lambda folder: (figures[folder], folder.name))
    reason = "the only measured one" if count == 1 else f"the best of the {count} kept that were measured"
    return Choice(folder, f"{folder.name}, {reason}: {name} {figures[folder]:.4g}", measured[folder])


def choose_checkpoint(path: Path, *, newest: bool = False) -> Choice:
    """Returns the checkpoint to export or to measure: a run's best, where one was measured, else its newest.

    Args:
        path: A checkpoint's folder, which is taken itself, or a run's.
        newest: Whether to take a run's newest anyway.

    Raises:
        CheckpointError: If there is none.
    """
    if (path / JSON_FILE).is_file():
        return Choice(path, path.name, _metrics(path))
    best = None if newest else best_checkpoint(path)
    if best is not None:
        return best
    folder = newest_checkpoint(path)
    return Choice(folder, f"{folder.name}, the newest", _metrics(folder))


def _metrics(folder: Path) -> dict[str, float]:
    try:
        metrics = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))["metrics"]
        return {str(name): float(value) for name, value in metrics.items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}  # damaged: whoever loads it says so
