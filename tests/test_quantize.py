"""8-bit layers that ONNX Runtime fuses: the integer graph's bytes, and nearly the original's."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import CALIBRATION

from export.calibrate import Quantised, quantise
from export.integer import to_integer, write
from export.quantize import _convolve, to_int8
from models.contract import INPUT_NAME, OUTPUT_NAME, ModelFileError, SeedlingError, latents


def draw(model: onnx.ModelProto, z: np.ndarray, threads: int = 1) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: z})[0]


@pytest.fixture(scope="module")
def source(toy_model: Path) -> onnx.ModelProto:
    return onnx.load(toy_model)


@pytest.fixture(scope="module")
def model(source: onnx.ModelProto) -> onnx.ModelProto:
    return to_int8(source, latents(CALIBRATION, 8))


@pytest.fixture(scope="module")
def shipped(shipped_integers: tuple[onnx.ModelProto, Quantised]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The shipped model, and what is made of it."""
    source, numbers = shipped_integers
    return source, write(source, numbers, _convolve)


def test_it_gives_the_bytes_of_the_integer_graph(source: onnx.ModelProto, model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    z = latents(list(range(50)), 8)
    found = draw(model, z)
    np.testing.assert_array_equal(found, draw(to_integer(source, latents(CALIBRATION, 8)), z))
    assert found.std() > 5


def test_a_toy_stays_near_what_it_was_made_from(source: onnx.ModelProto, model: onnx.ModelProto) -> None:
    z = latents(list(range(50)), 8)
    levels = np.abs(draw(model, z).astype(int) - draw(source, z))
    assert (levels <= 2).mean() > 0.99


def test_the_shipped_model_stays_within_two_levels(shipped: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    source, model = shipped
    z = latents(list(range(16)))
    levels = np.abs(draw(model, z).astype(int) - draw(source, z))
    assert (levels <= 2).mean() > 0.99
    assert levels.mean() < 0.35
    assert model.ByteSize() < 0.7 * source.ByteSize()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_picture_does_not_depend_on_its_company(
    shipped: tuple[onnx.ModelProto, onnx.ModelProto], threads: int
) -> None:
    _, model = shipped
    z = latents([3, 4, 5, 6])
    together = draw(model, z, threads)
    for k in range(4):
        np.testing.assert_array_equal(draw(model, z[k : k + 1], 1)[0], together[k])


def test_onnx_runtime_fuses_every_layer_between_the_first_and_the_last(
    source: onnx.ModelProto, model: onnx.ModelProto, tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3  # a warning that the file is for this processor
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    middle = quantise(source, latents([1], 8)).middle
    assert operators.count("QLinearConv") == 4 * len(middle)
    assert not {"Conv", "FusedConv", "Relu", "DequantizeLinear"} & set(operators)


def test_a_converted_file_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(ModelFileError, match="convert the original"):
        to_int8(model, latents([1], 8))


def test_latents_that_do_not_fit_are_refused(source: onnx.ModelProto) -> None:
    with pytest.raises(SeedlingError, match=r"must be \(N, 8\).*got \(1, 100\)"):
        to_int8(source, latents([1]))
