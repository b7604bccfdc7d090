"""Turns any folder or zip of pictures into equal squares of RGB: ``python -m training.prepare SRC DST``.

With ``SRC --check`` it only reports what is wrong with them, and advises.
"""

import argparse
import json
import sys
from pathlib import Path

from PIL import ImageColor

from training.check import check
from training.cli import Parser, run_cli
from training.data import MIN_PICTURES
from training.doctor import counted
from training.squares import PrepareError, check_outside, prepare


def _color(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a colour such as #ffffff or white") from None
    return red, green, blue


def build_parser() -> Parser:
    """Returns the command line."""
    parser = Parser(prog="python -m training.prepare", description=__doc__)
    parser.add_argument(
        "source", type=Path, metavar="SRC", help="folder, at any depth, or zip; never touched"
    )
    parser.add_argument("target", type=Path, metavar="DST", nargs="?", help="new or empty folder")
    parser.add_argument("--resolution", type=int, default=128, metavar="PX", help="side in pixels (128)")
    parser.add_argument(
        "--background",
        type=_color,
        metavar="COLOR",
        default="#ffffff",
        help="behind the transparent (#ffffff)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads (one per processor)")
    parser.add_argument(
        "--packed", action="store_true", help="one file instead of PNGs: for more than fit into memory"
    )
    parser.add_argument("--check", action="store_true", help="report and advise; instead of DST")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="with --check: samples as training sees them"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --check: the whole report")
    return parser


def run_prepare(args: argparse.Namespace) -> None:
    """Prepares the pictures and prints the report."""
    report = prepare(
        args.source,
        args.target,
        resolution=args.resolution,
        background=args.background,
        workers=args.workers,
        packed=args.packed,
    )
    sys.stdout.write("\n".join(report.lines()) + f" → {args.target}\n")
    if not report.prepared:
        raise PrepareError(f"none of the {counted(report.found, 'picture')} could be used")


def run_check(args: argparse.Namespace) -> None:
    """Examines the pictures and prints what was found."""
    check_outside(args.source, args.json)
    found = check(
        args.source,
        resolution=args.resolution,
        background=args.background,
        workers=args.workers,
        sheet=args.sheet,
    )
    sys.stdout.write("\n".join(found.lines()) + "\n")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    if found.usable < MIN_PICTURES:
        raise PrepareError(f"{counted(found.usable, 'picture')} can be read, training needs {MIN_PICTURES}")


def main() -> None:
    """Runs the command line."""
    parser = build_parser()
    args = parser.parse_intermixed_args()  # since Python 3.11 takes an optional DST only right after SRC
    if args.check and args.target:
        parser.error("--check writes no pictures: leave out DST")
    if not args.check and (args.sheet or args.json):
        parser.error("--sheet and --json go with --check")
    if not args.check and not args.target:
        parser.error("the following arguments are required: DST")
    run_check(args) if args.check else run_prepare(args)


if __name__ == "__main__":
    sys.exit(run_cli(main))
