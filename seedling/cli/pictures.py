"""``seedling generate`` and ``seedling interpolate``: pictures to files, of a service or in this process."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.progress import Progress

from seedling.cli import options as given
from seedling.cli import targets
from seedling.client import Client
from seedling.offline import Local
from seedling.vocabulary import Motion, PathOptions, PictureOptions, Still

MANY = 16
"""From so many pictures on a terminal shows how far it is."""

STILLS: dict[str, Still] = {f".{form}": form for form in get_args(Still)} | {".jpeg": "jpg"}
MOTIONS: dict[str, Motion] = {
    ".png" if form == "strip" else f".{form}": form for form in get_args(Motion) if form != "sheet"
}

Seeds = Annotated[
    list[str], typer.Argument(metavar="SEED", help="Any text, or integers 0…2^64-1.", show_default=False)
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Pictures from each seed on.")]
PicturesOut = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        help="A file, a folder, a pattern such as faces/{seed}.png, or - for stdout; SEED.png by default.",
        rich_help_panel=given.FILE,
    ),
]
PathOut = Annotated[
    str | None,
    typer.Option(
        "--out", "-o", help="A file, or - for stdout; A-B.png by default.", rich_help_panel=given.FILE
    ),
]


def generate(  # noqa: PLR0913 - each is an option
    seeds: Seeds,
    *,
    count: Count = 1,
    out: PicturesOut = None,
    format_: given.PictureFormat = None,
    force: given.Force = False,
    to: given.To = None,
    t: given.Share = None,
    method: given.Way = None,
    with_: given.With = None,
    weights: given.Weights = None,
    radius: given.Radius = None,
    variant: given.Variant = None,
    truncation: given.Truncation = None,
    size: given.Size = None,
    shape: given.CutOut = None,
    background: given.Background = None,
    quality: given.Quality = None,
    model: given.Model = None,
    url: given.Url = None,
    key: given.Key = None,
) -> None:
    """Grow the pictures of seeds, and of those that follow.

    Without --url everything happens in this process, with the bytes that a service of the same model gives.
    """
    form = targets.choose_format(out, format_, STILLS, "png")
    wanted: PictureOptions = {
        "to": to,
        "t": t,
        "method": method,
        "with_": with_ or None,
        "weights": _numbers(weights),
        "radius": radius,
        "variant": variant,
        "truncation": truncation,
        "size": size,
        "shape": shape,
        "background": background,
        "quality": quality,
        "format": form,
        "model": model if url else None,
    }
    start = None if radius is None else variant or 0
    names = [name for seed in seeds for name in targets.name_each(seed, count, start)]
    if out == targets.STDOUT and len(names) == 1:
        with connect(url, model, key) as client:
            sys.stdout.buffer.write(client.generate(seeds[0], **wanted)[0].content)
        return
    paths = targets.place(out, names, f".{form}", force=force)
    with connect(url, model, key) as client:
        _write_all(client, seeds, count, wanted, paths)
    sys.stdout.write(targets.summarise(paths))


def interpolate(  # noqa: PLR0913 - each is an option
    a: Annotated[str, typer.Argument(metavar="A", help="The seed to begin with.", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The seed to end with.", show_default=False)],
    *,
    out: PathOut = None,
    format_: given.PathFormat = None,
    force: given.Force = False,
    via: given.Via = None,
    steps: given.Steps = None,
    method: given.Way = None,
    easing: given.Pace = None,
    loop: given.Loop = False,
    truncation: given.Truncation = None,
    size: given.Size = None,
    shape: given.CutOut = None,
    background: given.Background = None,
    quality: given.Quality = None,
    frame_ms: given.FrameMs = None,
    model: given.Model = None,
    url: given.Url = None,
    key: given.Key = None,
) -> None:
    """Grow the pictures on the way from one seed to another: a strip, an animation, a film."""
    form = targets.choose_format(out, format_, MOTIONS, "strip")
    wanted: PathOptions = {
        "via": via or None,
        "steps": steps,
        "method": method,
        "easing": easing,
        "loop": loop or None,
        "truncation": truncation,
        "size": size,
        "shape": shape,
        "background": background,
        "quality": quality,
        "frame_ms": frame_ms,
        "format": form,
        "model": model if url else None,
    }
    ending = ".png" if form in {"strip", "sheet", "apng"} else f".{form}"
    stem = f"{targets.name(a)}-{targets.name(b)}"
    paths = [] if out == targets.STDOUT else targets.place(out, [stem], ending, force=force)
    with connect(url, model, key) as client:
        content = client.interpolate(a, b, **wanted)
    if not paths:
        sys.stdout.buffer.write(content)
        return
    targets.write(paths[0], content)
    sys.stdout.write(targets.summarise(paths))


def _write_all(
    client: Client, seeds: list[str], count: int, wanted: PictureOptions, paths: list[Path]
) -> None:
    """Grows pictures and writes them, each as soon as it is there."""
    console = Console(stderr=True)
    rest = iter(paths)
    with Progress(
        console=console, transient=True, disable=len(paths) < MANY or not console.is_terminal
    ) as progress:
        task = progress.add_task("growing", total=len(paths))
        for seed in seeds:
            for picture in client.stream(seed, count, **wanted):
                targets.write(next(rest), picture.content)
                progress.advance(task)


@contextlib.contextmanager
def connect(url: str | None, model: str | None, key: str | None) -> Iterator[Client]:
    """Yields what grows pictures: a service, or a model in this process."""
    if url is not None:
        client = Client(url, key=key)
    else:
        with Console(stderr=True).status("loading the model"):
            client = Local(model)
    with client:
        yield client


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"expected numbers with commas between them, such as 2,1, got {text!r}", param_hint="--weights"
        ) from None
