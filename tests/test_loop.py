"""The game: who learns when, that a run can be repeated, and that a resumed one takes the same steps."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_DATA

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.config import ConfigError, TrainConfig
from training.game import frozen
from training.loop import Trainer
from training.losses import LOSSES

CPU = torch.device("cpu")


@pytest.fixture(params=["batch", "spectral", "none"])
def config(request: pytest.FixtureRequest) -> TrainConfig:
    return dataclasses.replace(TOY_CONFIG, d_norm=request.param)


def steps(trainer: Trainer, count: int) -> list[dict[str, float]]:
    return [trainer.train_step().as_floats() for _ in range(count)]


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert a.tensors.keys() == b.tensors.keys()
    for key, value in a.tensors.items():
        assert torch.equal(value, b.tensors[key]), key


def test_frozen_weights_get_no_gradient_and_thaw() -> None:
    net = torch.nn.Linear(2, 2)
    with frozen(net):
        assert not net(torch.ones(1, 2)).requires_grad
    assert net(torch.ones(1, 2)).requires_grad


def test_a_frozen_network_thaws_after_an_error() -> None:
    net = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError), frozen(net):
        raise RuntimeError
    assert net.weight.requires_grad


def test_each_half_of_a_step_moves_one_network(
    toy_pixels: np.ndarray, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config, toy_pixels, CPU)
    seen: list[tuple[bool, bool, bool, bool]] = []
    descend = trainer.game._descend

    def watch(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        before = [p.clone() for net in (trainer.players.d, trainer.players.g) for p in net.parameters()]
        requires = [next(net.parameters()).requires_grad for net in (trainer.players.d, trainer.players.g)]
        descend(optimizer, loss)
        after = [p for net in (trainer.players.d, trainer.players.g) for p in net.parameters()]
        d_count = len(list(trainer.players.d.parameters()))
        moved = [not torch.equal(p, q) for p, q in zip(before, after, strict=True)]
        seen.append((any(moved[:d_count]), any(moved[d_count:]), requires[0], requires[1]))

    monkeypatch.setattr(trainer.game, "_descend", watch)
    trainer.train_step()
    d_half, g_half = seen
    assert d_half == (True, False, True, False)
    assert g_half == (False, True, False, True)


def test_every_weight_learns(toy_pixels: np.ndarray, config: TrainConfig) -> None:
    trainer = Trainer(config, toy_pixels, CPU)
    weights = [*trainer.players.g.named_parameters(), *trainer.players.d.named_parameters()]
    before = [weight.clone() for _, weight in weights]
    steps(trainer, 2)
    assert [
        name for (name, weight), old in zip(weights, before, strict=True) if torch.equal(weight, old)
    ] == []


def test_the_same_seed_trains_the_same_model(toy_pixels: np.ndarray, config: TrainConfig) -> None:
    a, b = (Trainer(config, toy_pixels, CPU) for _ in range(2))
    assert steps(a, 3) == steps(b, 3)
    assert_same(a.checkpoint(TOY_DATA, 0), b.checkpoint(TOY_DATA, 0))


def test_another_seed_trains_another_model(toy_pixels: np.ndarray) -> None:
    a = Trainer(TOY_CONFIG, toy_pixels, CPU)
    b = Trainer(dataclasses.replace(TOY_CONFIG, seed=1), toy_pixels, CPU)
    assert steps(a, 2) != steps(b, 2)


def test_a_resumed_run_takes_the_same_steps(
    toy_pixels: np.ndarray, config: TrainConfig, tmp_path: Path
) -> None:
    whole = Trainer(config, toy_pixels, CPU)
    wanted = steps(whole, 6)

    first = Trainer(config, toy_pixels, CPU)
    found = steps(first, 3)
    save_checkpoint(first.checkpoint(TOY_DATA, 0), tmp_path / "saved")
    second = Trainer(config, toy_pixels, CPU)
    second.restore(load_checkpoint(tmp_path / "saved"))
    found += steps(second, 3)

    assert found == wanted
    assert_same(whole.checkpoint(TOY_DATA, 0), second.checkpoint(TOY_DATA, 0))


def test_looking_at_samples_does_not_change_the_run(toy_pixels: np.ndarray) -> None:
    a, b = (Trainer(TOY_CONFIG, toy_pixels, CPU) for _ in range(2))
    wanted = steps(a, 4)
    found = steps(b, 2)
    b.sample(torch.zeros(3, 8))
    assert found + steps(b, 2) == wanted


GOLDEN = {
    "bce": [
        (1.392125, 0.638346, 0.162932, 0.159630),
        (1.385247, 0.637330, 0.170396, 0.150383),
        (1.389536, 0.638068, 0.155434, 0.145437),
        (1.393582, 0.642537, 0.142860, 0.146557),
    ],
    "hinge": [
        (1.945382, -0.031698, 0.070146, 0.015529),
        (1.930175, -0.043211, 0.098948, 0.029123),
        (1.880319, -0.053251, 0.163356, 0.043674),
        (1.831300, -0.085173, 0.233570, 0.064871),
    ],
}
"""The first steps of the toy: ``loss_d``, ``loss_g``, ``real_logit`` and ``fake_logit``."""


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
@pytest.mark.parametrize("loss", GOLDEN)
def test_the_first_steps_never_change(toy_pixels: np.ndarray, loss: str, layout: str) -> None:
    """Old runs must be gone on with, and a rewrite of the loop must not change what is learnt."""
    game: dict[str, Any] = {"d_norm": "spectral", "mirror": True} if loss == "hinge" else {}
    config = dataclasses.replace(TOY_CONFIG, loss=loss, arithmetic="float32", layout=layout, **game)
    trainer = Trainer(config, toy_pixels, CPU)
    for wanted in GOLDEN[loss]:
        found = list(trainer.train_step().as_floats().values())[:4]
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_learning_rates_fall_to_a_tenth_at_the_end(toy_pixels: np.ndarray) -> None:
    config = dataclasses.replace(TOY_CONFIG, lr_decay_from=0.5, kimg=0.04)  # 10 steps
    trainer = Trainer(config, toy_pixels, CPU)
    rates = []
    for step in range(11):
        trainer.step = step
        trainer.train_step()
        rates.append(trainer.players.opt_g.param_groups[0]["lr"] / config.lr_g)
    assert rates == pytest.approx([1] * 6 + [0.82, 0.64, 0.46, 0.28, 0.1])


def test_the_average_s_batch_norm_fits_its_own_weights(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(TOY_CONFIG, toy_pixels, CPU)
    steps(trainer, 6)
    net = trainer.final_generator()
    z = torch.randn(4096, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        as_exported = net(z)
        net.train()
        with_batch_statistics = net(z)
    torch.testing.assert_close(as_exported.std(), with_batch_statistics.std(), rtol=0.05, atol=0)
    assert (as_exported - with_batch_statistics).abs().mean() < 0.1 * with_batch_statistics.abs().mean()


def test_the_average_lags_behind_and_is_what_is_shown(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(dataclasses.replace(TOY_CONFIG, ema_half_life_kimg=50.0), toy_pixels, CPU)
    steps(trainer, 6)
    shown = dict(trainer.final_generator().named_parameters())
    assert any(not torch.equal(p, shown[name]) for name, p in trainer.players.g.named_parameters())


def test_without_an_average_the_generator_itself_is_shown(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(dataclasses.replace(TOY_CONFIG, ema_half_life_kimg=0.0), toy_pixels, CPU)
    steps(trainer, 2)
    shown = dict(trainer.final_generator().named_parameters())
    assert all(torch.equal(p, shown[name]) for name, p in trainer.players.g.named_parameters())
    assert trainer.checkpoint(TOY_DATA, 0).select("g_ema") == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 1), ("kimg", 0), ("lr_g", -1.0), ("beta1_d", 1.0), ("translate", 0.6), ("seed", -1)],
)
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be .*, got {value}"):
        dataclasses.replace(TOY_CONFIG, **{name: value})


def test_settings_survive_json() -> None:
    assert TrainConfig.from_dict(TOY_CONFIG.to_dict()) == TOY_CONFIG
    with pytest.raises(ConfigError, match="not of this version"):
        TrainConfig.from_dict(TOY_CONFIG.to_dict() | {"momentum": 1})


SETTINGS: list[dict[str, object]] = [
    *({"loss": name} for name in LOSSES),
    {"loss": "wgan-gp", "d_norm": "none"},
    {"d_norm": "spectral", "d_init": "orthogonal", "d_gain": 1.5, "r1": 1.0, "r1_every": 2},
    {"gradient_penalty": 1.0, "lecam": 0.1, "consistency": 0.5, "d_norm": "spectral"},
    {"colour": 0.2, "cutout": 0.25, "augment_p": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_setting_of_the_game_learns_and_resumes(
    toy_pixels: np.ndarray, tmp_path: Path, settings: dict[str, object]
) -> None:
    config = dataclasses.replace(TOY_CONFIG, **settings)
    whole = Trainer(config, toy_pixels, CPU)
    weights = [p for net in (whole.players.g, whole.players.d) for p in net.parameters() if p.ndim > 1]
    before = [weight.clone() for weight in weights]
    wanted = steps(whole, 2)
    assert all(np.isfinite(list(stats.values())).all() for stats in wanted)
    assert not any(torch.equal(*pair) for pair in zip(before, weights, strict=True))
    save_checkpoint(whole.checkpoint(TOY_DATA, 0), tmp_path / "saved")
    second = Trainer(config, toy_pixels, CPU)
    second.restore(load_checkpoint(tmp_path / "saved"))
    assert steps(second, 2) == steps(whole, 2)
    assert_same(whole.checkpoint(TOY_DATA, 0), second.checkpoint(TOY_DATA, 0))


def test_the_perceptual_loss_teaches_g_to_resemble(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(dataclasses.replace(TOY_CONFIG, perceptual=1.0), toy_pixels, CPU)
    assert trainer.game.perceptual is not None
    real = torch.rand(4, 3, 16, 16) * 2 - 1
    fake = torch.zeros(4, 3, 16, 16, requires_grad=True)
    assert trainer.game.perceptual(real, real).item() == pytest.approx(0, abs=1e-6)
    distance = trainer.game.perceptual(real, fake)
    distance.backward()
    assert distance > 0.1
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    steps(trainer, 1)


def test_another_stream_draws_otherwise_from_the_same_weights(toy_pixels: np.ndarray) -> None:
    a, b = (Trainer(TOY_CONFIG, toy_pixels, CPU) for _ in range(2))
    b.adopt(dataclasses.replace(TOY_CONFIG, stream=1))
    assert_same(a.checkpoint(TOY_DATA, 0), b.checkpoint(TOY_DATA, 0))
    assert steps(a, 1) != steps(b, 1)


def test_a_run_can_begin_again(toy_pixels: np.ndarray) -> None:
    config = dataclasses.replace(TOY_CONFIG, lecam=0.1, ada_target=0.6)
    fresh, used = (Trainer(config, toy_pixels, CPU) for _ in range(2))
    steps(used, 2)
    used.game.regularisation.lecam.real_mean.fill_(torch.nan)
    used.game.augment.p.fill_(0.5)
    used.begin()
    assert_same(fresh.checkpoint(TOY_DATA, 0), used.checkpoint(TOY_DATA, 0))
    assert steps(fresh, 2) == steps(used, 2)


def test_other_settings_keep_what_was_learned(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(dataclasses.replace(TOY_CONFIG, lecam=0.1), toy_pixels, CPU)
    steps(trainer, 2)
    before = trainer.checkpoint(TOY_DATA, 0)
    trainer.adopt(dataclasses.replace(trainer.config, lr_d=1e-4, r1=1.0))
    assert_same(before, trainer.checkpoint(TOY_DATA, 0))
    steps(trainer, 1)
    assert trainer.players.opt_d.param_groups[0]["lr"] == 1e-4


def test_settings_of_an_older_version_are_read() -> None:
    old = TOY_CONFIG.to_dict()
    for name in ("beta1_g", "beta1_d", "beta2_g", "beta2_d", "lecam", "stream"):
        del old[name]
    config = TrainConfig.from_dict(old | {"beta1": 0.25, "beta2": 0.75})
    found = (config.beta1_g, config.beta1_d, config.beta2_g, config.beta2_d, config.lecam)
    assert found == (0.25, 0.25, 0.75, 0.75, 0.0)
