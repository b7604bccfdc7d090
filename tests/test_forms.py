"""Forms of the graph: each draws what the transposed convolutions draw, on every map size there is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from app.settings import SHIPPED_MODEL
from export.forms import FORMS, Form, half
from export.graph import PictureGenerator, build_graph, store_half
from export.layers import Layer, Writer, read_chain
from export.original import original
from export.winograd import F2, F3, Algorithm, winograd
from models.contract import INPUT_NAME, OUTPUT_NAME, ModelCard, ModelFileError, ModelSpec, latents
from models.dcgan import Generator

SPEC = ModelSpec(ngf=2, z_dim=8)
"""128×128, so that every layer of the product is there, with few channels."""


@pytest.fixture(scope="module")
@torch.no_grad()
def model() -> onnx.ModelProto:
    """An exported generator of random weights, strong enough for pictures of contrast."""
    torch.manual_seed(0)
    generator = Generator(SPEC)
    for parameter in generator.parameters():
        parameter.normal_(0, 0.5)
    card = ModelCard(name="noise", spec=SPEC, weights_sha256="00", precision="float32")
    return build_graph(PictureGenerator(generator), card.to_metadata())


def draw(model: onnx.ModelProto, z: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: z})[0]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_draws_what_the_original_draws(model: onnx.ModelProto, form: Form) -> None:
    z = latents(list(range(16)), SPEC.z_dim)
    wanted, new = draw(model, z), form(model)
    onnx.checker.check_model(new, full_check=True)
    found = draw(new, z)
    assert wanted.std() > 20  # the comparison would say little about flat grey
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (found != wanted).mean() < 0.001
    assert new.graph.input == model.graph.input
    assert new.graph.output == model.graph.output
    assert new.metadata_props == model.metadata_props


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_picture_has_the_bytes_that_it_has_alone(form: Form) -> None:
    session = ort.InferenceSession(
        form(original(onnx.load(SHIPPED_MODEL))).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    z = latents([1, 2, 3, 4])
    [together] = session.run([OUTPUT_NAME], {INPUT_NAME: z})
    for k in range(len(z)):
        [alone] = session.run([OUTPUT_NAME], {INPUT_NAME: z[k : k + 1]})
        np.testing.assert_array_equal(alone[0], together[k])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_form_can_be_recorded_as_a_cuda_graph(model: onnx.ModelProto, form: Form) -> None:
    """ONNX Runtime refuses to record a Concat of more than 32 inputs; the like of Split is not tried."""
    nodes = form(model).graph.node
    assert max(max(len(node.input), len(node.output)) for node in nodes) <= 32


@pytest.mark.parametrize("name", set(FORMS) - {"transposed"})
def test_other_forms_have_no_transposed_convolutions(model: onnx.ModelProto, name: str) -> None:
    """A CUDA card may add them up in another order in each run."""
    assert "ConvTranspose" not in operators(FORMS[name](model))


@pytest.mark.parametrize("form", [*FORMS.values(), half], ids=[*FORMS, "half"])
def test_the_original_is_left_alone_and_always_gives_the_same_file(
    model: onnx.ModelProto, form: Form
) -> None:
    before = model.SerializeToString()
    assert form(model).SerializeToString() == form(model).SerializeToString()
    assert model.SerializeToString() == before


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_weights_stored_as_float16_stay_so(form: Form) -> None:
    source = original(onnx.load(SHIPPED_MODEL))
    assert form(source).ByteSize() < 1.02 * source.ByteSize()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_weights_that_float16_would_round_are_stored_whole(model: onnx.ModelProto, form: Form) -> None:
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in form(model).graph.initializer}


@pytest.mark.parametrize("algorithm", [F2, F3], ids=["F(2,2)", "F(3,2)"])
def test_the_algorithm_is_a_convolution_of_two_taps(algorithm: Algorithm) -> None:
    rng = np.random.default_rng(0)
    inputs, taps = rng.integers(-9, 10, len(algorithm.data)), rng.integers(-9, 10, 2)
    found = algorithm.output @ ((algorithm.data @ inputs) * (algorithm.kernel @ taps))
    np.testing.assert_array_equal(found, np.correlate(inputs, taps))
    np.testing.assert_array_equal(algorithm.output[:, 1], 1)  # where the bias goes in


def test_winograd_multiplies_about_half_as_often(model: onnx.ModelProto) -> None:
    new = FORMS["winograd"](model)
    new.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    values = onnx.shape_inference.infer_shapes(new, data_prop=True).graph.value_info
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    products = [
        node for node in new.graph.node if node.op_type == "MatMul" and node.input[0].startswith("part")
    ]
    found = sum(np.prod(shapes[n.output[0]]) * shapes[n.input[0]][-1] for n in products)
    layers = read_chain(model).layers[1:-1]
    plain = sum(16 * (4 << k) ** 2 * np.prod(layer.channels) for k, layer in enumerate(layers))
    assert 0.5 < found / plain < 0.57


@torch.no_grad()
def test_the_phases_of_a_kernel_are_the_transposed_convolution() -> None:
    weight = torch.randn(3, 2, 4, 4)
    x = torch.randn(1, 3, 5, 5)
    wanted = torch.nn.functional.conv_transpose2d(x, weight, stride=2, padding=1)
    layer = Layer(weight.numpy(), None, relu=False, first=False)
    for row in (0, 1):
        for column in (0, 1):
            padded = torch.nn.functional.pad(x, (1 - column, column, 1 - row, row))
            kernel = torch.from_numpy(layer.phase_kernel(row, column).copy())
            found = torch.nn.functional.conv2d(padded, kernel)
            torch.testing.assert_close(found, wanted[:, :, row::2, column::2])


def test_half_computes_in_float16_and_the_cpu_runs_it(model: onnx.ModelProto) -> None:
    new = half(model)
    onnx.checker.check_model(new, full_check=True)
    weights = [tensor for tensor in new.graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    assert new.graph.input == model.graph.input
    z = latents(list(range(8)), SPEC.z_dim)
    difference = np.abs(draw(new, z).astype(int) - draw(model, z))
    assert 0 < difference.mean() < 0.5


def test_winograd_is_turned_back_without_loss(model: onnx.ModelProto) -> None:
    back = original(winograd(model))
    for found, wanted in zip(read_chain(back).layers, read_chain(model).layers, strict=True):
        assert np.array_equal(found.weight, wanted.weight)
        assert np.array_equal(found.bias, wanted.bias)
        assert (found.relu, found.first) == (wanted.relu, wanted.first)
    z = latents(list(range(4)), SPEC.z_dim)
    assert np.array_equal(draw(back, z), draw(model, z))
    assert winograd(back).SerializeToString() == winograd(model).SerializeToString()


def test_so_is_one_whose_last_layer_is_still_transposed(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first such files were written."""
    wanted = original(winograd(model)).SerializeToString()
    monkeypatch.setattr(Writer, "subpixel_convolve", Writer.transpose_convolve)
    early = winograd(model)
    assert operators(early).count("ConvTranspose") == 1
    assert original(early).SerializeToString() == wanted


def test_turning_back_leaves_other_forms_alone(model: onnx.ModelProto) -> None:
    for form in (model, FORMS["phases"](model)):
        assert original(form) is form


def test_a_winograd_file_without_its_last_layer_is_refused(model: onnx.ModelProto) -> None:
    broken = winograd(model)
    nodes = [node for node in broken.graph.node if node.op_type != "Conv"]
    del broken.graph.node[:]
    broken.graph.node.extend(nodes)
    with pytest.raises(ModelFileError, match="expected Conv"):
        original(broken)


def test_a_winograd_file_with_another_last_layer_is_refused(model: onnx.ModelProto) -> None:
    broken = winograd(model)
    last = next(node for node in broken.graph.node if node.op_type == "Conv")
    last.input[1] = last.input[0]
    with pytest.raises(ModelFileError, match="expected a 2×2 convolution"):
        original(broken)


@pytest.mark.parametrize("form", [*FORMS.values(), half], ids=[*FORMS, "half"])
def test_a_converted_file_is_refused(model: onnx.ModelProto, form: Form) -> None:
    with pytest.raises(ModelFileError, match=r"found Gemm .*convert the original"):
        form(FORMS["phases"](model))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_stored_halves_are_read_as_they_compute(model: onnx.ModelProto, form: Form) -> None:
    z = latents([5], SPEC.z_dim)
    halved = store_half(model)
    assert np.abs(draw(form(halved), z).astype(int) - draw(halved, z)).max() <= 1


def test_a_layer_of_another_stride_is_refused(model: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    node = [node for node in other.graph.node if node.op_type == "ConvTranspose"][2]
    strides = next(item for item in node.attribute if item.name == "strides")
    strides.ints[:] = [1, 1]
    with pytest.raises(ModelFileError, match=r"expected .*strides \[2, 2\]"):
        read_chain(other)


def test_layers_without_bias_have_forms_too(model: onnx.ModelProto) -> None:
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for node in bare.graph.node:
        if node.op_type == "ConvTranspose" and len(node.input) == 3:
            del node.input[2]
    z = latents([1, 2], SPEC.z_dim)
    for form in FORMS.values():
        assert np.abs(draw(form(bare), z).astype(int) - draw(bare, z)).max() <= 1


def run_bench(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench.forms", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_bench_prints_a_table_and_writes_its_figures(toy_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "forms.json"
    done = run_bench(toy_model, "--only", "cpu,openvino,winograd", "--seconds", 0.01, "--json", out)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [(row["kind"], row["provider"], bool(row["problem"])) for row in rows] == [
        ("transposed", "cpu", False),
        ("winograd", "cpu", False),
        ("transposed", "openvino f32", True),
        ("winograd", "openvino f32", True),
        ("transposed", "openvino bf16", True),
        ("winograd", "openvino bf16", True),
    ]
    assert [row["cost"]["largest"] <= 1 and row["same_bytes"] for row in rows[:2]] == [True, True]
    assert all(speed > 0 for speed in rows[1]["speed"].values())
    assert len(done.stdout.splitlines()) == 2 + len(rows)
    assert "| openvino f32 | winograd | not measured: needs onnxruntime-openvino" in done.stdout


def test_the_bench_refuses_what_it_does_not_know(toy_model: Path) -> None:
    done = run_bench(toy_model, "--only", "tpu")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "got tpu" in done.stderr
