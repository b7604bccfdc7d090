"""The command ``seedling``.

An error is one line on stderr. The exit code is 0; 1 if a request failed, 2 if it was wrong,
130 after Ctrl-C.
"""

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from models.contract import SeedlingError
from seedling.cli.catalogue import models
from seedling.cli.hand_over import OTHERS, forward, serve
from seedling.cli.pictures import generate, interpolate
from seedling.cli.verify import verify
from seedling.errors import NoAnswerError, ServiceError

EXIT_FAILED, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130

EXTRAS = {"onnxruntime": "ONNX Runtime, of the extra cpu, cuda or openvino: make serve"}
"""What brings a module that is not there, but for those of the extra train."""

THEIRS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""What follows the name of such a command is not looked at here."""

app = typer.Typer(no_args_is_help=True)
app.command()(generate)
app.command()(interpolate)
app.command()(models)
app.command()(verify)
app.command(context_settings=THEIRS, add_help_option=False)(serve)
for name in OTHERS:
    app.command(name, context_settings=THEIRS, add_help_option=False)(forward(name))


def _tell_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        sys.stdout.write(f"seedling {version('seedling')}\n")
        raise typer.Exit


@app.callback()
def seedling(
    *,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version, and end."),
    ] = False,
) -> None:
    """Grow pictures from seeds, serve what grows them, and train it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows ``seedling``; those of the process when missing.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an old code page must not turn a "→" into a crash
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int | None = typer.main.get_command(app).main(
            arguments, prog_name="seedling", standalone_mode=False
        )
    except typer.TyperException as error:
        message = error.format_message()  # none where help was shown for want of a command
        return _fail(f"{message} (see --help)", error.exit_code) if message else error.exit_code
    except (SeedlingError, OSError) as error:
        return _fail(*_explain(error))
    except ModuleNotFoundError as error:
        wanted = EXTRAS.get(error.name or "", f"{error.name}, of the extra train: make train-env")
        return _fail(f"this needs {wanted}", EXIT_WRONG)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    return code or 0


def _explain(error: Exception) -> tuple[str, int]:
    """Returns what to say of an error, and the exit code."""
    if isinstance(error, ServiceError) and error.is_refusal:
        return error.detail, EXIT_WRONG
    return str(error), EXIT_FAILED if isinstance(error, ServiceError | NoAnswerError) else EXIT_WRONG


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code
