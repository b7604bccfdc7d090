"""Measured quality: the distance against closed forms, and the command on a real checkpoint."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.evaluate import frechet_distance
from training.features import FeatureExtractor


class MeanColour(nn.Module):
    """The three channel means of a picture, as its features."""

    num_features = 3

    def forward(self, img: Tensor) -> Tensor:  # noqa: D102
        return img.float().mean((2, 3))


def flat_pictures(colours: Tensor) -> Iterator[Tensor]:
    """Yields one batch of pictures of one colour each: (N, 3) → (N, 3, 8, 8) uint8."""
    yield colours.to(torch.uint8)[:, :, None, None].expand(-1, -1, 8, 8)


@pytest.fixture
def colours() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(50, 150, (500, 3)))


def test_the_distance_of_a_set_to_itself_is_nothing(colours: Tensor) -> None:
    assert frechet_distance(flat_pictures(colours), flat_pictures(colours), MeanColour(), 8) == pytest.approx(
        0, abs=1e-3
    )


def test_the_distance_of_equal_covariances_is_the_squared_distance_of_the_means(colours: Tensor) -> None:
    moved = colours + torch.tensor([3, 4, 12])
    found = frechet_distance(flat_pictures(colours), flat_pictures(moved), MeanColour(), 8)
    assert found == pytest.approx(3**2 + 4**2 + 12**2, rel=1e-3)


def test_the_distance_of_a_wider_set_is_the_difference_of_the_deviations(colours: Tensor) -> None:
    centred = colours - 100
    wide = 2 * centred + 100
    narrow = centred + 100
    # tr(S + 4S - 2·2S) = tr(S), and the means differ by the mean of `centred`.
    wanted = torch.cov(centred.T.double()).trace() + centred.double().mean(0).square().sum()
    found = frechet_distance(flat_pictures(narrow), flat_pictures(wide), MeanColour(), 8)
    assert found == pytest.approx(wanted.item(), rel=0.01)


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


@pytest.mark.parametrize("named", [False, True])
def test_the_command_notes_the_figure_against_the_training_s_own_data(
    toy_checkpoint: Checkpoint, tmp_path: Path, named: bool
) -> None:
    data, run = tmp_path / "data", tmp_path / "checkpoint"
    data.mkdir()
    for k, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)):
        Image.fromarray(pixels).save(data / f"{k}.png")
    own = toy_checkpoint.data | {"source": "/nowhere" if named else str(data)}
    save_checkpoint(dataclasses.replace(toy_checkpoint, data=own), run)
    command = [sys.executable, "-m", "training.evaluate", str(run), "--samples", "20"]
    done = subprocess.run(
        [*command, *(["--data", str(data)] if named else [])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "fd_efficientnet_lite0_20_of_16: " in done.stdout
    metrics = load_checkpoint(run).metrics
    if named:  # a figure against other data is printed, and not the model's own
        assert metrics == {}
    else:
        assert metrics["fd_efficientnet_lite0_20_of_16"] > 0
