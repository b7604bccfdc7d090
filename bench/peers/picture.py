"""What every peer has in common: how a session is opened and a picture made with it."""

import io
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from models.contract import INPUT_NAME, OUTPUT_NAME, latents


def open_session(model: str) -> ort.InferenceSession:
    """Opens a model file with ONNX Runtime's defaults."""
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def grow(session: ort.InferenceSession, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Grows the pictures of seeds in one batch: (N, H, W, C) uint8."""
    [z] = session.get_inputs()
    images: NDArray[np.uint8] = session.run([OUTPUT_NAME], {INPUT_NAME: latents(list(seeds), z.shape[1])})[0]
    return images


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes one picture, (H, W, C) uint8, with Pillow's defaults."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
