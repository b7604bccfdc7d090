"""A wider discriminator: the same judgement, and room to learn more."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_SPEC

from models.dcgan import INIT_STD, Discriminator
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import ConfigError
from training.loop import Trainer
from training.widen import widened

IMG = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def learned(norm: str) -> Discriminator:
    """A discriminator whose every weight, bias and statistic has left its first value."""
    torch.manual_seed(0)
    d = Discriminator(TOY_SPEC, norm, gain=1.3)
    optimizer = torch.optim.Adam(d.parameters(), 0.01)
    for _ in range(5):
        optimizer.zero_grad()
        (d(IMG).mean() + d(IMG.flip(0) * 0.5).square().mean()).backward()
        optimizer.step()
    return d


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_the_wide_one_judges_as_the_narrow_one(norm: str, factor: int, training: bool) -> None:
    narrow = learned(norm).eval()
    for _ in range(200 if norm == "spectral" else 0):
        narrow.train()(IMG)  # until its power iterations have found the largest singular value
    wide = widened(narrow, factor * TOY_SPEC.ndf, torch.Generator().manual_seed(0))
    assert [c.out_channels for c in wide.convolutions()[:-1]] == [
        factor * c.out_channels for c in narrow.convolutions()[:-1]
    ]
    narrow.train(training)
    wide.train(training)
    with torch.no_grad():
        torch.testing.assert_close(wide(IMG), narrow(IMG), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_weights_before_a_norm_stay_as_large_as_those_of_a_new_one(norm: str) -> None:
    """Else Adam, whose steps do not shrink with them, would move them several times too far."""
    narrow = Discriminator(TOY_SPEC, norm)
    wide = widened(narrow, 8 * TOY_SPEC.ndf, torch.Generator().manual_seed(0))
    for name, weight in wide.named_parameters():
        if weight.ndim > 1 and not name.startswith(f"layers.{len(wide.layers) - 2}."):
            assert weight.square().mean().sqrt().item() == pytest.approx(INIT_STD, rel=0.3)


def test_copies_of_a_channel_part_when_they_learn() -> None:
    wide = widened(learned("none"), 2 * TOY_SPEC.ndf, torch.Generator().manual_seed(0))
    first = wide.convolutions()[0].weight
    assert torch.equal(*first.chunk(2))
    wide(IMG).sum().backward()
    assert first.grad is not None
    assert not torch.allclose(*first.grad.chunk(2))


def test_only_multiples_can_be_grown_to() -> None:
    with pytest.raises(ConfigError, match="multiple of 4, got 6"):
        widened(learned("none"), 6, torch.Generator())


def test_a_game_goes_on_with_a_wider_discriminator(toy_pixels: np.ndarray, tmp_path: Path) -> None:
    config = dataclasses.replace(TOY_CONFIG, d_norm="spectral")
    trainer = Trainer(config, toy_pixels, torch.device("cpu"))
    trainer.train_step()
    trainer.adopt(dataclasses.replace(config, spec=dataclasses.replace(TOY_SPEC, ndf=8)))
    save_checkpoint(trainer.checkpoint({}, 0), tmp_path / "wide")
    before = load_checkpoint(tmp_path / "wide")
    trainer.train_step()
    assert before.spec.ndf == 8
    again = Trainer(trainer.config, toy_pixels, torch.device("cpu"))
    again.restore(before)
    again.train_step()
    for key, value in trainer.checkpoint({}, 0).tensors.items():
        assert torch.equal(value, again.checkpoint({}, 0).tensors[key]), key
