"""A file of the form ``winograd``, turned back into transposed convolutions, so that it converts too."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.layers import (
    AROUND_A_CORNER,
    KERNEL,
    PHASES,
    Layer,
    Writer,
    make_chain,
    other_graph,
    read_layer,
    split_constants,
    weight_around_a_corner,
)
from models.contract import INPUT_NAME

Constants = dict[str, NDArray[Any]]

FIRST = "layer.0.weight"


def original(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model as transposed convolutions; any form but ``winograd`` is returned as it is.

    Raises:
        ModelFileError: If the weights are there and the graph is not as ``winograd`` writes it.
    """
    constants, nodes = split_constants(model)
    if FIRST not in constants:
        return model
    last = next((k for k, node in enumerate(nodes) if node.op_type in {"Conv", "ConvTranspose"}), None)
    if last is None:
        raise other_graph(None, "Conv")
    relu = any(node.op_type == "Relu" for node in nodes[:last])
    layers = [_projection(constants, relu=relu)]
    while (k := len(layers)) and f"layer.{k}.bias.0" in constants:
        layers.append(_layer(constants, f"layer.{k}", layers[-1].channels[1], relu=relu))
    if nodes[last].op_type == "Conv":
        layers.append(_last(nodes[last], constants))
        last += 2  # DepthToSpace and Slice
    else:  # as files were written first
        layers.append(read_layer(nodes[last], constants, relu=False, first=False))
    writer = Writer()
    value = writer.add("Reshape", INPUT_NAME, writer.shape(-1, layers[0].channels[0], 1, 1))
    for layer in layers:
        value = writer.transpose_convolve(value, layer)
    return writer.finish(model, make_chain(model, layers, nodes[last + 1 :], nodes[last].output[0]), value)


def _projection(constants: Constants, *, relu: bool) -> Layer:
    """Reads the first layer: a matrix product for 16 positions, and one that stays zero."""
    positions = KERNEL * KERNEL
    wide = constants[FIRST]
    weight = wide.reshape(len(wide), positions + 1, -1)[:, :positions]
    weight = weight.reshape(len(wide), KERNEL, KERNEL, -1).transpose(0, 3, 1, 2)
    bias = constants["layer.0.bias"][: weight.shape[1]]
    return Layer(np.ascontiguousarray(weight), bias, relu, first=True)


def _layer(constants: Constants, name: str, channels: int, *, relu: bool) -> Layer:
    """Reads a layer's taps, of all parities in one constant or of each in its own."""
    if f"{name}.weight" in constants:
        kernel = _taps(constants[f"{name}.weight"], channels)
    else:
        names = [f"{name}.weight.{PHASES.index(phase)}" for phase in AROUND_A_CORNER]
        kernel = np.concatenate([_taps(constants[part], channels) for part in names])
    weight = weight_around_a_corner(kernel)
    return Layer(weight, constants[f"{name}.bias.0"][: weight.shape[1]], relu, first=False)


def _last(node: onnx.NodeProto, constants: Constants) -> Layer:
    """Reads the last layer, a convolution around the corners of pixels."""
    kernel = constants.get(node.input[1], np.empty(0))
    if kernel.shape[2:] != (2, 2) or len(kernel) % len(PHASES):
        raise other_graph(node, "a 2×2 convolution of four times as many channels")
    weight = weight_around_a_corner(kernel)
    bias = constants[node.input[2]][: weight.shape[1]] if len(node.input) > 2 else None
    return Layer(weight, bias, relu=False, first=False)


def _taps(stored: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """(4, C_in · C) → (C, C_in, 2, 2), as a convolution has it."""
    return stored.reshape(2, 2, channels, -1).transpose(3, 2, 0, 1)
