"""Training speed beside a plain loop and PyTorch's own example: ``python -m bench.train [--help]``.

The three take turns in one run, with a matrix product between them, so that the ratios count and not the
machine's mood. They play one game with one pair of networks; the others do not augment or average.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from bench.plain_training import Step, example_step, plain_step
from bench.report import Figure, figures_table, machine, number, table, write_json
from training.cli import Parser, run_cli
from training.config import PRESETS, TrainConfig
from training.flags import add_recipe, choose_device, configure
from training.held_out import fresh_avatars
from training.loop import Trainer

MATRIX_SIDE = {"cuda": 8192, "cpu": 2048}
"""Side of the matrices whose product tells what the device can do."""

OURS, PLAIN, EXAMPLE = "ours", "plain loop", "PyTorch's example's way"

Rates = dict[str, list[float]]


def pictures_a_second(step: Step, batch_size: int, seconds: float, device: torch.device) -> float:
    """Runs whole steps for some seconds, at least one."""
    count, began = 0, time.perf_counter()
    while not count or time.perf_counter() - began < seconds:
        step()
        count += 1
    _wait_for(device)
    return count * batch_size / (time.perf_counter() - began)


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Returns the floating-point operations a second of a product of square matrices."""
    side = MATRIX_SIDE[device.type]
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    torch.mm(a, b)  # the first one chooses a kernel
    _wait_for(device)
    count, began = 0, time.perf_counter()
    while not count or time.perf_counter() - began < seconds:
        torch.mm(a, b)
        count += 1
        _wait_for(device)
    return count * 2 * side**3 / (time.perf_counter() - began)


def operations_a_picture(step: Step, batch_size: int) -> float:
    """Returns the floating-point operations of convolutions and matrix products in a step, a picture."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / batch_size


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    steps: Mapping[str, Step], args: argparse.Namespace, batch_size: int, device: torch.device
) -> tuple[Rates, list[float]]:
    """Returns the pictures a second of each way, and the device's rate for matrices, one a round."""
    for step in steps.values():
        for _ in range(args.warm_up):
            step()
    rates: Rates = {name: [] for name in steps}
    peaks: list[float] = []
    for turn in range(args.rounds):
        # A processor without bfloat16 multiplies it slower than float32: what counts is its best.
        kinds = (torch.bfloat16, torch.float32)
        peaks.append(max(matrix_rate(device, dtype, args.seconds / 10) for dtype in kinds))
        for name, step in steps.items():
            rate = pictures_a_second(step, batch_size, args.seconds, device)
            rates[name].append(rate)
            print(f"round {turn + 1}/{args.rounds}: {name}: {number(rate)} pictures/s", flush=True)
    return rates, peaks


def figures(rates: Rates) -> list[Figure]:
    """Returns how far ours is ahead, medians of the rounds."""
    wanted = {PLAIN: 3.0, EXAMPLE: 3.0}  # of a GPU; what a CPU can do is in docs/performance.md
    return [
        Figure(
            name=f"pictures/s ÷ {name}",
            value=statistics.median(
                ours / theirs for ours, theirs in zip(rates[OURS], rates[name], strict=True)
            ),
            wanted=wanted[name],
        )
        for name in wanted
        if name in rates
    ]


def write_pictures(pixels: NDArray[np.uint8], folder: Path) -> None:
    """Writes (N, H, W, 3) pixels as JPEG files into a folder in this one, as the example wants them."""
    (folder / "all").mkdir()
    for k, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / "all" / f"{k}.jpg", quality=90)


def build_parser() -> Parser:
    """Returns the command line; every field of the recipe is a flag."""
    parser = Parser(prog="python -m bench.train", description=__doc__.split("\n")[0])
    parser.add_argument("--device", help="cuda or cpu; default: cuda where there is one")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement; default 5")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way; default 5")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before the first; default 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured there too")
    parser.add_argument("--preset", choices=PRESETS, help="named recipe; default spec")
    parser.set_defaults(budget=None)
    add_recipe(parser)
    return parser


def measure(args: argparse.Namespace, config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """Measures the three ways, and returns everything."""
    size = config.batch_size
    pixels = fresh_avatars(0, max(size, 256), config.spec.img_resolution)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_pictures(pixels, folder)
        plain = plain_step(config, pixels, device)
        trainer = Trainer(config, pixels, device)
        steps: dict[str, Step] = {
            OURS: trainer.train_step,
            PLAIN: plain,
            EXAMPLE: example_step(config, folder, device),
        }
        operations = operations_a_picture(plain, size)
        rates, peaks = take_turns(steps, args, size, device)
        settled = trainer.config.to_dict()
    return {"config": settled, "operations_a_picture": operations, "rates": rates, "peaks": peaks}


def main() -> None:
    """Prints a table."""
    args = build_parser().parse_args()
    config, device = configure(args), choose_device(args.device)
    measured = measure(args, config, device)
    peak = statistics.median(measured["peaks"])
    rows = []
    for name, values in measured["rates"].items():
        share = statistics.median(values) * measured["operations_a_picture"] / peak
        rows.append((name, number(statistics.median(values)), f"{share:.1%}"))
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    settings = ", ".join(str(measured["config"][key]) for key in ("arithmetic", "layout", "execution"))
    print(f"\n{device.type}, {name}: {peak / 1e12:.3g} Tflop/s in products of matrices")
    print(f"ours: {settings}; batches of {config.batch_size}\n")
    print(table(("", "pictures/s", "share of the matrix rate"), rows), end="\n\n")
    found = figures(measured["rates"])
    print(figures_table(found))
    if args.json:
        write_json(args.json, {"machine": machine(), "device": name, **measured}, found)


if __name__ == "__main__":
    sys.exit(run_cli(main))
