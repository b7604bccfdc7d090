"""Forms of the graph: the same arithmetic, written so that one provider or another runs it faster.

Each takes a model file as the export wrote it and returns another that draws the same pictures but
for rounding. What each gives on which provider, and what it costs: docs/forms.md.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from export.layers import KERNEL, PHASES, Layer, Writer, read_chain
from export.winograd import winograd
from models.contract import INPUT_NAME

Form = Callable[[onnx.ModelProto], onnx.ModelProto]


def transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the file as it is: transposed convolutions.

    Raises:
        ModelFileError: If its graph is not as the export writes it; so do the other forms.
    """
    read_chain(model)
    return model


def subpixel(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites each transposed convolution as one 2×2 convolution of 4·C_out channels.

    On a map padded by one pixel it gives the 2×2 output pixels around every corner of the input's
    pixels; DepthToSpace puts them in place, and the outermost are cut off. There are
    ((side + 1) / side)² as many multiplications.

    Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?" (2016).
    """
    return _rewrite(model, Writer.subpixel_convolve)


def phases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites each transposed convolution as four 2×2 convolutions, one for each parity of a pixel.

    Each pads only the two sides that it needs: nothing is computed to be cut off, and there are as
    many multiplications as in the transposed convolution.
    """

    def write(writer: Writer, value: str, layer: Layer) -> str:
        parts = [
            writer.convolve(value, layer, layer.phase_kernel(row, column), [1 - row, 1 - column, row, column])
            for row, column in PHASES
        ]
        return writer.add("DepthToSpace", writer.add("Concat", *parts, axis=1), blocksize=2, mode="DCR")

    return _rewrite(model, write)


def _rewrite(model: onnx.ModelProto, write: Callable[[Writer, str, Layer], str]) -> onnx.ModelProto:
    """Writes the first layer as a matrix product and the others as told, in maps of (N, C, H, W)."""
    chain, writer = read_chain(model), Writer()
    first = chain.layers[0]
    bias = np.zeros(first.channels[1], np.float32) if first.bias is None else first.bias
    value = writer.add(
        "Gemm",
        INPUT_NAME,
        writer.constant(first.weight.reshape(first.channels[0], -1)),
        writer.constant(np.repeat(bias, KERNEL * KERNEL)),
    )
    value = writer.add("Relu", value) if first.relu else value
    value = writer.add("Reshape", value, writer.shape(-1, first.channels[1], KERNEL, KERNEL))
    for layer in chain.layers[1:]:
        value = write(writer, value, layer)
    return writer.finish(model, chain, value)


FORMS: dict[str, Form] = {
    "transposed": transposed,
    "subpixel": subpixel,
    "phases": phases,
    "winograd": winograd,
}
"""Forms that compute in float32, by name."""


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the file with weights and feature maps in float16, for providers that compute so: CUDA.

    Latents come as float32 and pixels are made in float32: at 255 levels float16 itself would round by
    a sixteenth of a level. The CPU provider runs the file too, by widening every layer.

    Raises:
        ModelFileError: If its graph is not as the export writes it.
    """
    chain, writer = read_chain(model), Writer()
    value = writer.add("Cast", INPUT_NAME, to=TensorProto.FLOAT16)
    value = writer.add("Reshape", value, writer.shape(-1, chain.layers[0].channels[0], 1, 1))
    for layer in chain.layers:
        value = writer.transpose_convolve(value, layer, np.float16)
    return writer.finish(model, chain, writer.add("Cast", value, to=TensorProto.FLOAT))
