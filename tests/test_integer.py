"""A generator in integers: it draws what its numbers say, and nearly what it was made from."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import CALIBRATION
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from export.calibrate import DIGIT, UNITS, Quantised, quantise
from export.graph import PictureGenerator, build_graph
from export.integer import _convolve, to_integer, write
from export.layers import PHASES
from export.sums import EXACT, Sums
from models.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    ModelCard,
    ModelFileError,
    ModelSpec,
    SeedlingError,
    latents,
)
from models.dcgan import Generator

ROUNDED_SUMS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "ReduceSum", "ReduceMean", "Softmax"}
"""Operators that add floating-point numbers, in an order that is theirs to choose."""


@pytest.fixture(scope="module")
def source(toy_model: Path) -> onnx.ModelProto:
    return onnx.load(toy_model)


@pytest.fixture(scope="module")
def numbers(source: onnx.ModelProto) -> Quantised:
    return quantise(source, latents(CALIBRATION, 8))


@pytest.fixture(scope="module")
def model(source: onnx.ModelProto, numbers: Quantised) -> onnx.ModelProto:
    return write(source, numbers, _convolve)


@pytest.fixture(scope="module")
def shipped(
    shipped_integers: tuple[onnx.ModelProto, Quantised],
) -> tuple[onnx.ModelProto, Quantised, onnx.ModelProto]:
    """The shipped model, its integers and their graph."""
    source, numbers = shipped_integers
    return source, numbers, write(source, numbers, _convolve)


def draw(model: onnx.ModelProto, z: np.ndarray, threads: int = 1) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: z})[0]


def calculate(numbers: Quantised, z: np.ndarray) -> np.ndarray:
    """The oracle: the same pictures in 64-bit integers, without ONNX; it refuses sums of 2^24 and more."""
    limit = 8 * numbers.z_units
    units = np.clip(np.rint(z.astype(np.float64) * numbers.z_units), -limit, limit - 1).astype(np.int64)
    channels = numbers.first.weight.shape[2] // 16
    maps = rounded(add_up(units, numbers.first, 0), numbers.first.scale[0], 0, 255)
    maps = maps.reshape(-1, 4, 4, channels)
    for sums in numbers.middle:
        maps = transpose_convolve(maps, sums, 0, 255)
    half = len(numbers.table) // 2
    return numbers.table[transpose_convolve(maps, numbers.last, -half, half - 1) + half]


def transpose_convolve(maps: np.ndarray, sums: Sums, lowest: int, highest: int) -> np.ndarray:
    count, side = maps.shape[:2]
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.empty((count, 2 * side, 2 * side, sums.weight.shape[2]), np.int64)
    for k, (row, column) in enumerate(PHASES):
        for i in range(side):
            for j in range(side):
                window = padded[:, i + row : i + row + 2, j + column : j + column + 2].reshape(count, -1)
                found = add_up(window, sums, k)
                out[:, 2 * i + row, 2 * j + column] = rounded(found, sums.scale[k], lowest, highest)
    return out


def add_up(inputs: np.ndarray, sums: Sums, part: int) -> np.ndarray:
    found = inputs @ sums.weight[part].astype(np.int64) + sums.bias[part]
    assert np.abs(found).max() < EXACT
    return found


def rounded(found: np.ndarray, scale: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    return np.clip(np.rint(found.astype(np.float32) * scale), lowest, highest).astype(np.int64)


def hard_latents(z_dim: int, z_units: int = 512) -> np.ndarray:
    """Latents on the border of two units, out of range, and of seeds."""
    ties = (np.arange(z_dim) - z_dim // 2 + np.float32(0.5)) / np.float32(z_units)
    return np.stack([ties, -3 * ties, np.full(z_dim, 9), np.full(z_dim, -9), *latents([1, 2], z_dim)]).astype(
        np.float32
    )


def test_it_draws_what_64_bit_integers_give(numbers: Quantised, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    z = np.concatenate([hard_latents(8), latents(list(range(20)), 8)])
    wanted = calculate(numbers, z)
    np.testing.assert_array_equal(draw(model, z), wanted)
    assert len(np.unique(wanted)) > 100  # pictures, not flat grey


def test_the_shipped_model_draws_what_64_bit_integers_give(
    shipped: tuple[onnx.ModelProto, Quantised, onnx.ModelProto],
) -> None:
    _, numbers, model = shipped
    z = hard_latents(100)[[0, 5]]
    np.testing.assert_array_equal(draw(model, z), calculate(numbers, z))


@torch.no_grad()
def noise_generator(z_dim: int) -> onnx.ModelProto:
    """An exported generator of random weights whose first map is as strong for any length of latents."""
    torch.manual_seed(0)
    generator = Generator(ModelSpec(img_resolution=16, z_dim=z_dim, ngf=4))
    for parameter in generator.parameters():
        parameter.normal_(0, 0.5)
    next(generator.parameters()).mul_((8 / z_dim) ** 0.5)
    return build_graph(PictureGenerator(generator), {})


def test_a_long_latent_costs_little_more_than_a_short_one() -> None:
    """In a short one's units the bound of 2^24 would leave its weights coarse: 4.7 times the error."""
    errors = []
    for z_dim in (128, 1024):
        source, z = noise_generator(z_dim), latents(list(range(64)), z_dim)
        numbers = quantise(source, latents(CALIBRATION, z_dim))
        model, hard = write(source, numbers, _convolve), hard_latents(z_dim, numbers.z_units)
        np.testing.assert_array_equal(draw(model, hard), calculate(numbers, hard))
        errors.append(np.abs(draw(model, z).astype(int) - draw(source, z)).mean())
    assert errors[1] < 2 * errors[0]


class GatherElements(OpRun):
    """In place of the reference's own, which fails for tables of more than 64 entries."""

    def _run(self, table: np.ndarray, places: np.ndarray, **_: object) -> tuple[np.ndarray]:
        return (table[places],)


def test_another_runtime_gives_the_same_bytes(model: onnx.ModelProto) -> None:
    z = hard_latents(8)
    [found] = ReferenceEvaluator(model, new_ops=[GatherElements]).run(None, {INPUT_NAME: z})
    np.testing.assert_array_equal(found, draw(model, z))


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"])
def test_what_the_runtime_rewrites_changes_no_byte(model: onnx.ModelProto, level: str) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    z = hard_latents(8)
    np.testing.assert_array_equal(session.run([OUTPUT_NAME], {INPUT_NAME: z})[0], draw(model, z))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_picture_does_not_depend_on_its_company(
    shipped: tuple[onnx.ModelProto, Quantised, onnx.ModelProto], threads: int
) -> None:
    _, _, model = shipped
    z = latents([3, 4, 5, 6])
    together = draw(model, z, threads)
    for k in range(4):
        np.testing.assert_array_equal(draw(model, z[k : k + 1], 1)[0], together[k])


def test_the_shipped_model_stays_within_two_levels(
    shipped: tuple[onnx.ModelProto, Quantised, onnx.ModelProto],
) -> None:
    source, _, model = shipped
    z = latents(list(range(16)))
    levels = np.abs(draw(model, z).astype(int) - draw(source, z))
    assert (levels <= 2).mean() > 0.99
    assert levels.mean() < 0.35
    assert model.ByteSize() < 0.7 * source.ByteSize()


def test_a_toy_stays_near_what_it_was_made_from(source: onnx.ModelProto, model: onnx.ModelProto) -> None:
    z = latents(list(range(50)), 8)
    wanted = draw(source, z)
    levels = np.abs(draw(model, z).astype(int) - wanted)
    assert (levels <= 2).mean() > 0.99
    assert wanted.std() > 5


def test_nothing_is_added_up_in_floating_point(model: onnx.ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert not operators & ROUNDED_SUMS
    assert "MatMulInteger" in operators


def test_no_sum_overflows_16_bits_in_pairs_or_float32_in_all(
    shipped: tuple[onnx.ModelProto, Quantised, onnx.ModelProto],
) -> None:
    _, numbers, model = shipped
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    products = [constants[node.input[1]] for node in model.graph.node if node.op_type == "MatMulInteger"]
    largest = [DIGIT - 1] + [UNITS] * (len(products) - 1)
    for weight, inputs in zip(products, largest, strict=True):
        sizes = np.abs(weight.astype(int))
        assert inputs * (sizes[::2] + sizes[1::2]).max() < 1 << 15  # neighbours, as AVX2 adds them
    for sums, inputs in [(numbers.first, 4096), *((sums, UNITS) for sums in (*numbers.middle, numbers.last))]:
        reach = inputs * np.abs(sums.weight.astype(np.int64)).sum(1) + np.abs(sums.bias)
        assert reach.max() < EXACT


def test_one_latent_is_enough_to_calibrate(source: onnx.ModelProto) -> None:
    z = latents(list(range(20)), 8)
    levels = np.abs(draw(to_integer(source, z[:1]), z).astype(int) - draw(source, z))
    assert levels.mean() < 8  # what was dead in that picture is clipped elsewhere


def test_the_card_is_kept(source: onnx.ModelProto, model: onnx.ModelProto) -> None:
    cards = [
        ModelCard.from_metadata({item.key: item.value for item in part.metadata_props})
        for part in (source, model)
    ]
    assert cards[0] == cards[1]


def test_the_same_calibration_gives_the_same_file(source: onnx.ModelProto, model: onnx.ModelProto) -> None:
    again = to_integer(source, latents(CALIBRATION, 8))
    assert again.SerializeToString() == model.SerializeToString()


def test_a_converted_file_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(ModelFileError, match="convert the original"):
        to_integer(model, latents([1], 8))


def test_another_graph_is_refused() -> None:
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 8])
    out = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 8])
    graph = helper.make_graph([helper.make_node("Relu", ["z"], ["images"])], "g", [value], [out])
    with pytest.raises(ModelFileError, match="found Relu"):
        to_integer(helper.make_model(graph), latents([1], 8))


def test_pixels_made_in_another_way_are_refused(source: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(source)
    scale = next(t for t in other.graph.initializer if not t.dims and numpy_helper.to_array(t) == 127.5)
    scale.CopyFrom(numpy_helper.from_array(np.float32(100), scale.name))
    with pytest.raises(ModelFileError, match="100"):
        to_integer(other, latents([1], 8))


@pytest.mark.parametrize("shape", [(0, 8), (4, 9), (8,)])
def test_latents_that_do_not_fit_are_refused(source: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    with pytest.raises(SeedlingError, match="calibrate"):
        to_integer(source, np.zeros(shape, np.float32))
