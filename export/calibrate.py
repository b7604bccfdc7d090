"""A generator in small integers: which ones, chosen by calibration.

Every value between layers is one of 0…255 in units of its channel, every weight one of -64…64, and
every sum stays below 2^24, so that float32 holds it exactly. What this gives and costs:
docs/adr/0008-integer-graph.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.layers import PHASES, Chain, Layer, read_chain
from models.contract import (
    INPUT_NAME,
    PIXEL_OFFSET,
    PIXEL_SCALE,
    ModelFileError,
    SeedlingError,
    to_uint8,
)

Floats = NDArray[np.floating[Any]]

UNITS = 255
"""Largest value between layers: uint8. What follows ReLU is never negative, so zero is 0."""

WEIGHT_UNITS = 64
"""Largest weight. Processors with AVX2 and without VNNI add two products in 16 bits, where they saturate:
2·255·64 fits, 2·255·127 does not."""

FIRST_WEIGHT_UNITS = 127
"""Largest weight of the first layer, whose inputs are digits below 128: 2·127·127 fits."""

DIGIT = 128
"""Base of what needs more than 8 bits: latents, and the weights of the last layer."""

LAST_WEIGHT_UNITS = 64 * DIGIT
"""Largest weight of the last layer, in two digits, for its error is seen as it is."""

EXACT = 1 << 24
"""float32 holds every integer up to this: sums below it are converted without rounding."""

Z_UNITS = 512
"""Latents are rounded to 1/512, a power of two: multiplying by it rounds nothing."""

Z_LIMIT = 4096
"""Latents are clipped at 4096 units, 8 standard deviations: with this added, two digits hold them."""

PLACES = 8192
"""Entries of the table of pixels, over the arguments of tanh from -4 to 4: at most 1/8 level apart."""

TAIL = ["Tanh", "Mul", "Add", "Clip", "Cast", "Transpose"]
"""How a graph of the export's ends: what the table replaces."""

GRAM_ROWS = 8192
"""Windows of calibration, about, by which weights are rounded."""

GRAM_TAPS = 2048
"""Layers of more inputs an output have their weights rounded to the nearest: it costs them little, and the
inverse of a larger matrix would take longer than all the rest."""

GRAM_BLOCK = 128
"""Inputs whose errors are passed on to the rest of a layer at once: one product in place of many."""

RARE = 1e-4
"""Share of a channel's values that may be clipped: a sharp generator has a few far above all others, in whose
units the rest would be coarse."""

MARGIN = 1.1
"""Values are clipped at this much above the largest of the others that calibration saw."""

Z_SIGMAS = 4.5
"""The like for the first map, whose values are sums of normal ones: standard deviations above the mean."""

BATCH = 16
"""Pictures a run of calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """A layer in integers: P matrix products, each K inputs → n outputs.

    An output is ``round((x @ weight + bias) * scale)``, clipped to the range of what it is.
    """

    weight: NDArray[np.int32]
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

    Each channel between layers has units of its own, so that 255 of them are the largest value to expect.
    ReLU commutes with this, and the next layer's weights take it up.

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
    first, *layers, last = chain.layers
    large, windows = _observe(model, z)
    tops = [_first_top(first), *(MARGIN * top for top in large[1:])]
    units = [np.maximum(top, 0.02 * top.max() or 1.0) / UNITS for top in tops]
    places = (np.arange(PLACES) - PLACES // 2) * (8 / PLACES)
    return Quantised(
        first=_first_sums(first, units[0]),
        middle=tuple(
            _middle_sums(layer, units[k], units[k + 1], windows[k]) for k, layer in enumerate(layers)
        ),
        last=_sums(_kernel(last, units[-1]), _bias(last), np.array(8 / PLACES), (UNITS, LAST_WEIGHT_UNITS)),
        table=to_uint8(np.tanh(places)),
    )


def _check(chain: Chain, z: NDArray[np.float32]) -> None:
    """Refuses pixels that are made in another way, ReLUs in other places, and latents that do not fit."""
    tail = [node.op_type for node in chain.tail]
    constants = sorted(float(numpy_helper.to_array(tensor)) for tensor in chain.tail_constants)
    relus = [layer.relu for layer in chain.layers]
    if tail != TAIL or constants != [0, PIXEL_SCALE, PIXEL_OFFSET, 255] or relus[-1] or not all(relus[:-1]):
        raise ModelFileError(
            f"its graph is not as the export writes it: found {tail} with {constants} after layers with "
            f"ReLU {relus}, expected {TAIL} and ReLU after all layers but the last"
        )
    z_dim = chain.layers[0].channels[0]
    if z.ndim != 2 or not len(z) or z.shape[1] != z_dim:
        raise SeedlingError(f"latents to calibrate with must be (N, {z_dim}), N at least 1, got {z.shape}")


# --- Calibration ---------------------------------------------------------------------------------


def _observe(model: onnx.ModelProto, z: NDArray[np.float32]) -> tuple[list[Floats], list[Floats]]:
    """Looks at the maps between layers.

    Returns:
        For each its channels' largest values but for the share of ``RARE``, (C,), and windows of it from
        random places, (rows, 4·C) in (row, column, channel).
    """
    draws = np.random.default_rng(0)
    large, windows = [], []
    for share, maps in _maps(model, z):
        large.append([_largest(img, _rare(img, len(z))) for img in maps])
        windows.append([_windows(img, round(share * GRAM_ROWS), draws) for img in maps])
    tops: list[Floats] = []
    for parts in zip(*large, strict=True):
        values = np.concatenate(parts, axis=1)  # (C, n)
        rank = values.shape[1] - parts[0].shape[1]
        tops.append(np.partition(values, rank, axis=1)[:, rank])
    return tops, [np.concatenate(parts) for parts in zip(*windows, strict=True)]


def _rare(img: Floats, pictures: int) -> int:
    """Returns how many of a channel's values in all pictures are at or above its clip."""
    return int(RARE * pictures * img.shape[2] * img.shape[3]) + 1


def _largest(img: Floats, count: int) -> Floats:
    """Returns the largest values of each channel: (n, C, H, W) → (C, at most ``count``)."""
    values = img.transpose(1, 0, 2, 3).reshape(img.shape[1], -1)
    count = min(count, values.shape[1])
    large: Floats = np.partition(values, -count, axis=1)[:, -count:]
    return large


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
    sizes = (len(img), img.shape[2] + 1, img.shape[3] + 1)
    n, i, j = np.unravel_index(draws.integers(np.prod(sizes), size=rows), sizes)
    return np.concatenate([padded[n, i + row, j + column] for row, column in PHASES], axis=1)


# --- Numbers -------------------------------------------------------------------------------------


def _first_top(layer: Layer) -> Floats:
    """Returns the largest values to expect in the first map's channels, (C,), for standard normal latents."""
    sigma = np.sqrt(np.square(layer.weight, dtype=np.float64).sum(0)).max((1, 2))
    top: Floats = np.maximum(_bias(layer) + Z_SIGMAS * sigma, 0)
    return top


def _first_sums(layer: Layer, after: Floats) -> Sums:
    kernel = layer.weight.transpose(0, 2, 3, 1).reshape(1, len(layer.weight), -1) / Z_UNITS
    bias, after = (np.tile(channels, kernel.shape[2] // len(after)) for channels in (_bias(layer), after))
    return _sums(kernel, bias, after, (Z_LIMIT, FIRST_WEIGHT_UNITS))


def _middle_sums(layer: Layer, before: Floats, after: Floats, windows: Floats) -> Sums:
    """Returns a layer's integers between units of the maps before and after it."""
    gram = None
    if windows.shape[1] <= GRAM_TAPS:
        inputs = (windows / np.tile(before, len(PHASES))).astype(np.float32)
        gram = inputs.T @ inputs
    return _sums(_kernel(layer, before), _bias(layer), after, (UNITS, WEIGHT_UNITS), gram)


def _kernel(layer: Layer, before: Floats) -> Floats:
    """Returns the weights for inputs in their units, (4, 4·C_in, C_out), as ``Quantised.middle`` has them."""
    kernels = [layer.phase_kernel(row, column).transpose(2, 3, 1, 0) for row, column in PHASES]
    stacked: Floats = np.stack(kernels) * before[:, None]
    return stacked.reshape(len(PHASES), -1, layer.channels[1])


def _bias(layer: Layer) -> Floats:
    return np.zeros(layer.channels[1]) if layer.bias is None else layer.bias.astype(np.float64)


def _sums(
    kernel: Floats, bias: Floats, after: Floats, limits: tuple[int, int], gram: Floats | None = None
) -> Sums:
    """Turns products of real weights into products of integers.

    Args:
        kernel: (P, K, n) real weights for inputs in their units.
        bias: (n,).
        after: Units of the outputs, (n,), or one for all.
        limits: Largest input, and largest weight; less is used where a sum could reach 2^24.
        gram: (K, K), the inputs' products in calibration; without it weights are rounded to the nearest.
    """
    largest, levels = limits
    reach = largest * np.abs(kernel).sum(1) + np.abs(bias)
    unit = np.maximum(np.abs(kernel).max(1) / levels, 1.02 * reach / EXACT)  # (P, n); 1.02 for the rounding
    unit = np.where(unit > 0, unit, 1.0)
    exact = kernel / unit[:, None]
    weight = (np.rint(exact) if gram is None else _round_together(exact, gram, levels)).astype(np.int32)
    offset = np.rint(bias / unit).astype(np.int32)
    assert (largest * np.abs(weight).sum(1, dtype=np.int64) + np.abs(offset)).max() < EXACT
    return Sums(weight, offset, (unit / after).astype(np.float32))


def _round_together(kernel: Floats, gram: Floats, levels: int) -> Floats:
    """Rounds weights one input after another, and lets those to come make up for each one's error.

    Args:
        kernel: (P, K, n) in units of the weights.
        gram: (K, K), the inputs' products in calibration.
        levels: Largest weight.

    Source: Frantar et al., "GPTQ" (2022), section 3.
    """
    gram = gram.astype(np.float64)
    gram[np.diag_indices_from(gram)] += 0.01 * gram.diagonal().mean() or 1.0
    shares = np.linalg.cholesky(np.linalg.inv(gram)).T
    shares = (shares / shares.diagonal()[:, None]).astype(np.float32)
    rest = np.concatenate(list(kernel), axis=1).astype(np.float32)  # (K, P·n)
    rounded = np.empty_like(rest)
    for start in range(0, len(rest), GRAM_BLOCK):
        stop = min(start + GRAM_BLOCK, len(rest))
        errors = np.empty_like(rest[start:stop])
        for k in range(start, stop):
            rounded[k] = np.clip(np.rint(rest[k]), -levels, levels)
            errors[k - start] = rest[k] - rounded[k]
            rest[k + 1 : stop] -= shares[k, k + 1 : stop, None] * errors[k - start]
        rest[stop:] -= shares[start:stop, stop:].T @ errors
    return np.stack(np.split(rounded, len(kernel), axis=1))
