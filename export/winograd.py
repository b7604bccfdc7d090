"""The form ``winograd``: transposed convolutions with half the multiplications, as standard operators.

A transposed convolution of kernel 4 and stride 2 is four 2×2 convolutions, one for each parity of an
output pixel. Toom-Cook's scheme makes a tile of m×m outputs of such a convolution from (m+1)² products
in place of 4m²: tile and kernel go through small matrices of -1, 0, ½ and 1, are multiplied, and the
products go through another.

Maps are rows of channels, in whatever order they were computed; one Gather picks the rows of the next
layer's tiles, so pixel shuffle, padding and cutting off are numbers in its list of indices. The
kernels' matrices are applied when the file is loaded, not stored: it is 1 % longer than the original.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2015), section 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from export.layers import AROUND_A_CORNER, KERNEL, PHASES, Layer, Writer, read_chain
from models.contract import INPUT_NAME

WINDOW = 4
"""Side of the input windows that are gathered."""

SMALL_SIDE = 8
"""Up to this side the four parities have tiles of their own: 3×3 tiles would waste too much of a map of
5×5 or 9×9, and read four times as many weights."""


class Algorithm(NamedTuple):
    """F(m, 2): m outputs of a convolution with two taps from m + 1 products, in one dimension."""

    data: NDArray[np.float32]
    """(m+1, m+1): inputs → factors."""
    kernel: NDArray[np.float32]
    """(m+1, 2): taps → factors."""
    output: NDArray[np.float32]
    """(m, m+1): products → outputs. Of column 1 every entry is 1."""


def _matrix(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


F2 = Algorithm(
    _matrix([1, -1, 0], [0, 1, 0], [0, -1, 1]),
    _matrix([1, 0], [1, 1], [0, 1]),
    _matrix([1, 1, 0], [0, 1, 1]),
)
"""Points 0, 1, ∞."""

F3 = Algorithm(
    _matrix([1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]),
    _matrix([1, 0], [0.5, 0.5], [0.5, -0.5], [0, 1]),
    _matrix([1, 1, 1, 0], [0, 1, -1, 0], [0, 1, 1, -1]),
)
"""Points 0, 1, -1, ∞."""


class Formula(NamedTuple):
    """output · ((data · windows) ⊙ kernels): an algorithm in two dimensions, for all four parities."""

    data: NDArray[np.float32]
    """(products, 16): a window's pixels → factors."""
    kernels: list[list[str]]
    """Names of the kernels' factors, in groups that have a bias each; (C_in, K)."""
    output: NDArray[np.float32]
    """(outputs, products)."""


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A feature map as rows of channels."""

    value: str
    """Name of the (rows, N, C) float32."""
    rows: NDArray[np.int64]
    """(side, side): in which row each pixel is."""
    zero: int
    """A row of zeros, for what lies outside of the map."""

    @property
    def side(self) -> int:
        """The map's side, in pixels."""
        return len(self.rows)


def winograd(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrites the transposed convolutions; the last, whose three channels gain nothing, as ``subpixel``.

    As it was it would be no faster on a CPU, and a CUDA card may add it up in another order in each run.

    Raises:
        ModelFileError: If the file's graph is not as the export writes it.
    """
    chain, writer = read_chain(model), Writer()
    value = _project(writer, chain.layers[0])
    for k, layer in enumerate(chain.layers[1:-1], 1):
        write = _separate if value.side <= SMALL_SIDE else _shared
        value = write(writer, value, layer, f"layer.{k}")
    last = chain.layers[-1]
    pixels = writer.add("Gather", value.value, writer.constant(value.rows.ravel()), axis=0)
    planes = writer.add("Transpose", pixels, perm=[1, 2, 0])
    planes = writer.add("Reshape", planes, writer.shape(-1, last.channels[0], value.side, value.side))
    return writer.finish(model, chain, writer.subpixel_convolve(planes, last))


def _project(writer: Writer, layer: Layer) -> Map:
    """Writes the first layer as a matrix product, with one position more, which stays zero."""
    z_dim, channels = layer.channels
    positions = KERNEL * KERNEL
    weight = layer.weight.transpose(0, 2, 3, 1).reshape(z_dim, -1)
    bias = np.tile(_bias(layer), positions)
    value = writer.add(
        "Gemm",
        INPUT_NAME,
        writer.constant(np.pad(weight, ((0, 0), (0, channels))), "layer.0.weight"),
        writer.constant(np.pad(bias, (0, channels)), "layer.0.bias"),
    )
    value = writer.add("Relu", value) if layer.relu else value
    value = writer.add("Reshape", value, writer.shape(-1, positions + 1, channels))
    value = writer.add("Transpose", value, perm=[1, 0, 2])
    return Map(value, np.arange(positions).reshape(KERNEL, KERNEL), positions)


def _separate(writer: Writer, source: Map, layer: Layer, name: str) -> Map:
    """Writes a layer as F(2×2, 2×2) for each parity: 9 products for 16, windows shared by the parities."""
    tiles = source.side // 2
    data = [np.pad(F2.data, ((0, 0), (parity, 1 - parity))) for parity in (0, 1)]
    formula = Formula(
        np.concatenate([np.kron(data[row], data[column]) for row, column in PHASES]),
        [_kernels(writer, layer, F2, [phase], f"{name}.weight.{k}") for k, phase in enumerate(PHASES)],
        np.kron(np.eye(len(PHASES), dtype=np.float32), np.kron(F2.output, F2.output)),
    )
    value = _multiply(writer, _windows(writer, source, 2, tiles), formula, layer, name)
    count, zero = tiles**2, len(formula.output) * tiles**2
    value = writer.add("Reshape", value, writer.shape(zero + count, -1, layer.channels[1]))
    position, parity = np.divmod(np.arange(2 * source.side), 2)
    tile, within = np.divmod(position, 2)
    rows = (_pairs(parity, 2) * 4 + _pairs(within, 2)) * count + _pairs(tile, tiles)
    return Map(value, rows, zero)


def _shared(writer: Writer, source: Map, layer: Layer, name: str) -> Map:
    """Writes a layer as F(3×3, 2×2) of 4·C_out channels on the padded map: 16 products for 36."""
    tiles = -(-(source.side + 1) // 3)
    formula = Formula(
        np.kron(F3.data, F3.data),
        [_kernels(writer, layer, F3, AROUND_A_CORNER, f"{name}.weight")],
        np.kron(F3.output, F3.output),
    )
    value = _multiply(writer, _windows(writer, source, 3, tiles), formula, layer, name)
    count, zero = tiles**2, len(formula.output) * tiles**2
    value = writer.add("Reshape", value, writer.shape(zero + count, -1, 4, layer.channels[1]))
    value = writer.add("Transpose", value, perm=[0, 2, 1, 3])
    value = writer.add("Reshape", value, writer.shape((zero + count) * 4, -1, layer.channels[1]))
    corner, around = np.divmod(np.arange(2 * source.side) + 1, 2)
    tile, within = np.divmod(corner, 3)
    rows = (_pairs(within, 3) * count + _pairs(tile, tiles)) * 4 + _pairs(around, 2)
    return Map(value, rows, zero * 4)


def _pairs(numbers: NDArray[np.int64], base: int) -> NDArray[np.int64]:
    """Numbers the pairs of a row's and a column's number: (S,) of 0…base-1 → (S, S)."""
    return numbers[:, None] * base + numbers


def _windows(writer: Writer, source: Map, step: int, tiles: int) -> str:
    """Gathers windows of 4×4 pixels, the first from (-1, -1): (16, tiles² · N · C)."""
    padded = np.full((step * tiles + WINDOW - step,) * 2, source.zero)
    padded[1 : source.side + 1, 1 : source.side + 1] = source.rows
    starts = step * np.arange(tiles)
    rows = [padded[np.ix_(starts + y, starts + x)].ravel() for y in range(WINDOW) for x in range(WINDOW)]
    value = writer.add("Gather", source.value, writer.constant(np.concatenate(rows)), axis=0)
    return writer.add("Reshape", value, writer.shape(WINDOW * WINDOW, -1))


def _kernels(
    writer: Writer, layer: Layer, algorithm: Algorithm, phases: Sequence[tuple[int, int]], name: str
) -> list[str]:
    """Writes the factors of some parities' kernels, side by side: (C_in, phases · C_out) each.

    One by one: cutting them from one product would hold all of them twice while the file is loaded.
    """
    taps = np.concatenate([layer.phase_kernel(*phase) for phase in phases]).transpose(2, 3, 1, 0)
    stored, shape = writer.constant(taps.reshape(4, -1), name), writer.shape(layer.channels[0], -1)
    rows = np.kron(algorithm.kernel, algorithm.kernel)[:, None]
    factors = [writer.add("MatMul", writer.constant(row), stored) for row in rows]
    return [writer.add("Reshape", factor, shape) for factor in factors]


def _multiply(writer: Writer, windows: str, formula: Formula, layer: Layer, name: str) -> str:
    """Writes a layer's products, with bias and ReLU: (outputs + 1, tiles² · N · C), the last row zeros.

    The bias is added to the one product of a tile that goes into each of its outputs once.
    """
    transform, kernels, output = formula
    value = writer.add("MatMul", writer.constant(transform), windows)
    value = writer.add("Reshape", value, writer.shape(len(transform), -1, layer.channels[0]))
    factors = iter(writer.split(value, len(transform)))
    products = []
    for k, group in enumerate(kernels):
        terms = [writer.add("MatMul", next(factors), kernel) for kernel in group]
        centre = math.isqrt(len(group)) + 1  # of points 1 and 1
        bias = np.tile(_bias(layer), len(PHASES) // len(kernels))
        terms[centre] = writer.add("Add", terms[centre], writer.constant(bias, f"{name}.bias.{k}"))
        products += terms
    value = writer.add("Reshape", writer.join(products), writer.shape(len(transform), -1))
    value = writer.add("Gemm", writer.constant(np.pad(output, ((0, 1), (0, 0)))), value)
    return writer.add("Relu", value) if layer.relu else value


def _bias(layer: Layer) -> NDArray[np.float32]:
    return np.zeros(layer.channels[1], np.float32) if layer.bias is None else layer.bias
