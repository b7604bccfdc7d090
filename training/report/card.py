"""The card of a model: ``README.md`` and ``sheet.png`` beside it, for whoever gets the file."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from training.best import Choice
from training.checkpoint import load_checkpoint
from training.durations import tell_duration
from training.intervals import Figure
from training.report.again import again
from training.report.looks import SHEET_SIDE, generator_of
from training.report.page import environment
from training.samples import fixed_latents, save_sheet

CARD_FILE = "README.md"
SHEET_FILE = "sheet.png"


@torch.no_grad()
def write_card(choice: Choice, name: str, figures: Mapping[str, Figure], model: Path) -> None:
    """Writes a model's card and sheet into its folder.

    Args:
        choice: The checkpoint that was exported.
        name: Of the model.
        figures: Measured quality with intervals, by full name.
        model: The model file.
    """
    checkpoint = load_checkpoint(choice.folder)
    generator = generator_of(checkpoint, torch.device("cpu"))
    save_sheet(generator(fixed_latents(SHEET_SIDE**2, checkpoint.spec.z_dim)), model.with_name(SHEET_FILE))
    content = model.read_bytes()
    config = checkpoint.config
    text = (
        environment()
        .get_template("card.md.jinja")
        .render(
            name=name,
            side=checkpoint.spec.img_resolution,
            file=model.name,
            size=f"{len(content) / 1e6:.1f} MB",
            sha256=hashlib.sha256(content).hexdigest(),
            weights=sum(weight.numel() for weight in generator.parameters()),
            z_dim=checkpoint.spec.z_dim,
            data=checkpoint.data,
            shown=checkpoint.step * config.batch_size,
            time=tell_duration(checkpoint.seconds),
            chosen=bool(choice.metrics),
            figures=figures,
            command=again(config.to_dict(), checkpoint.data),
        )
    )
    model.with_name(CARD_FILE).write_text(text, encoding="utf-8")
