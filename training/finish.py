"""The end of a run with a budget: its best checkpoint as a model file, with a card beside it."""

import logging
import subprocess
import sys
from pathlib import Path

from training.best import choose_checkpoint
from training.checkpoint import CheckpointError, load_checkpoint
from training.cli import one_line
from training.intervals import Figure
from training.judge import Judge
from training.report.card import write_card
from training.report.looks import generator_of

log = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"


def finish(run: Path, name: str, judge: Judge | None) -> Path | None:
    """Exports a run's best checkpoint as ``model.onnx``, with its card, ``README.md`` and ``sheet.png``.

    Args:
        run: The run's folder.
        name: Of the model, for its card.
        judge: Measures the exported generator once more, with intervals; None leaves that out.

    Returns:
        The model file; None if it could not be written, and the log says why.
    """
    choice = choose_checkpoint(run)
    log.info("exporting %s", choice.reason)
    model = run / MODEL_FILE
    if not export(choice.folder, model, name):
        return None
    write_card(choice, name, _measure(choice.folder, judge) if judge else {}, model)
    return model


def export(checkpoint: Path, out: Path, name: str) -> bool:
    """Runs the export as a user would: training knows the command, and not the code behind it."""
    options = ["--name", name, "--form", "auto"]
    command = [sys.executable, "-m", "export.to_onnx", str(checkpoint), str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        said = one_line((done.stderr.strip().splitlines() or ["it did not say why"])[-1])
        log.warning("the export failed: %s; by hand: %s", said, " ".join(command))
    return done.returncode == 0


def _measure(checkpoint: Path, judge: Judge) -> dict[str, Figure]:
    try:
        return judge.measure_with_intervals(generator_of(load_checkpoint(checkpoint), judge.device))
    except (CheckpointError, RuntimeError) as error:
        log.warning("no intervals: %s", error)
        return {}
