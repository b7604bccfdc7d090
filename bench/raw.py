"""The raw engine: the model alone, laid out as the service lays it out, in a process of its own.

It is the ceiling of every figure: no HTTP, no PNG, no seeds, the same latents again and again.
"""

import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.background import run_behind
from models.contract import INPUT_NAME, OUTPUT_NAME

ALONE_SHARE = 0.25
"""How much of a slice goes to one caller with a picture at a time; the rest to all lanes."""

Run = Callable[[NDArray[np.float32]], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How the service runs the model, as its ``/v1/models`` tells."""

    model: Path
    provider: str
    lanes: int
    """Callers at a time."""
    threads: int
    """Processor threads of each."""
    alone_threads: int
    """Processor threads of a caller that is alone with one picture."""
    batch: int
    """Pictures of each call."""
    z_dim: int
    """Length of a latent."""

    @classmethod
    def of(cls, model: Path, description: Mapping[str, Any]) -> Self:
        """Reads the plan from one entry of ``/v1/models``; its largest batch is the one that load fills."""
        layout = description["layout"]
        return cls(
            model=model,
            provider=description["provider"],
            lanes=layout["lanes"],
            threads=layout["threads"],
            alone_threads=layout["alone_threads"],
            batch=layout["batch_sizes"][-1],
            z_dim=description["spec"]["z_dim"],
        )

    def __str__(self) -> str:
        return f"{self.lanes} × {self.threads} threads, batch {self.batch}, {self.provider}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What one slice of the raw engine gave."""

    pictures_per_s: float
    """Pictures a second of all lanes together."""
    alone_ms: float
    """Median time of one picture, one caller, with the threads that the service gives it; in milliseconds."""


class RawEngine:
    """A process that runs the model when told to, and sleeps otherwise."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, plan), daemon=True)
        self._process.start()
        theirs.close()
        self.measure(0.5)  # the first runs allocate

    def measure(self, seconds: float) -> Speed:
        """Runs for some seconds."""
        self._pipe.send(seconds)
        speed: Speed = self._pipe.recv()
        return speed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join()
        self._process.close()
        self._pipe.close()


def _serve(pipe: Connection, plan: Plan) -> None:
    lanes, alone = _open_session(plan) if plan.provider == "cpu" else _open_as_the_service_does(plan)
    z = np.random.default_rng(0).standard_normal((plan.batch, plan.z_dim)).astype(np.float32)
    while (seconds := pipe.recv()) is not None:
        pipe.send(
            Speed(
                pictures_per_s=_rate(lanes, z, seconds * (1 - ALONE_SHARE)),
                alone_ms=_alone_ms(alone, z[:1], seconds * ALONE_SHARE),
            )
        )


def _open_session(plan: Plan) -> tuple[list[Run], Run]:
    """Opens a session that the lanes share, and one for a caller alone where its threads are others."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when it is imported
    import onnxruntime as ort  # noqa: PLC0415

    def open_run(threads: int) -> Run:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = run_behind(
            lambda: ort.InferenceSession(plan.model, options, providers=["CPUExecutionProvider"])
        )
        return lambda z: session.run([OUTPUT_NAME], {INPUT_NAME: z})

    lane = open_run(plan.threads)
    alone = lane if plan.alone_threads == plan.threads else open_run(plan.alone_threads)
    return [lane] * plan.lanes, alone


def _open_as_the_service_does(plan: Plan) -> tuple[list[Run], Run]:
    """Opens the service's own runners, for providers with buffers and graphs that are tuned in many ways."""
    from app.model import load  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415

    loaded = load(Settings(model=plan.model, lanes=plan.lanes))
    return [runner.run for runner in loaded.runners], (loaded.alone or loaded.runners[0]).run


def _rate(lanes: list[Run], z: NDArray[np.float32], seconds: float) -> float:
    """Returns the pictures a second of several callers side by side."""
    counts = [0] * len(lanes)
    began = time.perf_counter()

    def call(lane: int) -> None:
        while time.perf_counter() - began < seconds:
            lanes[lane](z)
            counts[lane] += len(z)

    threads = [threading.Thread(target=call, args=(lane,)) for lane in range(len(lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def _alone_ms(run: Run, z: NDArray[np.float32], seconds: float) -> float:
    """Returns the median milliseconds of a call, one after another."""
    times: list[float] = []
    began = now = time.perf_counter()
    while not times or now - began < seconds:
        run(z)
        times.append(time.perf_counter() - now)
        now = time.perf_counter()
    return statistics.median(times) * 1000
