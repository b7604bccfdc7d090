"""A model file's layers, read back out of its graph, and the means to write them in another way.

Without torch: whoever has a model file can convert it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.contract import INPUT_NAME, ModelFileError

HALF_FROM = 1024
"""Constants of at least so many numbers are stored as float16 where that is lossless."""

KERNEL = 4

MOST_PARTS = 32
"""Values that are joined or cut in one node: ONNX Runtime records no more of them as a CUDA graph."""

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Parities of an output pixel's row and column: four convolutions that together are a transposed one."""

AROUND_A_CORNER = PHASES[::-1]
"""The same of the outputs around a corner of the input's pixels: the first is odd."""


TAPS = ([3, 1], [2, 0])
"""Rows of the kernel that make even outputs and odd ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One transposed convolution of the generator, BatchNorm folded."""

    weight: NDArray[np.float32]
    """(C_in, C_out, 4, 4)."""
    bias: NDArray[np.float32] | None
    """(C_out,)."""
    relu: bool
    """Whether ReLU follows."""
    first: bool
    """Whether it is the projection: stride 1, from 1×1 to 4×4; the others are stride 2, padding 1."""

    @property
    def channels(self) -> tuple[int, int]:
        """C_in and C_out."""
        return self.weight.shape[0], self.weight.shape[1]

    def phase_kernel(self, row: int, column: int) -> NDArray[np.float32]:
        """Returns the taps that make the output pixels of one parity, at stride 2 and padding 1.

        Output 2j takes taps 3 and 1 of the inputs j-1 and j; output 2j+1 takes 2 and 0 of j and j+1.

        Args:
            row: 0 for even rows, 1 for odd ones.
            column: The like.

        Returns:
            (C_out, C_in, 2, 2), as a convolution has it.
        """
        return self.weight[:, :, TAPS[row], :][:, :, :, TAPS[column]].transpose(1, 0, 2, 3)

    def corner_kernel(self) -> NDArray[np.float32]:
        """Returns the taps of all outputs around a corner of the input's pixels, of which the first is odd.

        Returns:
            (4 · C_out, C_in, 2, 2), as a convolution has it.
        """
        return np.concatenate([self.phase_kernel(*phase) for phase in AROUND_A_CORNER])


def weight_around_a_corner(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverts ``Layer.corner_kernel``: (4 · C_out, C_in, 2, 2) → (C_in, C_out, 4, 4)."""
    weight = np.empty((kernel.shape[1], len(kernel) // len(PHASES), KERNEL, KERNEL), np.float32)
    for (row, column), taps in zip(AROUND_A_CORNER, np.split(kernel, len(PHASES)), strict=True):
        for y, x in np.ndindex(2, 2):
            weight[:, :, TAPS[row][y], TAPS[column][x]] = taps[:, :, y, x].T
    return weight


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A generator as it was exported: layers from latents to colours, and what makes pixels of these."""

    layers: tuple[Layer, ...]
    tail: tuple[NodeProto, ...]
    """Nodes from the last layer's output to uint8 (N, H, W, C)."""
    tail_input: str
    """The tail's name for the last layer's output, (N, C, H, W) float32."""
    tail_constants: tuple[TensorProto, ...]


def read_chain(model: onnx.ModelProto) -> Chain:
    """Reads the layers of a model file that is as the export wrote it.

    Raises:
        ModelFileError: If its graph is another; a converted file's is.
    """
    constants, nodes = split_constants(model)
    if not nodes or nodes[0].op_type != "Reshape" or nodes[0].input[0] != INPUT_NAME:
        raise other_graph(nodes[0] if nodes else None, "a Reshape of the latents")
    layers: list[Layer] = []
    value, rest = nodes[0].output[0], nodes[1:]
    while rest and rest[0].op_type == "ConvTranspose" and rest[0].input[0] == value:
        node, relu = rest[0], len(rest) > 1 and rest[1].op_type == "Relu"
        layers.append(read_layer(node, constants, relu=relu, first=not layers))
        value, rest = rest[relu].output[0], rest[1 + relu :]
    if len(layers) < 2:
        raise other_graph(rest[0] if rest else None, "ConvTranspose")
    if any(node.op_type == "ConvTranspose" for node in rest):
        raise other_graph(rest[0], "ConvTranspose or Relu")
    return make_chain(model, layers, rest, value)


def make_chain(model: onnx.ModelProto, layers: Iterable[Layer], tail: list[NodeProto], value: str) -> Chain:
    """Returns a chain whose tail begins at the last layer's output, with the constants that it takes."""
    used = {name for node in tail for name in node.input}
    constants = tuple(tensor for tensor in model.graph.initializer if tensor.name in used)
    return Chain(tuple(layers), tuple(tail), value, constants)


def split_constants(model: onnx.ModelProto) -> tuple[dict[str, NDArray[Any]], list[NodeProto]]:
    """Returns the constants by name, those that are widened from float16 too, and the other nodes.

    What is widened is there under both names, with its values as they compute.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in constants:
            wide = helper.tensor_dtype_to_np_dtype(_attributes(node)["to"])
            constants[node.input[0]] = constants[node.output[0]] = constants[node.input[0]].astype(wide)
        else:
            nodes.append(node)
    return constants, nodes


def read_layer(node: NodeProto, constants: dict[str, NDArray[Any]], *, relu: bool, first: bool) -> Layer:
    """Reads one transposed convolution.

    Raises:
        ModelFileError: If it is not of kernel 4, or its strides and padding are not the layer's.
    """
    weight = constants.get(node.input[1], np.empty(0))
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    found = _attributes(node)
    wanted: dict[str, Any] = (
        {"strides": [1, 1], "pads": [0] * 4} if first else {"strides": [2, 2], "pads": [1] * 4}
    )
    wanted |= {"group": 1, "dilations": [1, 1], "output_padding": [0, 0], "auto_pad": b"NOTSET"}
    if (
        weight.dtype != np.float32
        or weight.shape[2:] != (KERNEL, KERNEL)
        or any(found.get(key, value) != value for key, value in wanted.items())
    ):
        raise other_graph(node, f"float32, kernel 4, strides {wanted['strides']}, pads {wanted['pads']}")
    return Layer(weight, bias, relu, first)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def other_graph(node: NodeProto | None, wanted: str) -> ModelFileError:
    """Returns the error of a graph that is another: what was found, if anything, and what was expected."""
    found = f"{node.op_type} {node.name!r}" if node else "no more nodes"
    return ModelFileError(
        f"its graph is not as the export writes it: found {found}, expected {wanted}; "
        "if the file was converted before, convert the original"
    )


class Writer:
    """Collects the nodes and constants of a new graph; the same calls give the same file."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def _name(self, stem: str) -> str:
        return f"{stem}.{len(self.nodes) + len(self.constants)}"  # a dot: no name of the exporter's own

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """Adds a constant, by a name if it is to be found again.

        A large one is stored as float16 and widened where that loses nothing.
        """
        array = np.ascontiguousarray(array)
        half = array.astype(np.float16) if array.dtype == np.float32 and array.size >= HALF_FROM else None
        if half is None or not np.array_equal(half.astype(np.float32), array):
            self.constants.append(numpy_helper.from_array(array, name or self._name("constant")))
            return str(self.constants[-1].name)
        self.constants.append(numpy_helper.from_array(half, name or self._name("half")))
        return self.add("Cast", self.constants[-1].name, to=TensorProto.FLOAT)

    def shape(self, *sizes: int) -> str:
        """Adds a constant list of integers: a shape, or the like."""
        return self.constant(np.array(sizes, np.int64))

    def split(self, value: str, count: int) -> list[str]:
        """Cuts a value along its first axis into ``count`` equal parts."""
        if count > MOST_PARTS:
            rest = count - MOST_PARTS + 1
            sizes = self.shape(*[1] * (MOST_PARTS - 1), rest)
            *parts, last = self._cut([value, sizes], MOST_PARTS)
            return parts + self.split(last, rest)
        return self._cut([value], count, num_outputs=count)

    def join(self, parts: list[str]) -> str:
        """Puts values of equal length one after the other along their first axis."""
        first, rest = parts[: MOST_PARTS - 1], parts[MOST_PARTS - 1 :]
        return self.add("Concat", *first, *([self.join(rest)] if len(rest) > 1 else rest), axis=0)

    def _cut(self, inputs: list[str], count: int, **attributes: Any) -> list[str]:  # noqa: ANN401 - as in ``add``
        stem = self._name("part")
        parts = [f"{stem}.{k}" for k in range(count)]
        self.nodes.append(helper.make_node("Split", inputs, parts, axis=0, **attributes))
        return parts

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - as ONNX has them
        """Adds a node of one output and returns the output's name."""
        name = self._name(operator.lower())
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def transpose_convolve(self, value: str, layer: Layer, dtype: type[np.floating[Any]] = np.float32) -> str:
        """Adds a layer as it was: (N, C, H, W) → (N, C', 2H, 2W), or 1×1 → 4×4."""
        inputs = [
            self.constant(array.astype(dtype)) for array in (layer.weight, layer.bias) if array is not None
        ]
        stride, pad = (1, 0) if layer.first else (2, 1)
        value = self.add(
            "ConvTranspose", value, *inputs, kernel_shape=[KERNEL] * 2, strides=[stride] * 2, pads=[pad] * 4
        )
        return self.add("Relu", value) if layer.relu else value

    def subpixel_convolve(self, value: str, layer: Layer) -> str:
        """Adds a layer but the first as one convolution of 4·C' channels: (N, C, H, W) → (N, C', 2H, 2W).

        On a map padded by one pixel it gives the outputs around every corner of the input's pixels.
        """
        value = self.convolve(value, layer, layer.corner_kernel(), [1, 1, 1, 1])
        value = self.add("DepthToSpace", value, blocksize=2, mode="DCR")
        return self.add("Slice", value, self.shape(1, 1), self.shape(-1, -1), self.shape(2, 3))

    def convolve(self, value: str, layer: Layer, kernel: NDArray[np.float32], pads: list[int]) -> str:
        """Adds a 2×2 convolution with the layer's bias and ReLU; its channels repeat those of the layer."""
        inputs = [value, self.constant(kernel)]
        if layer.bias is not None:
            inputs.append(self.constant(np.tile(layer.bias, len(kernel) // len(layer.bias))))
        value = self.add("Conv", *inputs, kernel_shape=[2, 2], pads=pads)
        return self.add("Relu", value) if layer.relu else value

    def finish(self, source: onnx.ModelProto, chain: Chain, value: str) -> onnx.ModelProto:
        """Returns the source with its layers replaced by what was collected.

        Args:
            source: Gives input, output, metadata and versions.
            chain: Gives the tail.
            value: The last layer's output, (N, C, H, W) float32.
        """
        tail = [_renamed(node, {chain.tail_input: value}) for node in chain.tail]
        model = onnx.ModelProto()
        model.CopyFrom(source)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend([*self.nodes, *tail])
        model.graph.initializer.extend([*self.constants, *chain.tail_constants])
        return model


def _renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(names.get(name, name) for name in node.input)
    return copy
