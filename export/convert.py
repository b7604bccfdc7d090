"""Turns a model file into one that runs faster, and says what that costs.

``python -m export.convert SRC DST``. Without torch and without the checkpoint. The pictures of the new
file are compared with those of the old one before anything is written.
"""

import dataclasses
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from export import files
from export.files import ExportError
from export.forms import FORMS, half
from export.integer import to_integer
from export.original import original
from export.quantize import to_int8
from models.contract import INPUT_NAME, OUTPUT_NAME, latents
from training.cli import Parser, run_cli

MAX_LEVELS = 1
"""Largest difference of a pixel, in uint8 levels, between files that compute in float32."""

COMPARED = 64
"""Pictures to compare: those of the seeds 0…63. Calibration takes seeds from there on."""

BATCH = 4
"""Pictures a run where speed is measured, on one thread; the service gives batches of 4 all threads."""

SECONDS = 1.5
"""How long the forms take turns when their speed is measured."""

MARGIN = 1.05
"""How much faster a form must be than the plain one to be taken: less may be chance."""

ARITHMETICS = ("float32", "float16", "int8", "integer")


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """How far pictures are from those of the original, in uint8 levels over all pixel values."""

    largest: int
    mean: float
    within: tuple[float, float, float]
    """Shares of pixel values that differ by at most 0, 1 and 2 levels."""
    psnr: float
    """Peak signal-to-noise ratio in dB; infinite where all are equal."""

    @classmethod
    def of(cls, found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> "Cost":
        """Compares two arrays of pictures of the same shape."""
        levels = np.abs(found.astype(np.int16) - wanted)
        square = float(np.square(levels, dtype=np.float64).mean())
        return cls(
            int(levels.max()),
            float(levels.mean()),
            (float((levels < 1).mean()), float((levels < 2).mean()), float((levels < 3).mean())),
            10 * math.log10(255**2 / square) if square else math.inf,
        )

    def __str__(self) -> str:
        equal, one, two = (f"{100 * share:.4f} %" for share in self.within)
        return (
            f"{self.largest} level(s) at most, {self.mean:.4f} on average; {equal} of pixel values equal, "
            f"{one} within 1, {two} within 2; PSNR {self.psnr:.1f} dB"
        )


def open_on_cpu(model: onnx.ModelProto, threads: int = 0) -> ort.InferenceSession:
    """Opens a session on the CPU provider; 0 threads takes ONNX Runtime's choice."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors: the rest is about graph optimisations
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def draw(session: ort.InferenceSession, z: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grows pictures, a few at a time: (N, z_dim) float32 → (N, H, W, C) uint8."""
    batches = [session.run([OUTPUT_NAME], {INPUT_NAME: z[k : k + BATCH]})[0] for k in range(0, len(z), BATCH)]
    return np.concatenate(batches)


def measure_forms(model: onnx.ModelProto) -> dict[str, float]:
    """Lets the float32 forms take turns on one thread of the CPU provider.

    Returns:
        Pictures a second by name, medians.
    """
    z = latents(list(range(BATCH)), files.read_card(model).spec.z_dim)
    sessions = {name: open_on_cpu(form(model), threads=1) for name, form in FORMS.items()}
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for session in sessions.values():
        draw(session, z)  # the first run allocates
    stop = time.perf_counter() + SECONDS
    while time.perf_counter() < stop:
        for name, session in sessions.items():
            started = time.perf_counter()
            draw(session, z)
            times[name].append(time.perf_counter() - started)
    return {name: BATCH / statistics.median(seconds) for name, seconds in times.items()}


def choose_form(model: onnx.ModelProto) -> str:
    """Returns the name of the float32 form that is fastest here, and prints what was measured."""
    speeds = measure_forms(model)
    best = max(speeds, key=lambda name: speeds[name])
    chosen = best if speeds[best] > MARGIN * speeds["transposed"] else "transposed"
    measured = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
    sys.stdout.write(f"pictures/s on one thread of the CPU provider: {measured}; taken: {chosen}\n")
    return chosen


def convert(
    model: onnx.ModelProto, arithmetic: str = "float32", form: str = "auto", calibrate: int = 256
) -> onnx.ModelProto:
    """Returns a model file's content in another form or arithmetic, its card brought up to date.

    Args:
        model: As the export wrote it.
        arithmetic: A name in ``ARITHMETICS``.
        form: A name in ``FORMS`` or ``auto``, the fastest; for float32 only.
        calibrate: Number of pictures whose values choose the scales of int8 and integer.

    Raises:
        ModelFileError: If the model is no file of Seedling's, or its graph is not as the export writes it.
        ExportError: If it does not compute in float32, or a form was asked for that the arithmetic has not.
    """
    card = files.read_card(model)
    if card.arithmetic != "float32":
        raise ExportError(f"the file computes in {card.arithmetic}: convert the float32 original")
    if arithmetic != "float32" and form != "auto":
        raise ExportError(f"form {form}: only float32 has forms to choose from, got {arithmetic}")
    match arithmetic:
        case "float32":
            new, stored = FORMS[choose_form(model) if form == "auto" else form](model), card.precision
        case "float16":
            new, stored = half(model), "float16"
        case _:
            z = latents(list(range(COMPARED, COMPARED + calibrate)), card.spec.z_dim)
            new, stored = (to_int8 if arithmetic == "int8" else to_integer)(model, z), "int8"
    converted = onnx.ModelProto()
    converted.CopyFrom(new)
    measured = card.metrics if arithmetic == "float32" else {}  # other pictures, which nobody measured
    card = dataclasses.replace(card, arithmetic=arithmetic, precision=stored, metrics=measured)
    onnx.helper.set_model_props(converted, card.to_metadata())
    return converted


def compare(found: onnx.ModelProto, wanted: onnx.ModelProto) -> Cost:
    """Compares the pictures of two model files on the CPU provider, over the seeds 0…63."""
    z = latents(list(range(COMPARED)), files.read_card(wanted).spec.z_dim)
    return Cost.of(draw(open_on_cpu(found), z), draw(open_on_cpu(wanted), z))


def main() -> None:
    """Runs the command line."""
    parser = Parser(prog="python -m export.convert", description=__doc__)
    parser.add_argument(
        "source", type=Path, help="a model file as export.to_onnx wrote it, or in the form winograd"
    )
    parser.add_argument("out", type=Path, help="the model file to write")
    parser.add_argument(
        "--precision",
        choices=ARITHMETICS,
        default="float32",
        help="how the new file computes; default float32",
    )
    parser.add_argument(
        "--form",
        choices=["auto", *FORMS],
        default="auto",
        help="how float32 layers are written; auto measures and takes the fastest on the CPU provider",
    )
    parser.add_argument(
        "--calibrate",
        type=int,
        default=256,
        metavar="N",
        help="pictures that choose the scales of int8 and integer; default 256",
    )
    args = parser.parse_args()
    if args.calibrate < 1:
        raise ExportError(f"--calibrate must be at least 1, got {args.calibrate}")
    if args.out.exists() and args.source.exists() and args.out.samefile(args.source):
        raise ExportError(
            f"{args.out} is the source itself: keep it, for not every form can be converted back"
        )
    source, _ = files.read(args.source)
    model = convert(original(source), args.precision, args.form, args.calibrate)
    cost = compare(model, source)
    if args.precision == "float32" and cost.largest > MAX_LEVELS:
        raise ExportError(f"pictures differ from the source's by {cost}; nothing was written")
    sys.stdout.write(f"against {args.source}: {cost}, over {COMPARED} pictures\n")
    sys.stdout.write(f"{files.write(model, args.out)}\n")
    sys.stdout.write(f"serve it: SEEDLING_MODEL={args.out} make serve\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))
