"""Features of real pictures, kept in a file: a CPU would take minutes for them at every measurement."""

import hashlib
import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.features import Extractor
from training.measure import extract, picture_batches

log = logging.getLogger(__name__)

VERSION = 1
"""Part of a file's name; to be raised when an extractor makes other features of the same pictures."""

_KEY = "features"


def kept_features(
    pixels: NDArray[np.uint8], extractor: Extractor, device: torch.device, cache: Path
) -> Tensor:
    """Returns the features of pictures, from the cache if they were extracted before.

    A kept file that is damaged is replaced. One that cannot be written costs a warning.

    Args:
        pixels: (N, H, W, 3) uint8.
        extractor: On the device.
        device: Where the features shall be; those of a CPU and of a GPU are kept apart.
        cache: Folder for the file; made if need be.

    Returns:
        (N, D) float32 on the device.
    """
    digest = hashlib.sha256(pixels.data)
    digest.update(str(pixels.shape).encode())
    name = f"{extractor.identity}-v{VERSION}-{device.type}-{digest.hexdigest()}.safetensors"
    path = cache / "features" / name
    if path.exists():
        try:
            return load_file(path)[_KEY].to(device)
        except (OSError, SafetensorError, KeyError) as error:
            log.warning("%s is of no use, extracting again: %s", path, error)
    features = extract(picture_batches(pixels), extractor, device)
    try:
        _write(path, features)
    except (OSError, SafetensorError) as error:
        log.warning("cannot keep the features for the next time: %s", error)
    return features


def _write(path: Path, features: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # replaced in one step, so never seen half
        save_file({_KEY: features.cpu().contiguous()}, Path(folder, path.name))
        Path(folder, path.name).replace(path)
