"""Spectral normalisation of a convolution, in as few looks at its weight as it takes.

``torch.nn.utils.parametrizations.spectral_norm`` copies a weight whose channels lie last, multiplies it three
times (under autocast each time as a new copy in bfloat16) and divides it; its derivative passes over it a
dozen times more. On a GPU that was a quarter of a training step. Here are two products, which also give the
singular value, and one division, written in the type that the convolution wants. A CPU takes a weight in
bands that its caches hold, for torch mixes types by copying all of what it is given.

Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks" (2018), algorithm 1.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 16
"""Of the power method, for vectors that fit the first weight."""

BAND = 1 << 18
"""Numbers of a weight that a CPU takes at once: a megabyte of float32."""


class SpectralNorm(nn.Module):
    """Divides a convolution's weight by its largest singular value, and multiplies it by a fixed gain.

    In training each pass is a step of the power method. The names of what is kept are those of torch.

    Args:
        weight: (O, I, h, w) float32, the first weight.
        gain: The largest singular value of what comes out.
    """

    _u: Tensor
    _v: Tensor
    gain: Tensor

    def __init__(self, weight: Tensor, gain: float = 1.0) -> None:
        super().__init__()
        u, v = torch.randn(weight.shape[0]), torch.randn(weight[0].numel())
        self.register_buffer("_u", F.normalize(u, dim=0))
        self.register_buffer("_v", F.normalize(v, dim=0))
        self.register_buffer("gain", torch.tensor(gain))
        for _ in range(FIRST_ITERATIONS):
            self._iterate(weight.detach())

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight, divided: in autocast's type where that is on, else float32."""
        device = weight.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        with torch.autocast(device, enabled=False):
            if self.training:
                sigma = self._iterate(weight.detach())
            else:
                sigma = torch.dot(self._u, _matrix(weight.detach()) @ self._in_memory_order(weight))
            divided: Tensor = _Divided.apply(
                weight, self._u.clone(), self._in_memory_order(weight), sigma, self.gain, dtype
            )
        return divided

    @torch.no_grad()
    def _iterate(self, weight: Tensor) -> Tensor:
        """Takes a step of the power method; returns the singular value."""
        matrix = _matrix(weight)
        self._u.copy_(F.normalize(matrix @ self._in_memory_order(weight), dim=0))
        image = matrix.T @ self._u
        sigma: Tensor = torch.linalg.vector_norm(image)  # the same as uᵀWv, for v is what is kept next
        v = image / sigma.clamp_min(torch.finfo(sigma.dtype).tiny)
        if _channels_last(weight):
            v = v.view(*weight.shape[2:], -1).permute(2, 0, 1).flatten()
        self._v.copy_(v)
        return sigma

    def _in_memory_order(self, weight: Tensor) -> Tensor:
        """Returns the right vector with its numbers in the order of ``_matrix``'s columns."""
        if _channels_last(weight):
            return self._v.view(weight.shape[1:]).permute(1, 2, 0).flatten()
        return self._v.clone()


class _Divided(torch.autograd.Function):
    """gain · W / σ, where σ = uᵀWv follows W and u and v do not."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what autograd hands over
        context: Any,  # noqa: ANN401
        weight: Tensor,
        u: Tensor,
        v: Tensor,
        sigma: Tensor,
        gain: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        scale = gain / sigma
        divided = torch.empty_like(weight, dtype=dtype)
        for rows, place in _bands(_matrix(weight), _matrix(divided)):
            torch.mul(rows, scale, out=place)
        context.save_for_backward(divided, u, v, sigma, scale)
        return divided

    @staticmethod
    @once_differentiable
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        divided, u, v, sigma, scale = context.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            result = torch.empty_like(divided, dtype=scale.dtype)
            grad = _matrix(grad.contiguous(memory_format=_memory_format(divided)))
            along = u * (-_dot(grad, _matrix(divided)) / sigma)  # how the loss follows σ, which follows W
            for rows, place, part in _bands(grad, _matrix(result), along):
                torch.mul(rows, scale, out=place)
                place.addr_(part, v)
        return result, None, None, None, None, None


def spectral_norm(layer: nn.Conv2d, gain: float = 1.0) -> None:
    """Puts a convolution's weight under spectral norm."""
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight, gain))


def _channels_last(weight: Tensor) -> bool:
    return not weight.is_contiguous()


def _memory_format(weight: Tensor) -> torch.memory_format:
    return torch.channels_last if _channels_last(weight) else torch.contiguous_format


def _matrix(weight: Tensor) -> Tensor:
    """Returns a weight as a view: (O, I, h, w) → (O, I·h·w), the columns as they lie in memory."""
    return weight.permute(0, 2, 3, 1).flatten(1) if _channels_last(weight) else weight.flatten(1)


def _bands(first: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Splits a matrix, and what has as many rows, into bands of rows; into one on a GPU."""
    rows = len(first) if first.is_cuda else max(1, BAND // first.shape[1])
    return zip(*(torch.split(x, rows) for x in (first, *others)), strict=True)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Returns the sum of the products of two matrices' numbers, added up in float32 whatever their type."""
    if a.is_cuda:
        return torch.bmm(a[:, None], b[:, :, None]).float().sum()
    return torch.stack([x.float().flatten() @ y.float().flatten() for x, y in _bands(a, b)]).sum()
