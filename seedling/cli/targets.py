"""Where pictures go: the names of files, and what they are by their endings."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import typer

from models.contract import SEED_MAX, consecutive_seeds, resolve_seed

F = TypeVar("F", bound=str)

STDOUT = "-"
SEED = "{seed}"
"""What stands for a picture's seed in a pattern of names."""

_FIT = re.compile(r"[\w@+=][\w@+=. -]{0,59}")
"""Seeds that are names of files on any system; 60 characters have at most 240 bytes."""


def name(seed: str) -> str:
    """Returns what the file of a seed is called, but for its ending: the seed, or its number.

    Raises:
        SeedError: If the seed is none.
    """
    number = str(resolve_seed(seed))
    return seed if _FIT.fullmatch(seed) else number


def name_each(seed: str, count: int, variant: int | None) -> list[str]:
    """Returns what the files of a request are called, but for their endings.

    Args:
        seed: The seed of the first.
        count: How many there are.
        variant: Which neighbour the first is; None if they are of consecutive seeds.

    Raises:
        SeedError: If the seed is none.
    """
    if variant is not None:
        return [f"{name(seed)}-{(variant + k) % (SEED_MAX + 1)}" for k in range(count)]
    if count == 1:
        return [name(seed)]
    return [str(number) for number in consecutive_seeds(resolve_seed(seed), count)]


def choose_format(out: str | None, asked: F | None, endings: Mapping[str, F], default: F) -> F:
    """Returns what to write.

    Args:
        out: Where to.
        asked: What was asked for.
        endings: What each ending of a name says.
        default: What to write where nothing is said.

    Raises:
        typer.BadParameter: If the name ends in something else.
    """
    if asked is not None:
        return asked
    ending = Path(out or "").suffix.lower()
    if not ending or Path(out or "").is_dir():
        return default
    if ending not in endings:
        raise typer.BadParameter(
            f"expected a name that ends in {', '.join(endings)}, or --format, got {out!r}",
            param_hint="--out",
        )
    return endings[ending]


def place(out: str | None, names: Sequence[str], ending: str, *, force: bool) -> list[Path]:
    """Returns the files to write.

    Args:
        out: A file, a folder, a pattern with ``{seed}``, or None for the folder that we are in.
        names: What pictures are called.
        ending: What the names of files end in where ``out`` is no pattern.
        force: Whether files may be there.

    Raises:
        typer.BadParameter: If that is too few names, or a file that ``out`` does not name itself is there.
    """
    if out is None:
        paths = [Path(f"{each}{ending}") for each in names]
    elif SEED in out:
        paths = [Path(out.replace(SEED, each)) for each in names]
    elif _is_folder(out, len(names)):
        paths = [Path(out) / f"{each}{ending}" for each in names]
    elif len(names) == 1:
        return [Path(out)]
    else:
        raise typer.BadParameter(
            f"expected a folder or a pattern such as {SEED}{ending} for {len(names)} pictures, got {out!r}",
            param_hint="--out",
        )
    there = [path for path in paths if path.exists()]
    if there and not force:
        more = f", and {len(there) - 1} more are," if len(there) > 1 else ""
        raise typer.BadParameter(
            f"{there[0]} is there already{more}; --force writes over it", param_hint="--out"
        )
    return paths


def _is_folder(out: str, count: int) -> bool:
    if out == STDOUT:
        return False
    return out.endswith(("/", os.sep)) or Path(out).is_dir() or (count > 1 and not Path(out).suffix)


def write(path: Path, content: bytes) -> None:
    """Writes a file; its folder is made if there is none.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def summarise(paths: Sequence[Path]) -> str:
    """Returns a line that says what was written."""
    if len(paths) == 1:
        return f"{paths[0]}\n"
    return f"{len(paths)} pictures, {paths[0]} to {paths[-1]}\n"
