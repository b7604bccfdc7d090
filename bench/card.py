"""A model on a CUDA card, without a service: ``python -m bench.card [MODEL]``, on one machine with a card.

For each form and arithmetic, by batch size: pictures a second of the model alone, recorded as CUDA graphs,
and with the latents' way to the card and the pictures' way back; how far its pictures are from the CPU
provider's; and whether they have the same bytes in another run, and in batches of another size.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import export  # noqa: F401 - turns ONNX Runtime's reports to its maker off, before it is loaded

# ruff: isort: split
import numpy as np
import onnx

from app.layout import Run
from app.runners import CudaRunner, Latents, Pictures, SessionRunner
from app.sessions import PRECISIONS, ModelFile, choose_provider
from bench.forms import SHIPPED, make_files
from bench.report import machine, number, table
from export import files
from export.convert import Cost
from export.forms import FORMS
from export.original import original
from models.contract import SeedlingError, latents
from training.cli import Parser, run_cli

KINDS = (*FORMS, "float16")

CPU_BATCH = 16


def pictures_a_second(run: Callable[[], object], count: int, seconds: float) -> float:
    """Returns the median of what runs of ``count`` pictures give, one after another for some seconds."""
    run()
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while not times or time.perf_counter() < stop:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return count / statistics.median(times)


def draw(run: Run, z: Latents, size: int) -> Pictures:
    """Grows pictures in batches of ``size``."""
    return np.concatenate([run(z[k : k + size]).copy() for k in range(0, len(z), size)])


def measure(path: Path, precision: str, wanted: Pictures, args: argparse.Namespace) -> dict[str, Any]:
    """Measures one file in one arithmetic.

    Raises:
        SeedlingError: If ONNX Runtime cannot run it so.
    """
    with path.open("rb") as content:
        session = ModelFile(content, args.provider, precision).open(threads=1)
    z = latents(list(range(len(wanted))), session.get_inputs()[0].shape[1])
    try:
        runner = CudaRunner(session, args.sizes, args.provider)
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise SeedlingError(str(error).strip().splitlines()[-1]) from error
    alone, copied = {}, {}
    for size in args.sizes:
        alone[size] = pictures_a_second(partial(runner.run_in_place, size), size, args.seconds)
        copied[size] = pictures_a_second(partial(runner.run, z[:size]), size, args.seconds)
    found = {size: draw(runner.run, z, size) for size in args.sizes}
    most = args.sizes[-1]
    return {
        "alone": alone,
        "copied": copied,
        "cost": asdict(Cost.of(found[most], wanted)),
        "again": bool(np.array_equal(draw(runner.run, z, most), found[most])),
        "sizes": [size for size in args.sizes if np.array_equal(found[size], found[most])],
    }


def measure_all(source: onnx.ModelProto, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields what was measured of each file in each arithmetic; what cannot be run costs a sentence."""
    made = make_files(source, set(args.kinds))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(source.SerializeToString())
        with path.open("rb") as content:
            session = ModelFile(content, "cpu", "float32").open(threads=0)
        z = latents(list(range(args.sizes[-1])), session.get_inputs()[0].shape[1])
        wanted = draw(SessionRunner(session).run, z, CPU_BATCH)
        for kind in args.kinds:
            model = made[kind]
            if isinstance(model, str):
                raise SeedlingError(f"{kind}: {model}")
            path.write_bytes(model.SerializeToString())
            for precision in PRECISIONS[args.provider] if kind in FORMS else ("float32",):
                name = f"{precision}, {kind}" if kind in FORMS else kind
                try:
                    yield {"file": name} | measure(path, precision, wanted, args)
                except SeedlingError as error:
                    print(f"{name}: {error}", file=sys.stderr, flush=True)


def row(figures: dict[str, Any]) -> list[str]:
    """Returns a line of the table."""
    alone, copied = figures["alone"], figures["copied"]
    return [
        figures["file"],
        *(f"{number(alone[size])} / {number(copied[size])}" for size in alone),
        f"{figures['cost']['largest']}",
        f"{figures['cost']['mean']:.2g}",
        "yes" if figures["again"] else "no",
        ", ".join(map(str, figures["sizes"])),
    ]


def main() -> None:
    """Runs the command line."""
    parser = Parser(prog="python -m bench.card", description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, default=SHIPPED, help="default: the shipped model")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="default: all")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 16, 64, 256, 1024], help="batch sizes")
    parser.add_argument("--seconds", type=float, default=0.5, help="measuring time a figure; default 0.5")
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda", help="cpu: to try this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    args.sizes = sorted(set(args.sizes))
    choose_provider(args.provider)
    measured = list(measure_all(original(files.read(args.model)[0]), args))
    heads = ["file", *map(str, args.sizes), "most", "mean", "again", "sizes of the same bytes"]
    print(table(heads, map(row, measured)))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rows": measured}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))
