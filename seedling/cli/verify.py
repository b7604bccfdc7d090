"""``seedling verify``: whether a service, or a model file, grew pictures."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seedling.cli import options as given
from seedling.cli.pictures import connect

GROWN = {"identical", "same_pixels"}
"""What it must be told of every picture for the exit code 0."""


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="PNGs.", show_default=False)],
    *,
    seed: Annotated[
        str | None, typer.Option(help="What each should be of; what it says itself by default.")
    ] = None,
    model: given.Model = None,
    url: given.Url = None,
    key: given.Key = None,
) -> None:
    """Tell whether a model grew pictures, by growing them again; exit with 1 if not all were."""
    grown = True
    contents = [file.read_bytes() for file in files]
    with connect(url, model, key) as client:
        for file, content in zip(files, contents, strict=True):
            found = client.verify(content, seed, model=model if url and seed else None)
            sys.stdout.write(f"{file}: {found['verdict']}: {found['detail']}\n")
            grown &= found["verdict"] in GROWN
    if not grown:
        raise typer.Exit(1)
