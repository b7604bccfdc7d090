"""Spectral norm: what torch's own gives, in fewer looks at the weight."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from models import spectral_norm as module
from models.contract import ModelSpec
from models.dcgan import Discriminator
from models.spectral_norm import BAND, spectral_norm

KEPT = ("_u", "_v")


def pair(layout: torch.memory_format) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The same convolution under torch's spectral norm and under ours."""
    torch.manual_seed(0)
    theirs = nn.Conv2d(8, 16, 4, 2, 1)
    ours = copy.deepcopy(theirs)
    for layer, normalise in ((theirs, parametrizations.spectral_norm), (ours, spectral_norm)):
        torch.manual_seed(1)
        normalise(layer)
        layer.to(memory_format=layout)
    _ = theirs.weight  # torch begins with one step of the power method less
    return theirs, ours


def gradient(layer: nn.Conv2d, loss: Tensor) -> Tensor:
    [found] = torch.autograd.grad(loss, [layer.get_parameter("parametrizations.weight.original")])
    return found


@pytest.mark.parametrize("band", [BAND, 3 * 128, 1])  # all at once, three rows, one
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_gives_what_torch_gives(
    layout: torch.memory_format, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BAND", band)
    theirs, ours = pair(layout)
    x = torch.randn(4, 8, 16, 16)
    for _ in range(3):
        wanted, found = theirs(x), ours(x)
        torch.testing.assert_close(found, wanted)
        wanted = gradient(theirs, wanted.square().sum())
        found = gradient(ours, found.square().sum())
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
        for name in KEPT:
            buffers = [layer.get_buffer(f"parametrizations.weight.0.{name}") for layer in (ours, theirs)]
            torch.testing.assert_close(*buffers)
    theirs.eval()
    ours.eval()
    torch.testing.assert_close(ours(x), theirs(x))


def test_under_autocast_the_weight_is_divided_in_float32_and_handed_over_in_bfloat16() -> None:
    _, ours = pair(torch.channels_last)
    original = ours.get_parameter("parametrizations.weight.original")
    with torch.autocast("cpu", torch.bfloat16):
        divided = ours.weight
        found = gradient(ours, divided.float().square().sum())
    assert divided.dtype == torch.bfloat16
    largest = torch.linalg.matrix_norm(original.flatten(1), 2)
    torch.testing.assert_close(divided.float(), original / largest, rtol=2**-7, atol=1e-3)
    # Of |W/σ|² along W, which changes nothing.
    assert abs((found * original).sum()) < 1e-2 * found.norm() * original.norm()
    assert found.dtype == torch.float32


def test_a_checkpoint_whose_gain_was_a_parametrization_of_its_own_still_fits() -> None:
    d = Discriminator(ModelSpec(img_resolution=16, ngf=4, ndf=4), "spectral", gain=1.5)
    new = "parametrizations.weight.0.gain"
    state = {name.replace(new, "parametrizations.weight.1.gain"): x for name, x in d.state_dict().items()}
    assert set(state) != set(d.state_dict())
    other = Discriminator(ModelSpec(img_resolution=16, ngf=4, ndf=4), "spectral")
    other.load_state_dict(state)
    img = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(other.eval()(img), d.eval()(img))
