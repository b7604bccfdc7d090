"""Model files on disk: read with their cards, written whole or not at all."""

import contextlib
import hashlib
import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from models.contract import INPUT_NAME, OUTPUT_NAME, ModelCard, ModelFileError, SeedlingError


class ExportError(SeedlingError):
    """A model that could not be exported or converted, or whose file draws something else."""


def read(path: Path) -> tuple[onnx.ModelProto, ModelCard]:
    """Reads a model file and its card.

    Raises:
        ModelFileError: If the file cannot be read, is not ONNX, or carries no card that fits its graph.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        card = read_card(model)
        _check_ends(model, card)
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ModelFileError(f"the model file {path} is not an ONNX file: {error}") from error
    except ModelFileError as error:
        raise ModelFileError(f"the model file {path} is not one of Seedling: {error}") from error
    return model, card


def read_card(model: onnx.ModelProto) -> ModelCard:
    """Returns what a model says about itself.

    Raises:
        ModelFileError: If it says nothing, or not as the contract asks.
    """
    return ModelCard.from_metadata({item.key: item.value for item in model.metadata_props})


def _check_ends(model: onnx.ModelProto, card: ModelCard) -> None:
    """Refuses a graph whose input and output are not as the card says, as the service does."""
    side = card.spec.img_resolution
    wanted = {
        INPUT_NAME: ("FLOAT", [card.spec.z_dim]),
        OUTPUT_NAME: ("UINT8", [side, side, card.spec.img_channels]),
    }
    names = {number: name for name, number in TensorProto.DataType.items()}
    found = {}
    for value in [*model.graph.input, *model.graph.output]:
        tensor = value.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        found[value.name] = (names.get(tensor.elem_type), shape[1:])
    if found != wanted:
        raise ModelFileError(f"its inputs and outputs are {found}, expected {wanted}")


def write(model: onnx.ModelProto, out: Path) -> str:
    """Writes the file so that ``out`` either holds all of it or is as it was before.

    Returns:
        A line that says how long the file is, and its SHA-256.

    Raises:
        ExportError: If the disk refuses.
    """
    partial = out.with_name(f".{out.name}.partial")
    content = model.SerializeToString()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ExportError(f"cannot write {out}: {error.strerror}") from error
    return f"{out}: {len(content) / 1e6:.1f} MB, sha256 {hashlib.sha256(content).hexdigest()}"
