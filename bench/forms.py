"""Every form and arithmetic of a model file on every provider that is here, and what each costs.

``python -m bench.forms [MODEL] [--fd DATA] [--json FILE]`` prints a Markdown table. The rows take turns in
one run, so their ratios count, not their absolute figures. Without torch: ``--fd`` needs it.
"""

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import export  # noqa: F401 - turns ONNX Runtime's reports to its maker off, before it is loaded

# ruff: isort: split
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from export import files
from export.convert import Cost, convert
from export.forms import FORMS
from export.original import original
from models.contract import INPUT_NAME, OUTPUT_NAME, SeedlingError, latents
from training.cli import Parser, run_cli

SHIPPED = Path(__file__).parents[1] / "models" / "pretrained" / "avatars" / "avatars.onnx"

SEEDS = 256
"""Pictures that are compared with the original's."""

SAME_BYTES = 32
"""Pictures of which the bytes are compared at several batch sizes and thread counts."""

SIZES = (1, 4, 16)
"""Batch sizes that are measured."""

KINDS = (*FORMS, "float16", "int8", "integer")

CPU, OPENVINO, CUDA = "CPUExecutionProvider", "OpenVINOExecutionProvider", "CUDAExecutionProvider"

PACKAGES = {
    OPENVINO: "onnxruntime-openvino in place of onnxruntime",
    CUDA: "onnxruntime-gpu[cuda,cudnn] and a GPU",
}

Options = Callable[[int], dict[str, str]]


def openvino(precision: str) -> Options:
    """Returns the provider's options for a number of threads; ``precision`` is ``f32`` or ``bf16``.

    The option ``precision`` of the provider itself knows no bf16 on a processor: it must be OpenVINO's
    own hint, through ``load_config``.
    """

    def options(threads: int) -> dict[str, str]:
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(threads)}
        return {"device_type": "CPU", "load_config": json.dumps({"CPU": hints})}

    return options


def cuda(_: int) -> dict[str, str]:
    """Returns the provider's options as the service sets them: no TF32 in float32, and channels last."""
    return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"}


PROVIDERS: dict[str, tuple[str, Options, tuple[str, ...]]] = {
    "cpu": (CPU, lambda _: {}, KINDS),
    "openvino f32": (OPENVINO, openvino("f32"), ("transposed", "phases", "winograd", "int8")),
    "openvino bf16": (OPENVINO, openvino("bf16"), ("transposed", "subpixel", "phases", "winograd")),
    "cuda": (CUDA, cuda, ("transposed", "phases", "winograd", "float16")),
}
"""By the name in the table: the provider, its options, and the kinds of file to run on it."""


@dataclass(kw_only=True, slots=True)
class Row:
    """One kind of file on one provider."""

    kind: str
    provider: str
    megabytes: float = 0.0
    """Length of the file."""
    speed: dict[str, float] = field(default_factory=dict)
    """Pictures a second by ``threads/batch``."""
    cost: Cost | None = None
    pictures: NDArray[np.uint8] | None = None
    """The first few, at the first thread count."""
    same_bytes: bool = True
    """Whether pictures have the same bytes at each batch size and at 1 and all threads."""
    distance: float | None = None
    problem: str = ""
    """Why it was not measured."""

    def as_json(self) -> dict[str, Any]:
        """Returns the figures; JSON has no infinity, so equal pictures have no PSNR."""
        figures = {key: value for key, value in asdict(self).items() if key != "pictures"}
        if self.cost and math.isinf(self.cost.psnr):
            figures["cost"]["psnr"] = None
        return figures


def available_threads() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_files(model: onnx.ModelProto, kinds: set[str]) -> dict[str, onnx.ModelProto | str]:
    """Returns the model in several forms and arithmetics, or why it cannot be had, by kind."""
    made: dict[str, onnx.ModelProto | str] = {"transposed": model}
    for kind in kinds:
        try:
            made[kind] = convert(model, form=kind) if kind in FORMS else convert(model, kind)
        except SeedlingError as error:
            made[kind] = str(error)
    return made


def open_session(model: onnx.ModelProto, provider: str, threads: int) -> ort.InferenceSession:
    """Opens a session on a provider of ``PROVIDERS`` and on no other.

    Raises:
        SeedlingError: If ONNX Runtime fell back.
    """
    name, options_for, _ = PROVIDERS[provider]
    if name == CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    fallback = [] if name == CPU else [CPU]
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=[(name, options_for(threads)), *fallback]
    )
    if session.get_providers()[0] != name:
        raise SeedlingError(f"{name} gave way to {session.get_providers()[0]}")
    return session


def draw(session: ort.InferenceSession, z: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Grows pictures in batches of ``size``, the length of ``z`` a multiple of it."""
    parts = [session.run([OUTPUT_NAME], {INPUT_NAME: z[k : k + size]})[0] for k in range(0, len(z), size)]
    return np.concatenate(parts)


def measure(sessions: list[ort.InferenceSession], z: NDArray[np.float32], seconds: float) -> list[float]:
    """Lets sessions take turns at one batch; returns the pictures a second of each, medians."""
    for session in sessions:
        draw(session, z, len(z))  # the first run allocates
    times: list[list[float]] = [[] for _ in sessions]
    stop = time.perf_counter() + seconds * len(sessions)
    while time.perf_counter() < stop:
        for session, row in zip(sessions, times, strict=True):
            started = time.perf_counter()
            draw(session, z, len(z))
            row.append(time.perf_counter() - started)
    return [len(z) / statistics.median(row) for row in times]


def fill(rows: list[Row], made: dict[str, onnx.ModelProto], seconds: float) -> None:
    """Measures the rows: speed, cost against the float32 original on the CPU provider, sameness of bytes."""
    z = latents(list(range(SEEDS)), files.read_card(made["transposed"]).spec.z_dim)
    wanted = draw(open_session(made["transposed"], "cpu", 0), z, SIZES[1])
    for threads in sorted({1, available_threads()}):
        sessions = [open_session(made[row.kind], row.provider, threads) for row in rows]
        for row, session in zip(rows, sessions, strict=True):
            found = draw(session, z, SIZES[1])
            row.cost = row.cost or Cost.of(found, wanted)
            row.pictures = found[:SAME_BYTES] if row.pictures is None else row.pictures
            for size in SIZES:
                again = draw(session, z[:SAME_BYTES], size)
                row.same_bytes = row.same_bytes and np.array_equal(again, row.pictures)
            row.megabytes = round(made[row.kind].ByteSize() / 1e6, 1)
        for size in SIZES:
            for row, speed in zip(rows, measure(sessions, z[:size], seconds), strict=True):
                row.speed[f"{threads}/{size}"] = round(speed, 1)


def measure_distances(
    rows: list[Row], made: dict[str, onnx.ModelProto], source: str, samples: int, real: int
) -> None:
    """Adds the Fréchet distances between each row's pictures and real ones, as training.evaluate has them.

    Raises:
        SeedlingError: If the parts for training are not installed.
    """
    try:
        import torch  # noqa: PLC0415
        from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: PLC0415

        from training.data import default_cache, load_pictures  # noqa: PLC0415
        from training.evaluate import BATCH, picture_batches  # noqa: PLC0415
        from training.features import FeatureExtractor  # noqa: PLC0415
    except ImportError as error:
        raise SeedlingError(f"--fd needs the parts for training (make train-env): {error}") from error
    spec = files.read_card(made["transposed"]).spec
    side = spec.img_resolution
    distance = FrechetInceptionDistance(
        FeatureExtractor(), reset_real_features=False, input_img_size=(3, side, side)
    )
    for batch in picture_batches(
        load_pictures(source, resolution=side, cache=default_cache(), count=real).pixels
    ):
        distance.update(batch, real=True)
    for row in rows:
        distance.reset()
        session = open_session(made[row.kind], row.provider, available_threads())
        for first in range(0, samples, BATCH):
            z = latents(list(range(first, min(first + BATCH, samples))), spec.z_dim)
            distance.update(torch.from_numpy(draw(session, z, SIZES[1])).permute(0, 3, 1, 2), real=False)
        row.distance = round(float(distance.compute()), 2)
        print(f"{row.kind} on {row.provider}: {row.distance}", flush=True)


def plan(made: dict[str, onnx.ModelProto | str]) -> list[Row]:
    """Returns a row for each kind of file on each provider, with its problem where it cannot be had."""
    rows = []
    for provider, (name, _, kinds) in PROVIDERS.items():
        here = name in ort.get_available_providers()
        for kind in kinds:
            if kind not in made:
                continue
            model = made[kind]
            problem = model if isinstance(model, str) else "" if here else f"needs {PACKAGES[name]}"
            rows.append(Row(kind=kind, provider=provider, problem=problem))
    return rows


def table(rows: list[Row]) -> Iterator[str]:
    """Yields the lines of the Markdown table."""
    speeds = [f"{threads}/{size}" for threads in sorted({1, available_threads()}) for size in SIZES]
    heads = [f"{s.split('/')[0]} thread(s), batch {s.split('/')[1]}" for s in speeds]
    columns = ["provider", "file", "MB", *heads, "max", "mean", "within 2", "PSNR", "FD", "same bytes"]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        if row.problem or row.cost is None:
            yield f"| {row.provider} | {row.kind} | not measured: {row.problem} |{' |' * (len(columns) - 3)}"
            continue
        cells = [
            row.provider,
            row.kind,
            f"{row.megabytes:.1f}",
            *(f"{row.speed[key]:.0f}" for key in speeds),
            f"{row.cost.largest}",
            f"{row.cost.mean:.4f}",
            f"{row.cost.within[2]:.2%}",
            f"{row.cost.psnr:.1f}",
            "" if row.distance is None else f"{row.distance:.1f}",
            "yes" if row.same_bytes else "no",
        ]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Runs the command line."""
    parser = Parser(prog="python -m bench.forms", description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=SHIPPED, help="default: the shipped model")
    parser.add_argument("--only", help="providers and kinds of file to measure, separated by commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="measuring time a figure; default 1")
    parser.add_argument(
        "--fd", metavar="DATA", help="real pictures for the Fréchet distance: avatars, a folder, …"
    )
    parser.add_argument("--real", type=int, default=4000, help="how many of them; default 4000")
    parser.add_argument(
        "--samples", type=int, default=2000, help="pictures to compare with them; default 2000"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    model = original(files.read(args.model)[0])
    wanted = set(args.only.split(",") if args.only else ())
    groups = {name.split()[0] for name in PROVIDERS}
    if unknown := wanted - set(PROVIDERS) - groups - set(KINDS):
        known = ", ".join([*PROVIDERS, *sorted(groups - set(PROVIDERS)), *KINDS])
        raise SeedlingError(f"--only knows {known}; got {', '.join(sorted(unknown))}")
    named = {name for name in PROVIDERS if {name, name.split()[0]} & wanted}
    providers = named or set(PROVIDERS)
    made = make_files(model, wanted & set(KINDS) or set(KINDS))
    rows = [row for row in plan(made) if row.provider in providers]
    ready = [row for row in rows if not row.problem]
    usable = {kind: file for kind, file in made.items() if not isinstance(file, str)}
    fill(ready, usable, args.seconds)
    if args.fd:
        measure_distances(ready, usable, args.fd, args.samples, args.real)
    print("\n".join(table(rows)))
    if args.json:
        facts = {"model": args.model.name, "onnxruntime": ort.__version__, "threads": available_threads()}
        args.json.write_text(json.dumps(facts | {"rows": [row.as_json() for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))
