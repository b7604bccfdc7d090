"""Workers × lanes × threads × batch: ``python -m bench.tune [MODEL]`` measures every way to share the cores.

The service measures lanes and threads itself at start, in a fraction of a second; this takes its time over
more ways, and prints the settings of the best.
"""

import contextlib
import itertools
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.cpus import available_cpus
from app.sessions import ModelFile, read_card
from app.settings import SHIPPED_MODEL
from bench.raw import Plan, RawEngine
from training.cli import Parser, run_cli


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to share the cores."""

    workers: int
    cpus: int
    """Of each worker, all of them for a picture alone."""
    lanes: int
    threads: int
    """Of each lane."""
    batch: int

    def settings(self) -> str:
        """Returns the environment that makes the service run so."""
        sizes = sorted({1, self.batch})  # without 1, a picture alone would be grown as a whole batch
        return (
            f"SEEDLING_WORKERS={self.workers} SEEDLING_LANES={self.lanes} "
            f"SEEDLING_THREADS={self.workers * self.cpus} "
            f"SEEDLING_BATCH_SIZES='[{','.join(map(str, sizes))}]'"
        )


def ways(cpus: int, batches: list[int]) -> list[Way]:
    """Returns the ways that the service has: only at batch 1 it gives a lane threads of its own.

    At larger batches all lanes of a worker share a session with all of its threads.
    """
    shares = [n for n in range(1, cpus + 1) if cpus % n == 0]
    return [
        Way(
            workers=workers,
            cpus=cpus // workers,
            lanes=lanes,
            threads=cpus // workers // (lanes if batch == 1 else 1),
            batch=batch,
        )
        for workers, lanes, batch in itertools.product(shares, shares, batches)
        if cpus % (workers * lanes) == 0
    ]


def read_z_dim(model: Path) -> int:
    """Returns the length of a model file's latents."""
    with model.open("rb") as content:
        return read_card(ModelFile(content, "cpu", "float32").open(threads=1)).spec.z_dim


def measure(model: Path, z_dim: int, way: Way, seconds: float) -> tuple[float, float]:
    """Runs a way.

    Returns:
        Pictures a second of all workers together, and the median time of a picture for one caller in each
        worker, in milliseconds.
    """
    plan = Plan(
        model=model,
        provider="cpu",
        lanes=way.lanes,
        threads=way.threads,
        alone_threads=way.cpus,
        batch=way.batch,
        z_dim=z_dim,
    )
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(RawEngine(plan)) for _ in range(way.workers)]
        with ThreadPoolExecutor(way.workers) as pool:
            speeds = list(pool.map(lambda engine: engine.measure(seconds), engines))
    return sum(speed.pictures_per_s for speed in speeds), statistics.median(s.alone_ms for s in speeds)


def main() -> None:
    """Prints a table, the fastest way first."""
    parser = Parser(prog="python -m bench.tune", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    args = parser.parse_args()
    z_dim = read_z_dim(args.model)
    candidates = ways(available_cpus(), args.batches)
    found: dict[Way, list[tuple[float, float]]] = {way: [] for way in candidates}
    for _ in range(args.rounds):
        for way in candidates:
            found[way].append(measure(args.model, z_dim, way, args.seconds))
    rows = [
        (*(statistics.median(column) for column in zip(*results, strict=True)), way)
        for way, results in found.items()
    ]
    rows.sort(key=lambda row: -row[0])
    print("| pictures/s | of the best | one picture, ms | workers | lanes | threads | batch |")
    print("|---|---|---|---|---|---|---|")
    for speed, alone_ms, way in rows:
        print(
            f"| {speed:.0f} | {speed / rows[0][0]:.2f} | {alone_ms:.1f} | {way.workers} | {way.lanes} | "
            f"{way.threads} | {way.batch} |"
        )
    print(f"\nthe fastest: {rows[0][2].settings()}")


if __name__ == "__main__":
    sys.exit(run_cli(main))
