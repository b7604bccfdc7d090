"""What the benchmarks that send requests share as commands: the model, where figures go, how they fail."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from app.settings import SHIPPED_MODEL
from bench.load import LoadError, require_wrk
from bench.server import ServerError


def parser_of(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Returns a parser that knows ``--model`` and ``--json``.

    Args:
        name: The module in ``bench``.
        doc: What it says of itself, the first line of it in the help.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=(doc or "").split("\n")[0])
    model = Path(os.environ.get("SEEDLING_MODEL", SHIPPED_MODEL))
    parser.add_argument("--model", type=Path, default=model, help="model file (%(default)s)")
    out = Path(f"bench-{name}.json")
    parser.add_argument("--json", type=Path, default=out, help="for all that is measured (%(default)s)")
    return parser


def carry_out(run: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Runs a benchmark; returns the exit code: 2 where wrk is missing or a server does not start."""
    try:
        require_wrk()
        run(arguments)
    except (LoadError, ServerError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0
