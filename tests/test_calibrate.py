"""What integers are made of: channels that are split and put in pairs, and weights that are rounded."""

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import calibrate
from export.calibrate import Channels, _maps, _observe, choose_z_units
from export.layers import Layer
from export.sums import PAIR_UNITS, WEIGHT_UNITS, Sums, _round_together
from models.contract import latents


def layer(channels: int) -> Layer:
    weight = np.random.default_rng(1).normal(size=(channels, 4, 4, 4)).astype(np.float32)
    return Layer(weight, None, relu=True, first=False)


@pytest.mark.parametrize(("channels", "written"), [(16, 20), (7, 10), (1, 2)])
def test_the_strongest_channels_are_written_as_two(channels: int, written: int) -> None:
    top = np.linspace(1, 9, channels)
    found = Channels.choose(top, layer(channels), 1 / 4, 1 / 2)
    assert len(found.source) == written
    assert set(found.source) == set(range(channels))
    split = found.source[found.starts > 0]
    assert top[split].min() > np.median(top) - (channels == 1)


@pytest.mark.parametrize("knee", [1 / 2, 1 / 5])
def test_what_is_split_is_the_value_together(knee: float) -> None:
    top = np.full(8, 4.0)
    found = Channels.choose(top, layer(8), 1 / 2, knee)
    values = np.random.default_rng(0).uniform(0, 4, (50, 4 * 8))
    written = np.rint(found.count(values)).reshape(50, 4, -1) * found.units
    for channel in range(8):
        pieces = found.source == channel
        errors = written[..., pieces].sum(-1) - values.reshape(50, 4, 8)[..., channel]
        assert np.abs(errors).max() <= found.units[pieces].max() / 2 + 1e-5
    assert found.units.min() == pytest.approx(4 * knee / 255)


def test_strong_channels_stand_beside_weak_ones() -> None:
    even = Layer(np.ones((8, 4, 4, 4), np.float32), None, relu=True, first=False)
    found = Channels.choose(np.arange(1.0, 9), even, 0, 1 / 2)
    assert [found.source[k] + found.source[k + 1] for k in range(0, 8, 2)] == [7, 7, 7, 7]


def test_neighbours_share_a_budget_and_one_of_them_may_have_most_of_it() -> None:
    draws = np.random.default_rng(0)
    inputs = draws.random((500, 40)) * 255
    kernel = draws.standard_t(3, (4, 40, 6))  # a few far above the others
    for gram in (None, inputs.T @ inputs):
        sizes = np.abs(Sums.of_pairs(kernel, np.zeros(6), np.ones(6), 255, gram).weight)
        assert (sizes[:, ::2] + sizes[:, 1::2]).max() <= PAIR_UNITS
        assert PAIR_UNITS / 2 < sizes.max() <= WEIGHT_UNITS


def test_weights_that_make_up_for_each_other_lose_less() -> None:
    draws = np.random.default_rng(0)
    inputs = draws.random((500, 6)) @ draws.random((6, 40))  # 40 inputs that move together
    kernel = draws.normal(0, 8, (2, 40, 5))
    found = _round_together(kernel, inputs.T @ inputs)
    assert np.array_equal(found, np.rint(found))
    error, plain = (np.abs(inputs @ (weights - kernel)).mean() for weights in (found, np.rint(kernel)))
    assert error < 0.5 * plain


@pytest.mark.parametrize("rare", [1e-4, 0.02, 1.0])
def test_the_largest_values_are_those_of_all_pictures(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch, rare: float
) -> None:
    monkeypatch.setattr(calibrate, "RARE", rare)
    model, z = onnx.load(toy_model), latents(list(range(40)), 8)  # batches of 16, 16 and 8
    tops, _ = _observe(model, z)
    for top, *parts in zip(tops, *(maps for _, maps in _maps(model, z)), strict=True):
        values = np.sort(np.concatenate(parts).transpose(1, 0, 2, 3).reshape(len(top), -1), axis=1)
        count = min(int(rare * values.shape[1]) + 1, values.shape[1])
        np.testing.assert_array_equal(top, values[:, -count])


def test_calibration_forgets_the_pictures_that_it_has_seen(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "GRAM_ROWS", 64)
    model, z = onnx.load(toy_model), latents(list(range(512)), 8)
    peaks = []
    for count in (32, 512):
        tracemalloc.start()
        _observe(model, z[:count])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("z_dim", "units"), [(1, 512), (100, 512), (128, 512), (129, 256), (256, 256), (257, 128), (65_536, 1)]
)
def test_units_of_latents_are_twice_as_large_for_each_doubling(z_dim: int, units: int) -> None:
    assert choose_z_units(z_dim) == units
