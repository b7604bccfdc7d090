"""A generator in small integers: the numbers, and the graph of them that runs fastest on processors.

Every value between layers is one of 0…255 in units of its channel, every weight one of -64…64, and
every sum stays below 2^24, so that float32 holds it exactly. What this gives and costs:
docs/adr/0008-integer-graph.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.layers import PHASES, Chain, Layer, Writer, read_chain
from models.contract import INPUT_NAME, OUTPUT_NAME, ModelFileError, SeedlingError, to_uint8

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.signedinteger[Any]]

UNITS = 255
"""Largest value between layers: uint8. What follows ReLU is never negative, so zero is 0."""

WEIGHT_UNITS = 64
"""Largest weight. Processors with SSE4.1 or AVX2 and without VNNI add two products in 16 bits, where they
saturate: 2·255·64 fits, 2·255·127 would not."""

FIRST_WEIGHT_UNITS = 127
"""Largest weight of the first layer, whose inputs are digits below 128: 2·127·127 fits."""

LAST_WEIGHT_UNITS = 64 * 128
"""Largest weight of the last layer, in two digits of base 128, for its error is seen as it is."""

EXACT = 1 << 24
"""float32 holds every integer up to this: sums below it are converted without rounding."""

DIGIT = 128

Z_UNITS = 512
"""Latents are rounded to 1/512, a power of two: multiplying by it rounds nothing."""

Z_LIMIT = 4096
"""Latents are clipped at 4096 units, 8 standard deviations; with this added, two digits of base 128 hold them."""

PLACES = 8192
"""Entries of the table of pixels, over the arguments of tanh from -4 to 4: at most 1/8 level apart."""

TAIL = ["Tanh", "Mul", "Add", "Clip", "Cast", "Transpose"]
"""How a graph of the export's ends: what the table replaces."""

GRAM_ROWS = 8192
"""Windows of calibration, at most, that weights are rounded by."""

GRAM_TAPS = 1024
"""Layers of more inputs an output have their weights rounded to the nearest: it costs them little, and the
inverse of a larger matrix would take longer than all the rest."""

BATCH = 16
"""Pictures a run of calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """A layer in integers: P matrix products, each K inputs → n outputs.

    An output is ``round((x @ weight + bias) * scale)``, clipped to the range of what it is.
    """

    weight: Integers
    """(P, K, n)."""
    bias: NDArray[np.int32]
    """(P, n)."""
    scale: NDArray[np.float32]
    """(P, n)."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A generator in integers."""

    first: Sums
    """P = 1: latents in units of 1/512 to the 4×4 map, n in (row, column, channel)."""
    middle: tuple[Sums, ...]
    """P = 4: for each of ``PHASES``, 2×2 windows, K in (row, column, channel), to the next map's channels."""
    last: Sums
    """The like, to places in the table, counted from its middle."""
    table: NDArray[np.uint8]
    """(PLACES,), pixels."""


def quantise(model: onnx.ModelProto, z: NDArray[np.float32]) -> Quantised:
    """Chooses the integers of a model file.

    Each channel between layers has units of its own, so that 255 of them are the largest value seen in
    calibration. ReLU commutes with this, and the next layer's weights take it up.

    Args:
        model: As the export wrote it.
        z: Latents to calibrate with, (N, z_dim) float32.

    Raises:
        ModelFileError: If its graph is not as the export writes it.
        SeedlingError: If the latents do not fit the model.

    Source: Nagel et al., "Data-Free Quantization" (2019), section 4.1, for the units of channels.
    """
    chain = read_chain(model)
    _check(chain, z)
    largest, windows = _observe(model, len(chain.layers) - 1, z)
    units = [np.maximum(top, 0.02 * top.max() or 1.0) / UNITS for top in largest]
    places = (np.arange(PLACES) - PLACES // 2) * (8 / PLACES)
    middle = [
        _layer_sums(layer, units[k], units[k + 1], windows[k]) for k, layer in enumerate(chain.layers[1:-1])
    ]
    return Quantised(
        first=_first_sums(chain.layers[0], units[0]),
        middle=tuple(middle),
        last=_layer_sums(chain.layers[-1], units[-1], np.float64(8 / PLACES), None),
        table=to_uint8(np.tanh(places)),
    )


def _check(chain: Chain, z: NDArray[np.float32]) -> None:
    """Refuses pixels that are made in another way, ReLUs in other places, and latents that do not fit."""
    tail = [node.op_type for node in chain.tail]
    relus = [layer.relu for layer in chain.layers]
    if tail != TAIL or relus != [True] * (len(relus) - 1) + [False]:
        raise ModelFileError(
            f"its graph is not as the export writes it: found {tail} after layers with ReLU {relus}, "
            f"expected {TAIL} after a last layer that alone is without"
        )
    z_dim = chain.layers[0].channels[0]
    if z.ndim != 2 or not len(z) or z.shape[1] != z_dim:
        raise SeedlingError(f"latents to calibrate with must be (N, {z_dim}), N at least 1, got {z.shape}")


# --- Calibration ---------------------------------------------------------------------------------


def _observe(
    model: onnx.ModelProto, count: int, z: NDArray[np.float32]
) -> tuple[list[Floats], list[Floats]]:
    """Looks at the maps between layers.

    Returns:
        For each of the ``count`` maps its channels' largest values, (C,), and windows of it from random
        places, (rows, 4·C) in (row, column, channel).
    """
    draws = np.random.default_rng(0)
    largest: list[list[Floats]] = [[] for _ in range(count)]
    windows: list[list[Floats]] = [[] for _ in range(count)]
    for share, maps in _maps(model, z):
        for k, img in enumerate(maps):
            largest[k].append(img.max((0, 2, 3)))
            windows[k].append(_windows(img, round(share * GRAM_ROWS), draws))
    return [np.max(tops, 0) for tops in largest], [np.concatenate(parts) for parts in windows]


def _maps(model: onnx.ModelProto, z: NDArray[np.float32]) -> Iterator[tuple[float, list[Floats]]]:
    """Yields what follows each ReLU, (n, C, H, W), for a few latents at a time, and their share of all."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    observed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = ort.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    for start in range(0, len(z), BATCH):
        part = z[start : start + BATCH]
        yield len(part) / len(z), session.run(names, {INPUT_NAME: part})


def _windows(img: Floats, rows: int, draws: np.random.Generator) -> Floats:
    """Returns 2×2 windows of maps padded by a pixel, from random places: (rows, 4·C)."""
    padded = np.pad(img.transpose(0, 2, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    count, height, width = (size - (k > 0) for k, size in enumerate(padded.shape[:3]))
    places = draws.integers(count * height * width, size=rows)
    n, i, j = np.unravel_index(places, (count, height, width))
    return np.concatenate([padded[n, i + row, j + column] for row, column in PHASES], axis=1)


# --- Numbers -------------------------------------------------------------------------------------


def _first_sums(layer: Layer, units: Floats) -> Sums:
    kernel = layer.weight.transpose(0, 2, 3, 1).reshape(len(layer.weight), -1) / Z_UNITS
    cells = kernel.shape[1] // len(units)
    return _sums(kernel[None], np.tile(_bias(layer), cells), np.tile(units, cells), Z_LIMIT, FIRST_WEIGHT_UNITS)


def _layer_sums(layer: Layer, before: Floats, after: Floats, windows: Floats | None) -> Sums:
    """Returns a layer's integers between units of the maps before and after it; no windows: the last one's."""
    kernels = [
        layer.phase_kernel(row, column).transpose(2, 3, 1, 0).reshape(-1, layer.channels[1])
        for row, column in PHASES
    ]
    before = np.tile(before, len(PHASES))  # as the rows of a kernel
    kernel = np.stack(kernels) * before[:, None]
    if windows is None:
        return _sums(kernel, _bias(layer), after, UNITS, LAST_WEIGHT_UNITS)
    if len(before) > GRAM_TAPS:
        return _sums(kernel, _bias(layer), after, UNITS, WEIGHT_UNITS)
    inputs = (windows / before).astype(np.float32)
    return _sums(kernel, _bias(layer), after, UNITS, WEIGHT_UNITS, inputs.T @ inputs)


def _bias(layer: Layer) -> Floats:
    return np.zeros(layer.channels[1]) if layer.bias is None else layer.bias.astype(np.float64)


def _sums(
    kernel: Floats, bias: Floats, after: Floats, largest: int, levels: int, gram: Floats | None = None
) -> Sums:
    """Turns products of real weights into products of integers.

    Args:
        kernel: (P, K, n) real weights for inputs in their units.
        bias: (n,).
        after: Units of the outputs, (n,) or one for all.
        largest: Largest magnitude of an input.
        levels: Largest weight; less are used where a sum could reach 2^24.
        gram: (K, K), the inputs' products in calibration; without it weights are rounded to the nearest.
    """
    reach = largest * np.abs(kernel).sum(1) + np.abs(bias)
    unit = np.maximum(np.abs(kernel).max(1) / levels, 1.02 * reach / EXACT)  # (P, n)
    unit = np.where(unit > 0, unit, 1.0)
    products = np.rint(kernel / unit[:, None]) if gram is None else _round_together(kernel / unit[:, None], gram)
    sums = Sums(
        np.clip(products, -levels, levels).astype(np.int32),
        np.rint(bias / unit).astype(np.int32),
        (unit / after).astype(np.float32),
    )
    assert (largest * np.abs(sums.weight).sum(1) + np.abs(sums.bias)).max() < EXACT
    return sums


def _round_together(kernel: Floats, gram: Floats) -> Floats:
    """Rounds weights one input after another, and lets those to come make up for each one's error.

    Args:
        kernel: (P, K, n) in units of the weights.
        gram: (K, K), the inputs' products in calibration.

    Source: Frantar et al., "GPTQ" (2022), section 3.
    """
    gram = gram.astype(np.float64)
    gram[np.diag_indices_from(gram)] += 0.01 * gram.diagonal().mean() or 1.0
    shares = np.linalg.cholesky(np.linalg.inv(gram)).T
    shares /= shares.diagonal()[:, None]
    rest = np.concatenate(list(kernel), axis=1).astype(np.float32)  # (K, P·n)
    rounded = np.empty_like(rest)
    for k, share in enumerate(shares.astype(np.float32)):
        rounded[k] = np.clip(np.rint(rest[k]), -WEIGHT_UNITS, WEIGHT_UNITS)
        rest[k + 1 :] -= share[k + 1 :, None] * (rest[k] - rounded[k])
    return np.stack(np.split(rounded, len(kernel), axis=1))


# --- Graph ---------------------------------------------------------------------------------------

Convolve = Callable[[Writer, str, int, Sums], list[str]]
"""Adds a layer: map (N, side, side, C) uint8 and its side → one (N, side, side, n) uint8 for each of ``PHASES``."""


def to_int8(model: onnx.ModelProto, z: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns a model file that computes in 8-bit integers, as ONNX Runtime's CPU provider does fastest.

    Args:
        model: As the export wrote it.
        z: Latents to calibrate with, (N, z_dim) float32.

    Raises:
        ModelFileError: If its graph is not as the export writes it.
        SeedlingError: If the latents do not fit the model.
    """
    return write(model, quantise(model, z), _convolve)


def _convolve(writer: Writer, value: str, _: int, sums: Sums) -> list[str]:
    """Adds convolutions that round for themselves; ONNX Runtime turns the maps once, not for each."""
    one, zero = writer.constant(np.float32(1)), writer.constant(np.uint8(0))
    turned = writer.add("Transpose", value, perm=[0, 3, 1, 2])
    outputs = []
    for (row, column), weight, bias, scale in zip(PHASES, sums.weight, sums.bias, sums.scale, strict=True):
        kernel = weight.T.reshape(len(scale), 2, 2, -1).transpose(0, 3, 1, 2).astype(np.int8)
        weights = [writer.constant(array) for array in (kernel, scale, np.zeros(len(scale), np.int8))]
        pads = [1 - row, 1 - column, row, column]
        value = writer.add(
            "QLinearConv", turned, one, zero, *weights, one, zero, writer.constant(bias), pads=pads
        )
        outputs.append(writer.add("Transpose", value, perm=[0, 2, 3, 1]))
    return outputs


def write(model: onnx.ModelProto, numbers: Quantised, convolve: Convolve) -> onnx.ModelProto:
    """Writes a graph of the numbers, whose maps are (N, H, W, C).

    Args:
        model: What they were chosen for: gives input, output, metadata and versions.
        numbers: The integers.
        convolve: Writes the layers between the first and the last.
    """
    writer = Writer()
    side, value = 4, _write_first(writer, numbers.first)
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


def requantise(writer: Writer, value: str, sums: Sums, part: int) -> str:
    """Adds ``round(value * scale)``, clipped to 0…255: int32 → uint8. The product alone is rounded by float32."""
    value = writer.add("Cast", value, to=TensorProto.FLOAT)
    value = writer.add("Mul", value, writer.constant(sums.scale[part]))
    return writer.add("QuantizeLinear", value, writer.constant(np.float32(1)), writer.constant(np.uint8(0)))


def _write_first(writer: Writer, sums: Sums) -> str:
    """Adds latents (N, z_dim) float32 → map (N, 4, 4, C) uint8. In float32 all but ``Round`` is exact here."""

    def number(value: float) -> str:
        return writer.constant(np.float32(value))

    z = writer.add("Round", writer.add("Mul", INPUT_NAME, number(Z_UNITS)))
    z = writer.add("Clip", z, number(-Z_LIMIT), number(Z_LIMIT - 1))
    z = writer.add("Add", z, number(Z_LIMIT))  # 0…8191
    high = writer.add("Floor", writer.add("Mul", z, number(1 / DIGIT)))
    low = writer.add("Sub", z, writer.add("Mul", high, number(DIGIT)))
    digits = writer.add("Cast", writer.add("Concat", high, low, axis=0), to=TensorProto.UINT8)
    weight = sums.weight[0]
    products = writer.add("MatMulInteger", digits, writer.constant(weight.astype(np.int8)))
    value = _join_digits(writer, *writer.split(products, 2))
    bias = sums.bias[0] - Z_LIMIT * weight.sum(0, dtype=np.int32)
    value = requantise(writer, writer.add("Add", value, writer.constant(bias)), sums, 0)
    return writer.add("Reshape", value, writer.shape(-1, 4, 4, weight.shape[1] // 16))


def _join_digits(writer: Writer, high: str, low: str) -> str:
    return writer.add("Add", writer.add("Mul", high, writer.constant(np.int32(DIGIT))), low)


def _interleave(writer: Writer, phases: list[str], side: int, channels: int) -> str:
    """Adds four maps (N, side, side, C), in the order of ``PHASES`` → (N, 2·side, 2·side, C)."""
    rows = []
    for left, right in (phases[:2], phases[2:]):
        row = writer.add("Concat", left, right, axis=3)  # (N, side, side, 2·C): pixels side by side
        rows.append(writer.add("Reshape", row, writer.shape(-1, side, 1, 2 * side * channels)))
    value = writer.add("Concat", *rows, axis=2)
    return writer.add("Reshape", value, writer.shape(-1, 2 * side, 2 * side, channels))


def shifts(writer: Writer, value: str, size: int, step: int) -> dict[tuple[int, int], str]:
    """Cuts squares out of a map, at every row and column below ``step``: (N, H, W, C) → (N, size, size, C)."""
    return {
        (row, column): writer.add(
            "Slice",
            value,
            writer.shape(row, column),
            writer.shape(row + size, column + size),
            writer.shape(1, 2),
        )
        for row in range(step)
        for column in range(step)
    }


def pad(writer: Writer, value: str) -> str:
    """Adds a border of one pixel of zeros: (N, H, W, C) → (N, H + 2, W + 2, C), uint8."""
    return writer.add("Pad", value, writer.shape(0, 1, 1, 0, 0, 1, 1, 0), writer.constant(np.uint8(0)))


def _write_last(writer: Writer, value: str, side: int, numbers: Quantised) -> None:
    """Adds map (N, side, side, C) uint8 → the pictures, (N, 2·side, 2·side, C) uint8.

    One product gives the four pixels around each corner, and the border is cut off: so few channels
    would leave four products mostly empty.
    """
    sums = numbers.last
    corners = writer.add("Concat", *shifts(writer, pad(writer, value), side + 1, 2).values(), axis=3)
    weight = np.concatenate(list(sums.weight[::-1]), axis=1)  # around a corner the first pixel is the odd one
    high = (weight + DIGIT // 2) // DIGIT
    digits = np.concatenate([high, weight - high * DIGIT], axis=1).astype(np.int8)
    products = writer.add("MatMulInteger", corners, writer.constant(digits))
    width = weight.shape[1]
    halves = [
        writer.add("Slice", products, writer.shape(k), writer.shape(k + width), writer.shape(3)) for k in (0, width)
    ]
    value = writer.add("Add", _join_digits(writer, *halves), writer.constant(sums.bias[::-1].reshape(-1)))
    value = writer.add("Cast", value, to=TensorProto.FLOAT)
    value = writer.add("Round", writer.add("Mul", value, writer.constant(sums.scale[::-1].reshape(-1))))
    limits = [writer.constant(np.float32(limit)) for limit in (-PLACES // 2, PLACES // 2 - 1)]
    value = writer.add("Cast", writer.add("Clip", value, *limits), to=TensorProto.INT32)
    value = writer.add("Add", value, writer.constant(np.int32(PLACES // 2)))
    value = writer.add("Reshape", value, writer.shape(-1))
    value = writer.add("GatherElements", writer.constant(numbers.table), value)
    channels = width // 4
    value = writer.add("Reshape", value, writer.shape(-1, side + 1, side + 1, 2, 2 * channels))
    value = writer.add("Transpose", value, perm=[0, 1, 3, 2, 4])
    value = writer.add("Reshape", value, writer.shape(-1, 2 * side + 2, 2 * side + 2, channels))
    cut = [writer.shape(*sizes) for sizes in ((1, 1), (-1, -1), (1, 2))]
    writer.nodes.append(helper.make_node("Slice", [value, *cut], [OUTPUT_NAME], name=OUTPUT_NAME))
