"""The game: who learns when, that a run can be repeated, and that a resumed one takes the same steps."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_DATA

from training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from training.config import ConfigError, TrainConfig
from training.loop import Trainer, frozen

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
    descend = trainer._descend

    def watch(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        before = [p.clone() for net in (trainer.d, trainer.g) for p in net.parameters()]
        requires = [next(net.parameters()).requires_grad for net in (trainer.d, trainer.g)]
        descend(optimizer, loss)
        after = [p for net in (trainer.d, trainer.g) for p in net.parameters()]
        d_count = len(list(trainer.d.parameters()))
        moved = [not torch.equal(p, q) for p, q in zip(before, after, strict=True)]
        seen.append((any(moved[:d_count]), any(moved[d_count:]), requires[0], requires[1]))

    monkeypatch.setattr(trainer, "_descend", watch)
    trainer.train_step()
    d_half, g_half = seen
    assert d_half == (True, False, True, False)
    assert g_half == (False, True, False, True)


def test_every_weight_learns(toy_pixels: np.ndarray, config: TrainConfig) -> None:
    trainer = Trainer(config, toy_pixels, CPU)
    weights = [*trainer.g.named_parameters(), *trainer.d.named_parameters()]
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


def test_an_epoch_shows_every_picture_once(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(TOY_CONFIG, toy_pixels, CPU)
    first = [trainer._pick(k, 32) for k in range(32)]
    second = [trainer._pick(k, 32) for k in range(32, 64)]
    assert sorted(first) == sorted(second) == list(range(32))
    assert first != second


def test_learning_rates_fall_to_a_tenth_at_the_end(toy_pixels: np.ndarray) -> None:
    config = dataclasses.replace(TOY_CONFIG, lr_decay_from=0.5, kimg=0.04)  # 10 steps
    trainer = Trainer(config, toy_pixels, CPU)
    rates = []
    for step in range(11):
        trainer.step = step
        trainer._set_learning_rates()
        rates.append(trainer.opt_g.param_groups[0]["lr"] / config.lr_g)
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
    assert any(not torch.equal(p, shown[name]) for name, p in trainer.g.named_parameters())


def test_without_an_average_the_generator_itself_is_shown(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(dataclasses.replace(TOY_CONFIG, ema_half_life_kimg=0.0), toy_pixels, CPU)
    steps(trainer, 2)
    shown = dict(trainer.final_generator().named_parameters())
    assert all(torch.equal(p, shown[name]) for name, p in trainer.g.named_parameters())
    assert trainer.checkpoint(TOY_DATA, 0).select("g_ema") == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 1), ("kimg", 0), ("lr_g", -1.0), ("beta1", 1.0), ("translate", 0.6), ("seed", -1)],
)
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be .*, got {value}"):
        dataclasses.replace(TOY_CONFIG, **{name: value})


def test_settings_survive_json() -> None:
    assert TrainConfig.from_dict(TOY_CONFIG.to_dict()) == TOY_CONFIG
    with pytest.raises(ConfigError, match="not of this version"):
        TrainConfig.from_dict(TOY_CONFIG.to_dict() | {"momentum": 1})
