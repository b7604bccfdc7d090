"""The graph of a generator in integers: each operation has one right answer, so every processor gives it.

Sums are of integers, and no order of adding changes them. A number that is not an integer arises in one
place, where a sum is multiplied by its scale in float32: one multiplication, which IEEE 754 defines to the
last bit, and then a rounding to the nearest integer, ties to even. tanh is a table.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.calibrate import DIGIT, PLACES, Quantised, quantise
from export.layers import PHASES, Writer
from export.sums import Sums
from models.contract import INPUT_NAME, OUTPUT_NAME

Convolve = Callable[[Writer, str, int, Sums], list[str]]
"""Adds a layer: a map (N, side, side, C) uint8, and its side → for each of ``PHASES`` one of n channels."""


def to_integer(model: onnx.ModelProto, z: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns a model file that computes in integers alone.

    Args:
        model: As the export wrote it.
        z: Latents to calibrate with, (N, z_dim) float32.

    Raises:
        ModelFileError: If its graph is not as the export writes it.
        SeedlingError: If the latents do not fit the model.
    """
    return write(model, quantise(model, z), _convolve)


def write(model: onnx.ModelProto, numbers: Quantised, convolve: Convolve) -> onnx.ModelProto:
    """Writes a graph of the numbers.

    Args:
        model: What they were chosen for: gives input, output, metadata and versions.
        numbers: The integers.
        convolve: Writes the layers between the first and the last.
    """
    writer, side = Writer(), 4
    value = _write_first(writer, numbers)
    for sums in numbers.middle:
        value = _interleave(writer, convolve(writer, value, side, sums), side, sums.weight.shape[2])
        side *= 2
    _write_last(writer, value, side, numbers)
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.node[:], graph.graph.initializer[:], graph.graph.value_info[:]
    graph.graph.node.extend(writer.nodes)
    graph.graph.initializer.extend(writer.constants)
    return graph


def number(writer: Writer, value: float, dtype: type[np.number[Any]] = np.float32) -> str:
    """Adds a constant number."""
    return writer.constant(np.array(value, dtype))


def _convolve(writer: Writer, value: str, side: int, sums: Sums) -> list[str]:
    """Adds a layer as products of 2×2 windows; the integer convolutions of ONNX leave open how they round."""
    squares = _squares(writer, value, side, 3)
    outputs = []
    for (row, column), weight, bias, scale in zip(PHASES, sums.weight, sums.bias, sums.scale, strict=True):
        windows = [squares[row + below, column + right] for below, right in PHASES]
        value = writer.add("Concat", *windows, axis=3)
        value = writer.add("MatMulInteger", value, writer.constant(weight.astype(np.int8)))
        value = writer.add("Add", value, writer.constant(bias))
        outputs.append(_requantise(writer, value, scale))
    return outputs


def _requantise(writer: Writer, value: str, scale: NDArray[np.float32]) -> str:
    """Adds what makes values between layers of sums: int32, below 2^24 → uint8; ReLU is the clipping at 0."""
    value = writer.add("Cast", value, to=TensorProto.FLOAT)
    value = writer.add("Mul", value, writer.constant(scale))
    return writer.add("QuantizeLinear", value, number(writer, 1), number(writer, 0, np.uint8))


def _write_first(writer: Writer, numbers: Quantised) -> str:
    """Adds latents (N, z_dim) float32 → map (N, 4, 4, C) uint8; in float32 only ``Round`` rounds here."""
    sums, limit = numbers.first, numbers.z_limit
    z = writer.add("Round", writer.add("Mul", INPUT_NAME, number(writer, numbers.z_units)))
    z = writer.add("Clip", z, number(writer, -limit), number(writer, limit - 1))
    z = writer.add("Add", z, number(writer, limit))
    high = writer.add("Floor", writer.add("Mul", z, number(writer, 1 / DIGIT)))
    low = writer.add("Sub", z, writer.add("Mul", high, number(writer, DIGIT)))
    digits = writer.add("Cast", writer.add("Concat", high, low, axis=0), to=TensorProto.UINT8)
    weight = sums.weight[0]
    products = writer.add("MatMulInteger", digits, writer.constant(weight.astype(np.int8)))
    bias = sums.bias[0] - limit * weight.sum(0, dtype=np.int32)
    value = writer.add("Add", _join_digits(writer, *writer.split(products, 2)), writer.constant(bias))
    value = _requantise(writer, value, sums.scale[0])
    return writer.add("Reshape", value, writer.shape(-1, 4, 4, weight.shape[1] // 16))


def _join_digits(writer: Writer, high: str, low: str) -> str:
    return writer.add("Add", writer.add("Mul", high, number(writer, DIGIT, np.int32)), low)


def _squares(writer: Writer, value: str, size: int, step: int) -> dict[tuple[int, int], str]:
    """Cuts squares out of a map bordered by zeros, at each row and column below ``step``, by these.

    (N, H, W, C) → (N, size, size, C), uint8.
    """
    value = writer.add("Pad", value, writer.shape(0, 1, 1, 0, 0, 1, 1, 0), number(writer, 0, np.uint8))
    axes = writer.shape(1, 2)
    return {
        (row, column): writer.add(
            "Slice", value, writer.shape(row, column), writer.shape(row + size, column + size), axes
        )
        for row in range(step)
        for column in range(step)
    }


def _interleave(writer: Writer, phases: list[str], side: int, channels: int) -> str:
    """Adds four maps (N, side, side, C) in the order of ``PHASES`` → one (N, 2·side, 2·side, C)."""
    rows = []
    for left, right in (phases[:2], phases[2:]):
        row = writer.add("Concat", left, right, axis=3)  # pixels side by side
        rows.append(writer.add("Reshape", row, writer.shape(-1, side, 1, 2 * side * channels)))
    value = writer.add("Concat", *rows, axis=2)
    return writer.add("Reshape", value, writer.shape(-1, 2 * side, 2 * side, channels))


def _write_last(writer: Writer, value: str, side: int, numbers: Quantised) -> None:
    """Adds map (N, side, side, C) uint8 → the pictures, (N, 2·side, 2·side, C) uint8.

    One product gives the four pixels around each corner, and what is outside is cut off: there are so few
    channels that four products would be mostly empty.
    """
    sums = numbers.last
    corners = writer.add("Concat", *_squares(writer, value, side + 1, 2).values(), axis=3)
    weight = np.concatenate(list(sums.weight[::-1]), axis=1)  # around a corner the first pixel is the odd one
    high = (weight + DIGIT // 2) // DIGIT
    digits = np.concatenate([high, weight - high * DIGIT], axis=1).astype(np.int8)
    products = writer.add("MatMulInteger", corners, writer.constant(digits))
    width = weight.shape[1]
    parts = [
        writer.add("Slice", products, writer.shape(start), writer.shape(start + width), writer.shape(3))
        for start in (0, width)
    ]
    value = writer.add("Add", _join_digits(writer, *parts), writer.constant(sums.bias[::-1].ravel()))
    value = writer.add("Cast", value, to=TensorProto.FLOAT)
    value = writer.add("Round", writer.add("Mul", value, writer.constant(sums.scale[::-1].ravel())))
    value = writer.add("Clip", value, number(writer, -PLACES // 2), number(writer, PLACES // 2 - 1))
    value = writer.add("Cast", writer.add("Add", value, number(writer, PLACES // 2)), to=TensorProto.INT32)
    # GatherElements of one axis: ONNX Runtime's Gather takes eight times as long for single numbers.
    value = writer.add(
        "GatherElements", writer.constant(numbers.table), writer.add("Reshape", value, writer.shape(-1))
    )
    _place_corners(writer, value, side, width // 4)


def _place_corners(writer: Writer, value: str, side: int, channels: int) -> None:
    """Adds pixels around corners, in one row → the pictures."""
    value = writer.add("Reshape", value, writer.shape(-1, side + 1, side + 1, 2, 2 * channels))
    value = writer.add("Transpose", value, perm=[0, 1, 3, 2, 4])
    value = writer.add("Reshape", value, writer.shape(-1, 2 * side + 2, 2 * side + 2, channels))
    inner = [writer.shape(*sizes) for sizes in ((1, 1), (-1, -1), (1, 2))]
    writer.nodes.append(helper.make_node("Slice", [value, *inner], [OUTPUT_NAME], name=OUTPUT_NAME))
