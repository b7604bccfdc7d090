"""Model files that were broken, by accident or with intent: each is refused in a sentence."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from app.model import load
from app.settings import Settings
from models.contract import METADATA_KEY, ModelFileError, SeedlingError

SPEC = {"img_resolution": 16, "img_channels": 3, "z_dim": 8, "ngf": 4, "ndf": 4}


def elsewhere(location: str) -> Callable[[onnx.ModelProto], None]:
    """Has a model say that its weights are in another file."""

    def change(model: onnx.ModelProto) -> None:
        weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        size = len(weights.raw_data)
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        for name, value in (("location", location), ("offset", "0"), ("length", str(size))):
            weights.external_data.add(key=name, value=value)

    return change


def card(**changes: Any) -> Callable[[onnx.ModelProto], None]:  # noqa: ANN401 - whatever a card may say
    def change(model: onnx.ModelProto) -> None:
        [pair] = [one for one in model.metadata_props if one.key == METADATA_KEY]
        pair.value = json.dumps(json.loads(pair.value) | changes)

    return change


def brackets(model: onnx.ModelProto) -> None:
    [pair] = [one for one in model.metadata_props if one.key == METADATA_KEY]
    pair.value = "[" * 100_000


def huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9999


def version(model: onnx.ModelProto) -> None:
    model.ir_version = 9999


BROKEN: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "/etc/passwd": (elsewhere("/etc/passwd"), "External data path"),
    "../": (elsewhere("../../../../etc/passwd"), "External data path"),
    "a file that is there": (elsewhere("secret"), "External data path"),
    "sizes": (huge, "declares a size"),
    "opset": (opset, "ONNX Runtime can load"),
    "version": (version, "ONNX Runtime can load"),
    "resolution": (card(spec=SPEC | {"img_resolution": 4096}), "4096"),
    "no resolution": (card(spec=SPEC | {"img_resolution": -1}), "-1"),
    "latents": (card(spec=SPEC | {"z_dim": 10**9}), "z_dim must be at most"),
    "other latents": (card(spec=SPEC | {"z_dim": 9}), "inputs and outputs"),
    "no whole latents": (card(spec=SPEC | {"z_dim": 8.0}), "z_dim must be an integer, got 8.0"),
    "spec": (card(spec=None), ""),
    "format": (card(format=99), "format 99"),
    "brackets": (brackets, ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_file_that_lies_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_model: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(bytes(10_000_000))  # as many as any tensor of it has
    change, why = BROKEN[name]
    model = onnx.load(toy_model)
    change(model)
    Path("bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"^the model file bad\.onnx cannot be served: ") as refused:
        load(Settings(model=Path("bad.onnx")))
    assert why in str(refused.value)


def test_a_file_with_other_bytes_here_and_there_is_loaded_or_refused(tmp_path: Path, toy_model: Path) -> None:
    whole = toy_model.read_bytes()
    path = tmp_path / "bad.onnx"
    refused = 0
    for case in range(60):
        chance = random.Random(case)
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(content))
            content[place] = chance.randrange(256)
            if chance.random() < 0.3:
                del content[place : place + chance.randrange(40)]
        path.write_bytes(content)
        try:
            load(Settings(model=path))
        except SeedlingError as error:
            assert str(path) in str(error)  # noqa: PT017 - it may be loaded as well
            refused += 1
    assert refused > 20
