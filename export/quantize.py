"""A generator in 8-bit integers, written as ONNX Runtime's CPU provider runs it fastest."""

import numpy as np
import onnx
from numpy.typing import NDArray

from export.calibrate import quantise
from export.integer import number, write
from export.layers import PHASES, Writer
from export.sums import Sums


def to_int8(model: onnx.ModelProto, z: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns a model file whose layers ONNX Runtime fuses into 8-bit convolutions.

    They are the sums of ``to_integer``, and on ONNX Runtime's CPU provider they give the same bytes. Other
    runtimes may compute these layers in float32 or round otherwise: no promise of bytes there.

    Args:
        model: As the export wrote it.
        z: Latents to calibrate with, (N, z_dim) float32.

    Raises:
        ModelFileError: If its graph is not as the export writes it.
        SeedlingError: If the latents do not fit the model.
    """
    return write(model, quantise(model, z), _convolve)


def _convolve(writer: Writer, value: str, _: int, sums: Sums) -> list[str]:
    """Adds four convolutions between dequantised inputs and quantised outputs, the form that runtimes fuse.

    Values between layers have 1 as their unit, so weights alone carry the scale, and nothing else rounds.
    """
    one, zero = number(writer, 1), number(writer, 0, np.uint8)
    turned = writer.add("Transpose", value, perm=[0, 3, 1, 2])
    outputs = []
    for (row, column), weight, bias, scale in zip(PHASES, sums.weight, sums.bias, sums.scale, strict=True):
        kernel = weight.T.reshape(len(scale), 2, 2, -1).transpose(0, 3, 1, 2).astype(np.int8)
        weights = [
            writer.add("DequantizeLinear", writer.constant(array), writer.constant(scale), axis=0)
            for array in (kernel, bias)
        ]
        value = writer.add(
            "Conv",
            writer.add("DequantizeLinear", turned, one, zero),
            *weights,
            kernel_shape=[2, 2],
            pads=[1 - row, 1 - column, row, column],
        )
        value = writer.add("QuantizeLinear", writer.add("Relu", value), one, zero)
        outputs.append(writer.add("Transpose", value, perm=[0, 2, 3, 1]))
    return outputs
