"""The matrix products against the library's own convolutions."""

import pytest
import torch
from torch import Tensor, nn

from training.convolutions import use_matrix_products


def gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Returns the output and all gradients of a weighted sum of it."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in layer.parameters())]  # type: ignore[list-item, union-attr]


@pytest.mark.parametrize("side", [4, 8, 16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 10, 4, 2, 1),
        nn.Conv2d(6, 10, 4, 2, 1, bias=False),
        nn.ConvTranspose2d(6, 10, 4, 2, 1),
        nn.ConvTranspose2d(6, 10, 4, 2, 1, bias=False),
    ],
)
def test_results_and_gradients_are_those_of_the_convolution(
    layer: nn.Module, memory: torch.memory_format, side: int
) -> None:
    torch.manual_seed(0)
    layer = layer.to(memory_format=memory)
    layer.__dict__.pop("forward", None)
    x = torch.randn(3, 6, side, side).to(memory_format=memory)
    wanted = gradients(layer, x)
    use_matrix_products(layer)
    for found, plain in zip(gradients(layer, x), wanted, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_latent_is_projected_as_before(memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(6, 10, 4, 1, 0, bias=False).to(memory_format=memory)
    x = torch.randn(3, 6, 1, 1)
    wanted = gradients(layer, x)
    use_matrix_products(layer)
    for found, plain in zip(gradients(layer, x), wanted, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 4, 2, 1), nn.ConvTranspose2d(2, 3, 4, 2, 1)])
def test_they_have_a_second_derivative(layer: nn.Module) -> None:
    use_matrix_products(layer.double())
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, x)


def test_parameters_keep_their_names() -> None:
    layer = nn.Sequential(nn.Conv2d(6, 10, 4, 2, 1))
    before = list(layer.state_dict())
    use_matrix_products(layer)
    assert list(layer.state_dict()) == before
