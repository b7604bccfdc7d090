"""Conversion of model files: what it says, what it notes in the card, and what it refuses."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import run_here

from export import convert as command
from export import files
from export.convert import Cost, compare, convert
from export.files import ExportError
from export.forms import FORMS
from models.contract import METADATA_KEY, ModelFileError


def damaged(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a valid model whose first layer has other weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weight = next(w for w in copy.graph.initializer if len(w.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(weight), weight.name))
    return copy


def test_the_cost_of_equal_pictures_is_nothing() -> None:
    pictures = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    assert Cost.of(pictures, pictures) == Cost(0, 0.0, (1.0, 1.0, 1.0), math.inf)


def test_the_cost_of_known_differences() -> None:
    wanted = np.full((1, 2, 2, 1), 128, np.uint8)
    found = wanted + np.array([0, 1, 2, 3], np.uint8).reshape(1, 2, 2, 1)
    assert Cost.of(found, wanted) == Cost.of(wanted, found)
    cost = Cost.of(found, wanted)
    assert (cost.largest, cost.mean, cost.within) == (3, 1.5, (0.25, 0.5, 0.75))
    assert cost.psnr == pytest.approx(10 * math.log10(255**2 / 3.5))


def test_the_command_writes_a_file_and_says_what_it_costs(toy_model: Path, tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "export.convert",
        toy_model,
        tmp_path / "new" / "w.onnx",
        "--form",
        "winograd",
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 level(s) at most" in done.stdout or "0 level(s) at most" in done.stdout
    assert "over 64 pictures" in done.stdout
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["w.onnx"]
    new, card = files.read(tmp_path / "new" / "w.onnx")
    assert card == files.read(toy_model)[1]
    assert new.graph.node != onnx.load(toy_model).graph.node


def test_auto_measures_every_form_and_takes_one(toy_model: Path, tmp_path: Path) -> None:
    done = run_here(command.main, toy_model, tmp_path / "m.onnx")
    assert done.returncode == 0, done.stderr
    [measured] = [line for line in done.stdout.splitlines() if "taken: " in line]
    assert all(f"{name} " in measured for name in FORMS)
    taken = measured.rpartition("taken: ")[2]
    source = onnx.load(toy_model)
    assert onnx.load(tmp_path / "m.onnx").graph.node == FORMS[taken](source).graph.node


@pytest.mark.parametrize(
    ("arithmetic", "stored"), [("float16", "float16"), ("int8", "int8"), ("integer", "int8")]
)
def test_another_arithmetic_is_noted_in_the_card(
    toy_model: Path, tmp_path: Path, arithmetic: str, stored: str
) -> None:
    done = run_here(
        command.main, toy_model, tmp_path / "new.onnx", "--precision", arithmetic, "--calibrate", 8
    )
    assert done.returncode == 0, done.stderr
    assert "PSNR" in done.stdout
    new, card = files.read(tmp_path / "new.onnx")
    assert (card.arithmetic, card.precision) == (arithmetic, stored)
    assert card.weights_sha256 == files.read(toy_model)[1].weights_sha256
    assert compare(new, onnx.load(toy_model)).mean < 8  # the toy's pictures are noise of 2 steps


def test_measured_quality_is_that_of_the_arithmetic(toy_model: Path) -> None:
    source = onnx.load(toy_model)
    card = dataclasses.replace(files.read_card(source), metrics={"fd": 1.5})
    onnx.helper.set_model_props(source, card.to_metadata())
    assert files.read_card(convert(source, form="phases")).metrics == {"fd": 1.5}
    for arithmetic in ("float16", "int8", "integer"):
        assert files.read_card(convert(source, arithmetic, calibrate=1)).metrics == {}


def test_calibration_needs_pictures(toy_model: Path, tmp_path: Path) -> None:
    done = run_here(command.main, toy_model, tmp_path / "new.onnx", "--precision", "int8", "--calibrate", 0)
    assert (done.returncode, done.stderr) == (2, "error: --calibrate must be at least 1, got 0\n")


def test_a_file_that_draws_something_else_is_not_written(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMS, "phases", damaged)
    out = tmp_path / "m.onnx"
    monkeypatch.setattr(sys, "argv", ["convert", str(toy_model), str(out), "--form", "phases"])
    with pytest.raises(ExportError, match="nothing was written"):
        command.main()
    assert not out.exists()


def test_the_comparison_sees_one_wrong_layer(toy_model: Path) -> None:
    source = onnx.load(toy_model)
    assert compare(source, source).largest == 0
    assert compare(damaged(source), source).largest > 1


def test_a_file_that_computes_otherwise_is_refused(toy_model: Path) -> None:
    with pytest.raises(ExportError, match="computes in float16: convert the float32 original"):
        convert(convert(onnx.load(toy_model), "float16"))


def test_a_file_in_another_form_is_refused(toy_model: Path) -> None:
    with pytest.raises(ModelFileError, match="convert the original"):
        convert(convert(onnx.load(toy_model), form="phases"), "float16")


def test_the_fast_form_converts_as_the_original_does(toy_model: Path, tmp_path: Path) -> None:
    assert run_here(command.main, toy_model, tmp_path / "fast.onnx", "--form", "winograd").returncode == 0
    for source in (toy_model, tmp_path / "fast.onnx"):
        done = run_here(command.main, source, tmp_path / f"{source.stem}-half.onnx", "--precision", "float16")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "fast-half.onnx").read_bytes() == (tmp_path / "toy-half.onnx").read_bytes()


def test_only_integers_are_calibrated(toy_model: Path) -> None:
    more_than_fits_in_memory = sys.maxsize
    for arithmetic, form in (("float32", "phases"), ("float16", "auto")):
        convert(onnx.load(toy_model), arithmetic, form, more_than_fits_in_memory)


def test_only_float32_has_forms(toy_model: Path) -> None:
    with pytest.raises(ExportError, match="form winograd: only float32"):
        convert(onnx.load(toy_model), "float16", "winograd")


def test_bad_sources_are_one_clear_line(toy_model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    bare = onnx.load(toy_model)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    for name, message in {
        "none.onnx": "No such file",
        "text.onnx": "not an ONNX file",
        "bare.onnx": "not one of Seedling: it carries no 'seedling' metadata",
    }.items():
        done = run_here(command.main, tmp_path / name, tmp_path / "out.onnx")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ('"z_dim": 8', '"z_dim": 8.0', "z_dim must be an integer, got 8.0"),
        ('"z_dim": 8', '"z_dim": 20000000', "z_dim must be at most 65536, got 20000000"),
        ('"z_dim": 8', '"z_dim": 9', "'z': ('FLOAT', [8])"),
        (
            '"img_resolution": 16',
            '"img_resolution": 32',
            "expected {'z': ('FLOAT', [8]), 'images': ('UINT8', [32,",
        ),
        ('"data": {', '"data": ' + "[" * 100_000 + "{", "RecursionError"),
    ],
)
def test_a_card_that_does_not_fit_its_graph_is_one_clear_line(
    toy_model: Path, tmp_path: Path, was: str, becomes: str, message: str
) -> None:
    model = onnx.load(toy_model)
    text = files.read_card(model).to_metadata()[METADATA_KEY]
    assert was in text
    onnx.helper.set_model_props(model, {METADATA_KEY: text.replace(was, becomes)})
    onnx.save(model, tmp_path / "bad.onnx")
    done = run_here(command.main, tmp_path / "bad.onnx", tmp_path / "out.onnx", "--form", "phases")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "bad.onnx is not one of Seedling" in done.stderr
    assert message in done.stderr


def test_the_source_is_never_overwritten(toy_model: Path) -> None:
    before = toy_model.read_bytes()
    done = run_here(command.main, toy_model, toy_model.parent / ".." / toy_model.parent.name / toy_model.name)
    assert done.returncode == 2
    assert "is the source itself" in done.stderr
    assert toy_model.read_bytes() == before


def test_conversion_needs_no_torch() -> None:
    code = "import sys, export.convert; print({'torch', 'training.checkpoint'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
