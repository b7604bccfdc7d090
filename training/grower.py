"""Opens what grows pictures from seeds: a checkpoint, or a model file as the service would run it."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    ModelCard,
    ModelFileError,
    ModelSpec,
    latents,
    to_uint8,
)
from models.dcgan import Generator
from training.best import choose_checkpoint
from training.checkpoint import CheckpointError, load_checkpoint
from training.measure import Grow

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grower:
    """Something that grows pictures, and what it says of itself."""

    path: Path
    """The checkpoint's folder, or the model file."""
    spec: ModelSpec
    """Shape of the pictures."""
    data: Mapping[str, Any]
    """What it learned from."""
    grow: Grow
    """Grows pictures."""

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a checkpoint."""
        return self.path.is_dir()


def open_grower(path: Path, device: torch.device, *, newest: bool = False) -> Grower:
    """Opens a checkpoint's folder, a run's (as ``choose_checkpoint`` does), or a model file.

    Args:
        path: Folder or file.
        device: Where a checkpoint grows; a model file does on the CPU.
        newest: Whether a run's newest checkpoint is taken, though another one is the best.

    Raises:
        CheckpointError: If a folder holds no checkpoint that can be read.
        ModelFileError: If a file is not a model file, or ONNX Runtime is missing.
    """
    return _open_model_file(path) if path.is_file() else _open_checkpoint(path, device, newest=newest)


def grow_with(generator: Generator) -> Grow:
    """Returns what grows the pictures of a generator, which is in evaluation mode, on any device."""
    device = next(generator.parameters()).device

    @torch.no_grad()
    def grow(seeds: Sequence[int]) -> Tensor:
        z = torch.from_numpy(latents(list(seeds), generator.spec.z_dim))
        return torch.from_numpy(to_uint8(generator(z.to(device)).float().cpu().numpy()))

    return grow


def _open_checkpoint(path: Path, device: torch.device, *, newest: bool) -> Grower:
    folder, reason, _ = choose_checkpoint(path, newest=newest)
    if folder != path:
        log.info("%s: %s", path, reason)
    checkpoint = load_checkpoint(folder)
    generator = Generator(checkpoint.spec)
    try:
        generator.load_state_dict(checkpoint.generator_state)
    except RuntimeError as error:
        raise CheckpointError(f"the weights of {folder} do not fit its settings: {error}") from error
    grow = grow_with(generator.eval().to(device))
    return Grower(path=folder, spec=checkpoint.spec, data=checkpoint.data, grow=grow)


def _open_model_file(path: Path) -> Grower:
    # ONNX Runtime's wheels report to their maker unless this is set before they load.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime as ort  # noqa: PLC0415 - not needed for a checkpoint
    except ImportError as error:
        raise ModelFileError(
            f"{path} needs ONNX Runtime, which the extra cpu of this package brings: {error}"
        ) from error
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors: the rest is about graph optimisations
    # Threads that spin while they wait would take the cores from the network that judges.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        card = ModelCard.from_metadata(session.get_modelmeta().custom_metadata_map)
        shape = session.run([OUTPUT_NAME], {INPUT_NAME: latents([0], card.spec.z_dim)})[0].shape
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ModelFileError(f"{path} is not a model file that can be measured: {error}") from error
    wanted = (1, card.spec.img_resolution, card.spec.img_resolution, card.spec.img_channels)
    if shape != wanted:
        raise ModelFileError(f"{path} gives pictures of shape {shape}, expected {wanted}")

    def grow(seeds: Sequence[int]) -> Tensor:
        pixels = session.run([OUTPUT_NAME], {INPUT_NAME: latents(list(seeds), card.spec.z_dim)})[0]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    return Grower(path=path, spec=card.spec, data=card.data, grow=grow)
