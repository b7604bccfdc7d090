"""Turns a checkpoint into a model file that the service can serve, and proves it before writing.

``python -m export.to_onnx CHECKPOINT OUT``
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from export.convert import MAX_LEVELS, choose_form
from export.files import ExportError, write
from export.forms import FORMS
from export.graph import PictureGenerator, build_graph, store_half
from models.contract import INPUT_NAME, OUTPUT_NAME, ModelCard, latents, to_uint8
from models.dcgan import Generator
from training.best import choose_checkpoint
from training.checkpoint import Checkpoint, load_checkpoint
from training.cli import Parser, run_cli

MAX_DIFFERING = 0.02
"""Largest share of pixel values that may differ at all when weights are stored as float32. Rounding
at the border of two levels differs in a few of a million; a wrong graph differs nearly everywhere."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a model file's pictures are from torch's, in uint8 levels."""

    largest: int
    share: float
    """Share of pixel values that differ at all."""

    def __str__(self) -> str:
        return f"{self.largest} level(s) at most, on {self.share:.4%} of pixel values"


def load_generator(checkpoint: Checkpoint) -> Generator:
    """Returns the checkpoint's generator, the averaged one where there is one, on the CPU in eval mode.

    Raises:
        ExportError: If the weights do not fit the checkpoint's own description.
    """
    generator = Generator(checkpoint.spec)
    try:
        generator.load_state_dict(checkpoint.generator_state)
    except RuntimeError as error:
        raise ExportError(f"the checkpoint's weights do not fit its settings: {error}") from error
    return generator.eval()


def describe(checkpoint: Checkpoint, generator: Generator, name: str, precision: str) -> ModelCard:
    """Returns the card that the model file will carry."""
    digest = hashlib.sha256()
    for key, value in sorted(generator.state_dict().items()):
        digest.update(key.encode() + value.numpy().tobytes())
    config = checkpoint.config
    recipe = {k: v for k, v in config.to_dict().items() if k != "spec"}
    shown = checkpoint.step * config.batch_size
    return ModelCard(
        name=name,
        spec=checkpoint.spec,
        weights_sha256=digest.hexdigest(),
        precision=precision,
        data={key: checkpoint.data[key] for key in ("name", "pictures", "license") if key in checkpoint.data},
        training={"pictures_shown": shown, "seconds": round(checkpoint.seconds), "recipe": recipe},
        metrics=checkpoint.metrics,
    )


@torch.no_grad()
def compare(model: onnx.ModelProto, generator: Generator, seeds: Sequence[int]) -> Difference:
    """Draws the same seeds with a model file and with torch, BatchNorm unfolded, and compares pixels."""
    z = latents(list(seeds), generator.spec.z_dim)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run([OUTPUT_NAME], {INPUT_NAME: z})[0]
    wanted = to_uint8(generator(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy())
    if found.shape != wanted.shape:
        raise ExportError(f"the exported graph gives {found.shape}, expected {wanted.shape}")
    levels = np.abs(found.astype(np.int16) - wanted)
    return Difference(int(levels.max()), float((levels > 0).mean()))


def export(checkpoint: Checkpoint, name: str, precision: str = "auto", pictures: int = 64) -> onnx.ModelProto:
    """Builds the model file's content and proves it against torch.

    Args:
        checkpoint: What to export.
        name: Short name of the model, for its card.
        precision: How weights are stored: ``float32``, ``float16``, or ``auto``, which takes float16
            where no pixel of the compared pictures moves by more than one level.
        pictures: Number of random latents to compare.

    Returns:
        A checked model.

    Raises:
        ExportError: If the graph draws something else than torch does.
    """
    generator = load_generator(checkpoint)
    card = describe(checkpoint, generator, name, "float32")
    model = build_graph(PictureGenerator(generator), card.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    difference = compare(model, generator, range(pictures))
    if difference.largest > MAX_LEVELS or difference.share > MAX_DIFFERING:
        raise ExportError(f"the exported graph differs from torch by {difference}; nothing was written")
    sys.stdout.write(f"float32 weights: {difference}, over {pictures} pictures\n")
    if precision == "float32":
        return model
    half = store_half(model)
    onnx.helper.set_model_props(half, describe(checkpoint, generator, name, "float16").to_metadata())
    onnx.checker.check_model(half, full_check=True)
    difference = compare(half, generator, range(pictures))
    sys.stdout.write(f"float16 weights: {difference}, over {pictures} pictures\n")
    if difference.largest <= MAX_LEVELS:
        return half
    if precision == "float16":
        raise ExportError(
            f"with float16 weights pictures differ from torch by {difference}; nothing was written"
        )
    return model


def rewrite(model: onnx.ModelProto, form: str, generator: Generator, pictures: int = 64) -> onnx.ModelProto:
    """Writes an exported model in another form and proves that against torch.

    Args:
        model: As ``export`` returns it.
        form: A name in ``export.forms.FORMS``, or ``auto``: the fastest on this machine.
        generator: What the model was made from.
        pictures: Number of random latents to compare.

    Raises:
        ExportError: If the graph draws something else than torch does.
    """
    form = choose_form(model) if form == "auto" else form
    model = FORMS[form](model)
    onnx.checker.check_model(model, full_check=True)
    difference = compare(model, generator, range(pictures))
    if difference.largest > MAX_LEVELS:
        raise ExportError(f"the form {form} differs from torch by {difference}; nothing was written")
    sys.stdout.write(f"form {form}: {difference}, over {pictures} pictures\n")
    return model


def main() -> None:
    """Runs the command line."""
    parser = Parser(prog="python -m export.to_onnx", description=__doc__)
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="a checkpoint's folder, or a run's (its best is taken, where one was measured, else its newest)",
    )
    parser.add_argument("out", type=Path, help="the model file to write, e.g. model.onnx")
    parser.add_argument(
        "--name", help="name of the model, for its card and addresses; default: the data's name"
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "float16", "float32"],
        default="auto",
        help="how weights are stored; auto takes float16 where it moves no pixel by more than one level",
    )
    parser.add_argument(
        "--form",
        choices=["auto", *FORMS],
        default="transposed",
        help="how the layers are written; auto measures and takes the fastest on the CPU provider",
    )
    parser.add_argument("--newest", action="store_true", help="of a run, take the newest checkpoint")
    args = parser.parse_args()
    folder, reason, _ = choose_checkpoint(args.checkpoint, newest=args.newest)
    sys.stdout.write(f"{reason}\n")
    checkpoint = load_checkpoint(folder)
    model = export(checkpoint, args.name or str(checkpoint.data["name"]), args.precision)
    if args.form != "transposed":
        model = rewrite(model, args.form, load_generator(checkpoint))
    sys.stdout.write(f"{write(model, args.out)}\n")
    sys.stdout.write(f"serve it: SEEDLING_MODEL={args.out} make serve\n")


if __name__ == "__main__":
    sys.exit(run_cli(main))
