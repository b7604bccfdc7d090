"""How the processors are shared out, chosen by measurement when a model is loaded."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.runners import Latents, Pictures
from models.contract import latents

PROBE_SEED = 0x5EED
"""First of the seeds whose pictures are grown to compare and to measure."""

SLICE_S = 0.025
"""Length of one measurement, in seconds; start-up makes a dozen."""

ROUNDS = 2
"""Measurements of each candidate, of which the best counts: what disturbs one only makes it slower."""

GAIN = 1.1
"""What is another way of computing must be faster by this factor to be worth its place."""

Run = Callable[[Latents], Pictures]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a loaded model computes."""

    lanes: int
    """Batches that are grown at the same time."""
    threads: int
    """Processor threads of each."""
    alone_threads: int
    """Processor threads for a picture that is alone in the engine."""
    batch_sizes: tuple[int, ...]
    """Batch sizes that run, ascending; all of them give a picture the same bytes."""
    pictures_per_s: float
    """Speed of all lanes together as measured at start."""


def probe(count: int, z_dim: int) -> Latents:
    """Returns latents to compare and to measure with: (count, z_dim) float32."""
    return latents([PROBE_SEED + k for k in range(count)], z_dim)


def measure(runs: Sequence[Run], z: Latents, seconds: float = SLICE_S) -> float:
    """Measures runs that work side by side, a thread each.

    Args:
        runs: What each thread calls, again and again.
        z: (N, z_dim) float32, the batch.
        seconds: For how long; every thread finishes the batch that it is at.

    Returns:
        Pictures a second of all threads together.
    """
    counts = [0] * len(runs)
    started = time.perf_counter()

    def work(lane: int) -> None:
        while True:
            runs[lane](z)
            counts[lane] += len(z)
            if time.perf_counter() - started >= seconds:
                return

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(1, len(runs))]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def fastest(ways: Mapping[int, Sequence[Run]], z: Latents) -> tuple[int, float]:
    """Chooses a way of running by measurement.

    Args:
        ways: The runs that work side by side, by the name of the way; the first way is kept unless another
            is clearly faster.
        z: (N, z_dim) float32, the batch of each run.

    Returns:
        The name of the way, and its pictures a second.
    """
    speeds = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS if len(ways) > 1 else 1):
        for name, runs in ways.items():
            speeds[name] = max(speeds[name], measure(runs, z))
    chosen = choose(speeds)
    return chosen, speeds[chosen]


def choose(speeds: Mapping[int, float]) -> int:
    """Returns the name of the fastest, or the first one's if that is not clearly slower."""
    first, best = next(iter(speeds)), max(speeds, key=speeds.__getitem__)
    return best if speeds[best] > speeds[first] * GAIN else first


def agree(run: Run, other: Run, z: Latents) -> bool:
    """Tells whether two ways of running give latents, (N, z_dim) float32, pictures of the same bytes.

    Another order of float additions shows at once: a picture has some 50,000 values, and each of them
    may fall on the other side of a rounding.
    """
    return np.array_equal(run(z), other(z))


def in_batches(run: Run, size: int) -> Run:
    """Returns a run that takes latents in batches of one size; their number is a multiple of it."""

    def batched(z: Latents) -> Pictures:
        return np.concatenate([run(z[k : k + size]) for k in range(0, len(z), size)])

    return batched


def agreeing_sizes(run: Run, base: int, candidates: Sequence[int], z_dim: int) -> list[int]:
    """Returns the batch sizes that give every picture the bytes that it has at the base size.

    Args:
        run: Runs a batch of just the size that it gets.
        base: The size that all others are compared with.
        candidates: Sizes to try.
        z_dim: Length of a latent.

    Returns:
        Sizes, ascending, the base among them.
    """
    z = probe(math.lcm(base, *candidates), z_dim)
    wanted = in_batches(run, base)(z)
    same = {size for size in candidates if np.array_equal(in_batches(run, size)(z), wanted)}
    return sorted({base, *same})


def worthwhile_sizes(run: Run, sizes: Sequence[int], z_dim: int) -> tuple[int, ...]:
    """Drops batch sizes, ascending, that are no faster a picture than a smaller one."""
    return gaining({size: max(measure([run], probe(size, z_dim)) for _ in range(ROUNDS)) for size in sizes})


def gaining(speeds: Mapping[int, float]) -> tuple[int, ...]:
    """Returns the batch sizes, ascending, whose pictures a second are clearly more than a smaller one's."""
    kept: list[int] = []
    best = 0.0
    for size, speed in speeds.items():
        if speed > best * GAIN:
            kept.append(size)
            best = speed
    return tuple(kept)
