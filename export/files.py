"""Model files on disk: read with their cards, written whole or not at all."""

import contextlib
import hashlib
import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from models.contract import ModelCard, ModelFileError, SeedlingError


class ExportError(SeedlingError):
    """A model that could not be exported or converted, or whose file draws something else."""


def read(path: Path) -> tuple[onnx.ModelProto, ModelCard]:
    """Reads a model file and its card.

    Raises:
        ModelFileError: If the file cannot be read, is not ONNX, or carries no card.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        return model, read_card(model)
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ModelFileError(f"the model file {path} is not an ONNX file: {error}") from error
    except ModelFileError as error:
        raise ModelFileError(f"the model file {path} is not one of Seedling: {error}") from error


def read_card(model: onnx.ModelProto) -> ModelCard:
    """Returns what a model says about itself.

    Raises:
        ModelFileError: If it says nothing, or not as the contract asks.
    """
    return ModelCard.from_metadata({item.key: item.value for item in model.metadata_props})


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
