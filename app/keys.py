"""Makes keys and secrets to sign with: ``python -m app.keys new NAME --file FILE``.

Each is shown once, alone on standard output. To take one away, delete its line.
"""

import os
import re
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.keyring import PREFIX, hash_key

RANDOM_BYTES = 32
"""Of a key, or a secret: 256 bits, which nobody guesses."""

_NAME = re.compile(r"[a-z0-9-]{1,64}")

command = typer.Typer(add_completion=False, no_args_is_help=True)


def _check(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"expected 1 to 64 of a-z, 0-9 and -, got {name!r}")
    return name


Name = Annotated[str, typer.Argument(callback=_check, help="Who it is for; logs and metrics may show it.")]
File = Annotated[
    Path | None, typer.Option(help="File to add the line to; made if missing, readable by you alone.")
]


@command.command()
def new(
    name: Name,
    file: File = None,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Open the calls for operators to it too.")] = False,
) -> None:
    """Make a key. A name may have several, so that one can be exchanged while both are good."""
    key = f"{PREFIX}{name}_{secrets.token_urlsafe(RANDOM_BYTES)}"
    _keep(f"{name}:{'admin' if admin else 'key'}:{hash_key(key).hex()}", file)
    sys.stdout.write(f"{key}\n")


@command.command()
def sign(name: Name, file: File = None) -> None:
    """Make a secret to sign addresses with. The file holds it as it is, for the service needs it too."""
    secret = secrets.token_urlsafe(RANDOM_BYTES)
    _keep(f"{name}:sign:{secret}", file)
    sys.stdout.write(f"{secret}\n")


def _keep(line: str, file: Path | None) -> None:
    if file is None:
        sys.stderr.write(f"add this line to the file that SEEDLING_KEYS names:\n{line}\n")
        return
    with os.fdopen(os.open(file, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600), "a+b") as lines:
        whole = lines.tell() == 0 or os.pread(lines.fileno(), 1, lines.tell() - 1) == b"\n"
        lines.write(b"" if whole else b"\n")  # the last line may have been written by hand
        lines.write(f"{line}\n".encode())


if __name__ == "__main__":
    command()
