"""What the commands share: every error a user can cause is one line on stderr and exit code 2."""

import argparse
import io
import sys
from collections.abc import Callable
from typing import NoReturn

from models.contract import SeedlingError

EXIT_ERROR = 2
"""Exit code of a command that said why it could not do its work; argparse's own."""

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells count."""


def one_line(text: str) -> str:
    """Returns a text made fit for one line of a terminal: file names and old errors may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text.

    Args:
        prog: How the command is called, unless it is called as one of the command ``seedling``.
        description: What it is for.
    """

    def __init__(self, prog: str, description: str | None) -> None:
        called = sys.argv[0]
        super().__init__(prog=called if called.startswith("seedling ") else prog, description=description)

    def error(self, message: str) -> NoReturn:
        """Ends the process with ``EXIT_ERROR`` and the message on stderr."""
        self.exit(EXIT_ERROR, f"error: {one_line(message)} (see --help)\n")


def run_cli(main: Callable[[], None]) -> int:
    """Runs a command; expected errors, those of the file system included, become one line on stderr.

    Args:
        main: The command; it parses ``sys.argv`` itself.

    Returns:
        0, ``EXIT_ERROR`` or ``EXIT_INTERRUPTED``, for ``sys.exit``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # an old code page must not turn a "→" into a crash
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
    except (SeedlingError, OSError) as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    return 0
