"""The command ``seedling`` for tests: what runs it, and what is looked at after it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Done = subprocess.CompletedProcess[bytes]
Shell = Callable[..., Done]
"""Runs the command with some arguments."""

SEEDLING = [sys.executable, "-m", "seedling"]


def files(folder: Path) -> set[str]:
    """Returns what is in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check(done: Done, code: int, *words: str) -> None:
    """Checks that a command said one thing on one line, and nothing else."""
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (code, b"", 1), said
    assert said.startswith("error: ")
    for word in words:
        assert word in said
