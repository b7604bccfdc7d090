"""How a step is computed: what is taken where, and that every way computes the same."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG
from torch._inductor.exc import InductorError

from training.config import AUTO, TrainConfig
from training.execution import Compiled, settled
from training.loop import Trainer

CPU = torch.device("cpu")
PLAIN = dataclasses.replace(TOY_CONFIG, arithmetic="float32", layout="nchw", execution="eager")


def losses(trainer: Trainer, count: int = 4) -> list[list[float]]:
    return [list(trainer.train_step().as_floats().values()) for _ in range(count)]


def test_nothing_is_left_open() -> None:
    config = settled(TOY_CONFIG, CPU)
    assert AUTO not in {config.arithmetic, config.layout, config.execution}
    assert settled(PLAIN, CPU) == PLAIN


def test_what_a_cpu_cannot_do_is_replaced_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    config = settled(dataclasses.replace(PLAIN, arithmetic="tf32", execution="graph"), CPU)
    assert config.execution == "eager"
    assert config.arithmetic in {"float32", "bfloat16"}
    assert "arithmetic tf32 needs CUDA" in caplog.text
    assert "execution graph needs CUDA" in caplog.text


@pytest.mark.filterwarnings("ignore")  # of the compiler's own making
def test_compiled_and_eager_agree(toy_pixels: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    spec = dataclasses.replace(
        TOY_CONFIG.spec, img_resolution=8
    )  # two layers: compiling takes seconds a layer
    config = dataclasses.replace(PLAIN, spec=spec, translate=0.0)
    pixels = np.ascontiguousarray(toy_pixels[:, :8, :8])
    eager = Trainer(config, pixels, CPU)
    compiled = Trainer(dataclasses.replace(config, execution="compile"), pixels, CPU)
    wanted, found = losses(eager), losses(compiled)
    if "is not compiled" in caplog.text:
        pytest.skip(f"nothing compiles here: {caplog.messages}")
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert eager.players.g.state_dict().keys() == compiled.players.g.state_dict().keys()


def test_what_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InductorError(RuntimeError("no compiler\nand much more"), None)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    net = torch.nn.Linear(2, 1)
    wanted = net(torch.ones(1, 2))
    Compiled(net)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(net(torch.ones(1, 2)), wanted)
        assert torch.equal(net(torch.ones(1, 2)), wanted)
    assert len(caplog.messages) == 1
    assert "Linear is not compiled, which costs speed only" in caplog.text
    assert "no compiler" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_a_recorded_step_is_the_same_step(
    toy_pixels: np.ndarray, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else gradients are summed in any order, and Adam makes a step of the smallest difference.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)

    def steps(config: TrainConfig) -> tuple[list[list[float]], Trainer]:
        trainer = Trainer(config, toy_pixels, torch.device("cuda"))
        found = losses(trainer, 12)
        trainer.adopt(dataclasses.replace(trainer.config, lr_d=1e-5, loss="hinge"))
        return found + losses(trainer, 12), trainer

    config = dataclasses.replace(TOY_CONFIG, arithmetic=arithmetic, kimg=1, r1=1.0, r1_every=2)
    wanted, _ = steps(dataclasses.replace(config, execution="eager"))
    found, trainer = steps(dataclasses.replace(config, execution="graph"))
    assert len(trainer._graphs._recordings) == 2
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to wait for")
def test_a_step_does_not_wait_for_the_gpu(toy_pixels: np.ndarray) -> None:
    config = dataclasses.replace(TOY_CONFIG, execution="eager", mirror=True)
    trainer = Trainer(config, toy_pixels, torch.device("cuda"))
    losses(trainer, 9)  # past the end of an epoch, whose order is moved at once
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
