"""A generator in integers alone: every operation has one right answer, so every processor gives the same bytes."""

import numpy as np
import onnx
from numpy.typing import NDArray

from export.layers import PHASES, Writer
from export.quantize import Sums, pad, quantise, requantise, shifts, write


def to_integer(model: onnx.ModelProto, z: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns a model file of integer sums, each rounded by one multiplication in float32.

    Args:
        model: As the export wrote it.
        z: Latents to calibrate with, (N, z_dim) float32.

    Raises:
        ModelFileError: If its graph is not as the export writes it.
        SeedlingError: If the latents do not fit the model.
    """
    return write(model, quantise(model, z), _convolve)


def _convolve(writer: Writer, value: str, side: int, sums: Sums) -> list[str]:
    """Adds a layer as products of 2×2 windows: ``QLinearConv`` leaves open how it rounds, these do not."""
    shifted = shifts(writer, pad(writer, value), side, 3)
    outputs = []
    for k, (row, column) in enumerate(PHASES):
        windows = [shifted[row + below, column + right] for below, right in PHASES]
        value = writer.add("Concat", *windows, axis=3)
        value = writer.add("MatMulInteger", value, writer.constant(sums.weight[k].astype(np.int8)))
        value = writer.add("Add", value, writer.constant(sums.bias[k]))
        outputs.append(requantise(writer, value, sums, k))
    return outputs
