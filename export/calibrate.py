"""A generator in small integers: which ones, chosen by calibration.

Every value between layers is one of 0…255 in units of its channel, every weight one of -127…127, and
every sum stays below 2^24, so that float32 holds it exactly. What this gives and costs:
docs/adr/0008-integer-graph.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.layers import PHASES, Chain, Layer, read_chain
from export.sums import Floats, Sums
from models.contract import (
    INPUT_NAME,
    PIXEL_OFFSET,
    PIXEL_SCALE,
    ModelFileError,
    SeedlingError,
    to_uint8,
)

UNITS = 255
"""Largest value between layers: uint8. What follows ReLU is never negative, so zero is 0."""

FIRST_WEIGHT_UNITS = 127
"""Largest weight of the first layer, whose inputs are digits below 128: 2·127·127 fits in 16 bits."""

DIGIT = 128
"""Base of what needs more than 8 bits: latents, and the weights of the last layer."""

LAST_WEIGHT_UNITS = 64 * DIGIT
"""Largest weight of the last layer, in two digits, for its error is seen as it is."""

Z_UNITS = 512
"""Latents are rounded to 1/512, a power of two: multiplying by it rounds nothing."""

Z_SPAN = 8
"""Latents are clipped at so many standard deviations: with this added, two digits hold them."""

FINE_Z_DIM = 128
"""Longest latent of such units. For each doubling beyond they are twice as coarse: so many at their limits
could otherwise add up to 2^24 with small weights already."""

PLACES = 8192
"""Entries of the table of pixels, over the arguments of tanh from -4 to 4: at most 1/8 level apart."""

TAIL = ["Tanh", "Mul", "Add", "Clip", "Cast", "Transpose"]
"""How a graph of the export's ends: what the table replaces."""

GRAM_ROWS = 8192
"""Windows of calibration, about, by which weights are rounded."""

GRAM_TAPS = 2048
"""Layers of more inputs an output have their weights rounded to the nearest: it costs them little, and the
inverse of a larger matrix would take longer than all the rest."""

RARE = 1e-4
"""Share of a channel's values that may be clipped: a sharp generator has a few far above all others, in whose
units the rest would be coarse."""

MARGIN = 1.1
"""Values are clipped at this much above the largest of the others that calibration saw."""

Z_SIGMAS = 4.5
"""The like for the first map, whose values are sums of normal ones: standard deviations above the mean."""

SPLIT_FROM = 2
"""The first map whose channels are split, counted from 0: before, it costs the most and gives the least."""

SPLIT = (1 / 8, 1 / 2)
"""What share of a map's channels, the strongest, are written as two, and where the lower one ends and the
upper one begins, as a share of the largest value."""

LAST_SPLIT = (1 / 2, 1 / 5)
"""The same of the last map, whose errors are seen as they are. Most of its values are far below the largest,
and its weights have two digits, so the lower ones may be finer than the upper."""

BATCH = 16
"""Pictures a run of calibration."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A generator in integers."""

    z_units: int
    """Of latents in 1, a power of two."""
    first: Sums
    """P = 1: latents in their units to the 4×4 map, n in (row, column, channel)."""
    middle: tuple[Sums, ...]
    """P = 4: for each of ``PHASES``, 2×2 windows, K in (row, column, channel), to the next map's channels."""
    last: Sums
    """The like, to places in the table, counted from its middle."""
    table: NDArray[np.uint8]
    """(PLACES,), pixels."""

    @property
    def z_limit(self) -> int:
        """Units at which latents are clipped."""
        return Z_SPAN * self.z_units


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """How a map between layers is written: its channels, some of them as two, in another order.

    What is written of a channel is ``clip(round((value - start) / unit), 0, 255)``.
    """

    source: NDArray[np.intp]
    """Of which channel of the generator each is, (P,)."""
    starts: Floats
    """(P,): 0, or where the upper one of two begins; the lower one is full there."""
    units: Floats
    """(P,)."""

    @classmethod
    def choose(cls, top: Floats, layer: Layer, share: float, knee: float) -> "Channels":
        """Splits the strongest channels, and puts strong ones beside weak ones.

        The weights of neighbours share a budget (``PAIR_UNITS``), which is so spent best.

        Args:
            top: Largest value of each channel to expect, (C,).
            layer: What takes them.
            share: Of the channels, to be split; one more where their number would be odd.
            knee: Where the lower one of two ends, as a share of the largest value.

        Source: Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel
        Splitting" (2019), for the idea of splitting.
        """
        top = np.maximum(top, 0.02 * top.max() or 1.0)
        norms = np.sqrt(np.square(layer.weight, dtype=np.float64).sum((1, 2, 3)))
        count = round(share * len(top))
        count += (len(top) + count) % 2
        split = np.argsort(-norms * top, kind="stable")[:count]
        lower = top.copy()
        lower[split] *= knee
        source = np.concatenate([np.arange(len(top)), split])
        starts = np.concatenate([np.zeros(len(top)), lower[split]])
        units = np.concatenate([lower, top[split] - lower[split]]) / UNITS
        order = np.argsort(-norms[source] * units, kind="stable")
        order = np.stack([order[: len(order) // 2], order[: len(order) // 2 - 1 : -1]], axis=1).ravel()
        return cls(source[order], starts[order], units[order])

    def bias(self, layer: Layer) -> Floats:
        """Returns the biases of the layer that makes them, (P,)."""
        return _bias(layer)[self.source] - self.starts

    def count(self, windows: Floats) -> Floats:
        """Returns values in their units, not rounded: (rows, 4·C) → (rows, 4·P), as ``Quantised.middle``."""
        values = windows.reshape(len(windows), len(PHASES), -1)[..., self.source]
        counted: Floats = ((values - self.starts) / self.units).clip(0, UNITS).astype(np.float32)
        return counted.reshape(len(windows), -1)


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
    splits = [(0.0, 0.5) if k < SPLIT_FROM else SPLIT for k in range(len(layers))]
    maps = [
        Channels.choose(top, layer, share, knee)
        for top, layer, (share, knee) in zip(tops, [*layers, last], [*splits, LAST_SPLIT], strict=True)
    ]
    z_units = choose_z_units(z.shape[1])
    places = (np.arange(PLACES) - PLACES // 2) * (8 / PLACES)
    return Quantised(
        z_units=z_units,
        first=_first_sums(first, maps[0], z_units),
        middle=tuple(
            _middle_sums(layer, before, after, seen)
            for layer, before, after, seen in zip(layers, maps[:-1], maps[1:], windows[:-1], strict=True)
        ),
        last=Sums.of(_kernel(last, maps[-1]), _bias(last), np.array(8 / PLACES), UNITS, LAST_WEIGHT_UNITS),
        table=to_uint8(np.tanh(places)),
    )


def choose_z_units(z_dim: int) -> int:
    """Returns how many units of latents are 1: half as many for each doubling beyond ``FINE_Z_DIM``."""
    doublings = max(0, (z_dim - 1).bit_length() - (FINE_Z_DIM - 1).bit_length())
    return max(1, Z_UNITS >> doublings)


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
    large: list[Floats] = []
    windows = []
    for share, maps in _maps(model, z):
        counts = [_rare(img, len(z)) for img in maps]
        found = [_largest(_by_channel(img), count) for img, count in zip(maps, counts, strict=True)]
        both = [np.concatenate(parts, axis=1) for parts in zip(large, found, strict=True)] if large else found
        large = [_largest(values, count) for values, count in zip(both, counts, strict=True)]
        windows.append([_windows(img, round(share * GRAM_ROWS), draws) for img in maps])
    tops: list[Floats] = [values.min(1) for values in large]
    return tops, [np.concatenate(parts) for parts in zip(*windows, strict=True)]


def _rare(img: Floats, pictures: int) -> int:
    """Returns how many of a channel's values in all pictures are at or above its clip."""
    return int(RARE * pictures * img.shape[2] * img.shape[3]) + 1


def _by_channel(img: Floats) -> Floats:
    """(n, C, H, W) → (C, n·H·W)."""
    return img.transpose(1, 0, 2, 3).reshape(img.shape[1], -1)


def _largest(values: Floats, count: int) -> Floats:
    """Returns the largest values of each channel: (C, n) → (C, at most ``count``)."""
    count = min(count, values.shape[1])
    return np.partition(values, -count, axis=1)[:, -count:].copy()  # not a view, which would keep the rest


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


def _first_sums(layer: Layer, after: Channels, z_units: int) -> Sums:
    kernel = layer.weight.transpose(0, 2, 3, 1)[..., after.source]  # (z_dim, 4, 4, P)
    bias, units = (np.tile(channels, kernel[0, ..., 0].size) for channels in (after.bias(layer), after.units))
    counted = kernel.reshape(1, len(kernel), -1) / z_units
    return Sums.of(counted, bias, units, Z_SPAN * z_units, FIRST_WEIGHT_UNITS)


def _middle_sums(layer: Layer, before: Channels, after: Channels, windows: Floats) -> Sums:
    """Returns a layer's integers between the maps before and after it."""
    kernel = _kernel(layer, before)[..., after.source]
    gram = None
    if kernel.shape[1] <= GRAM_TAPS:
        inputs = before.count(windows)
        gram = inputs.T @ inputs
    return Sums.of_pairs(kernel, after.bias(layer), after.units, UNITS, gram)


def _kernel(layer: Layer, before: Channels) -> Floats:
    """Returns the weights for inputs in their units, (4, 4·C_in, C_out), as ``Quantised.middle`` has them."""
    kernels = [layer.phase_kernel(row, column).transpose(2, 3, 1, 0) for row, column in PHASES]
    kernel: Floats = np.stack(kernels)[..., before.source, :] * before.units[:, None]
    return kernel.reshape(len(PHASES), -1, layer.channels[1])


def _bias(layer: Layer) -> Floats:
    return np.zeros(layer.channels[1]) if layer.bias is None else layer.bias.astype(np.float64)
