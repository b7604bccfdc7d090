"""Export: the file draws what torch draws, describes itself, and is not written otherwise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from commands import run_here

from export import to_onnx
from export.graph import PictureGenerator, store_half
from export.to_onnx import ExportError, compare, export, load_generator, rewrite
from models.contract import INPUT_NAME, OUTPUT_NAME, ModelCard, latents, to_uint8
from training.checkpoint import Checkpoint


def draw(path: Path, z: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: z})[0]


@torch.no_grad()
def test_the_file_draws_what_torch_draws(toy_model: Path, toy_checkpoint: Checkpoint) -> None:
    generator = load_generator(toy_checkpoint)
    z = latents(list(range(100, 150)), 8)
    wanted = to_uint8(generator(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy()).astype(int)
    found = draw(toy_model, z)
    assert found.dtype == np.uint8
    assert found.shape == (50, 16, 16, 3)
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 0.001
    assert wanted.std() > 5  # the comparison would say little about flat grey


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_batch_is_free(toy_model: Path, count: int) -> None:
    assert draw(toy_model, latents(list(range(count)), 8)).shape == (count, 16, 16, 3)


def test_batch_norm_is_folded_and_pixels_are_in_the_graph(toy_model: Path) -> None:
    operators = [node.op_type for node in onnx.load(toy_model).graph.node]
    assert "BatchNormalization" not in operators
    assert operators[-2:] == ["Cast", "Transpose"]


def test_a_generator_is_copied(toy_checkpoint: Checkpoint) -> None:
    generator = load_generator(toy_checkpoint).train()
    pictures = PictureGenerator(generator)
    z = torch.from_numpy(latents([1, 2], 8))
    before = pictures(z)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.zero_()
    assert generator.training
    assert not pictures.training
    assert torch.equal(pictures(z), before)


def test_the_file_describes_itself(toy_model: Path, toy_checkpoint: Checkpoint) -> None:
    metadata = {item.key: item.value for item in onnx.load(toy_model).metadata_props}
    card = ModelCard.from_metadata(metadata)
    assert (card.name, card.spec, card.precision) == ("toy", toy_checkpoint.spec, "float32")
    assert card.data == {"name": "noise", "pictures": 32, "license": None}
    assert card.training["pictures_shown"] == 8
    assert card.training["recipe"]["batch_size"] == 4
    assert len(card.weights_sha256) == 64


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(toy_model: Path) -> None:
    content = toy_model.read_bytes()
    assert str(Path.cwd()).encode() not in content
    assert b"site-packages" not in content


def test_the_same_checkpoint_gives_the_same_file(toy_model: Path, toy_checkpoint: Checkpoint) -> None:
    assert export(toy_checkpoint, "toy", "float32").SerializeToString() == toy_model.read_bytes()


def test_half_weights_halve_the_file_and_compute_in_float32() -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 64])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    half = store_half(model)
    onnx.checker.check_model(half, full_check=True)
    assert half.ByteSize() < 0.6 * model.ByteSize()
    x = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    [found] = ort.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    np.testing.assert_allclose(found, x @ weight.astype(np.float16).astype(np.float32), rtol=1e-4, atol=1e-5)


def test_half_weights_that_move_a_pixel_by_more_than_one_level_are_not_taken(
    toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, "store_half", damaged)
    model = export(toy_checkpoint, "toy", "auto")
    assert all(w.data_type == onnx.TensorProto.FLOAT for w in model.graph.initializer if len(w.dims) == 4)
    with pytest.raises(ExportError, match="float16 weights"):
        export(toy_checkpoint, "toy", "float16")


def damaged(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a valid model whose first convolution has other weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weight = next(w for w in copy.graph.initializer if len(w.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(weight), weight.name))
    return copy


def test_a_graph_that_draws_something_else_is_not_written(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = to_onnx.build_graph
    monkeypatch.setattr(to_onnx, "build_graph", lambda *arguments: damaged(build(*arguments)))
    monkeypatch.setattr(sys, "argv", ["to_onnx", str(toy_run), str(tmp_path / "m.onnx")])
    with pytest.raises(ExportError, match="nothing was written"):
        to_onnx.main()
    assert not (tmp_path / "m.onnx").exists()


def test_the_comparison_sees_one_wrong_weight(toy_checkpoint: Checkpoint) -> None:
    generator = load_generator(toy_checkpoint)
    model = export(toy_checkpoint, "toy", "float32")
    assert compare(model, generator, range(8)).largest <= 1
    assert compare(damaged(model), generator, range(8)).largest > 1


@torch.no_grad()
def test_folding_leaves_the_generator_itself_alone(toy_checkpoint: Checkpoint) -> None:
    generator = load_generator(toy_checkpoint)
    z = torch.from_numpy(latents([1, 2], 8))
    before = generator(z)
    PictureGenerator(generator)
    assert torch.equal(generator(z), before)


def test_the_command_writes_a_file_and_says_what_it_measured(toy_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export.to_onnx", toy_run, tmp_path / "new" / "m.onnx", "--name", "mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "float16 weights: " in done.stdout
    assert "sha256 " in done.stdout
    onnx.checker.check_model(tmp_path / "new" / "m.onnx", full_check=True)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["m.onnx"]


def test_the_command_writes_the_form_that_was_asked_for(toy_run: Path, tmp_path: Path) -> None:
    done = run_here(to_onnx.main, toy_run, tmp_path / "m.onnx", "--form", "winograd")
    assert done.returncode == 0, done.stderr
    assert "form winograd: " in done.stdout
    operators = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert "ConvTranspose" not in operators


def test_a_form_that_draws_something_else_is_not_taken(
    toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = export(toy_checkpoint, "toy", "float32")
    monkeypatch.setitem(to_onnx.FORMS, "phases", damaged)
    with pytest.raises(ExportError, match="the form phases differs from torch"):
        rewrite(model, "phases", load_generator(toy_checkpoint))


def test_a_missing_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    done = run_here(to_onnx.main, tmp_path, tmp_path / "m.onnx")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no checkpoint in" in done.stderr


def test_an_unwritable_place_is_one_clear_line(toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run_here(to_onnx.main, toy_run, tmp_path / "file" / "m.onnx")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: cannot write")
