"""Commands, run in this process: a new one takes longer to load torch than most of them run."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from training.cli import run_cli


def run_here(
    main: Callable[[], None], *arguments: object, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a command; returns what it would have left in a process of its own.

    Args:
        main: The command, which reads ``sys.argv``.
        arguments: Its arguments.
        cwd: Where it runs.
    """
    words = ["command", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", words),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = run_cli(main)
        except SystemExit as end:  # a wrong flag
            code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
