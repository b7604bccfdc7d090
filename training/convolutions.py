"""Convolutions of small feature maps on the CPU as products of matrices, which the library does faster.

On maps of 8×8 and below, and of the latent itself, the CPU library's gradients are much slower than the same
sums written as one product. Maps lie in memory pixel by pixel (channels last), as do the weights, so that
windows are copied in whole rows of channels and weights not at all (``python -m bench.small_maps``). The
layers keep their parameters, names and results; only the order of the additions differs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Forward = Callable[[Tensor], Tensor]

SMALL_SIDE = 8
"""Largest map side at which the product wins."""

KERNEL = 4


def use_matrix_products(net: nn.Module) -> None:
    """Rewires the kernel 4 layers of a network in place, for training on the CPU."""
    for layer in net.modules():
        small = _product(layer)
        if small is not None:
            layer.forward = partial(_choose, layer.forward, small)


def _product(layer: nn.Module) -> Forward | None:
    match layer:
        case nn.Conv2d(kernel_size=(4, 4), stride=(2, 2)):
            return partial(_conv, layer)
        case nn.ConvTranspose2d(kernel_size=(4, 4), stride=(2, 2)):
            return partial(_conv_transpose, layer)
        case nn.ConvTranspose2d(kernel_size=(4, 4), stride=(1, 1)):
            return partial(_project, layer)
    return None


def _choose(plain: Forward, small: Forward, x: Tensor) -> Tensor:
    # Without a gradient there is nothing to win.
    if x.shape[-1] <= SMALL_SIDE and torch.is_grad_enabled():
        return small(x)
    return plain(x)


def _rows(weight: Tensor) -> Tensor:
    """Returns a weight as a matrix: (A, B, 4, 4) → (A, 16·B), a view where channels lie last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, O, H/2, W/2): every window is a row."""
    windows: Tensor = _Windows.apply(x.permute(0, 2, 3, 1))  # (N, H/2, W/2, 4, 4, C)
    return F.linear(windows.flatten(3), _rows(layer.weight), layer.bias).permute(0, 3, 1, 2)


def _conv_transpose(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, O, 2H, 2W): every pixel becomes a window, and overlaps are summed."""
    windows = x.permute(0, 2, 3, 1) @ _rows(layer.weight)  # (N, H, W, 16·O)
    img: Tensor = _Overlap.apply(windows.view(*windows.shape[:3], KERNEL, KERNEL, -1))
    return _with_bias(layer, img)


def _project(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(N, C, 1, 1) → (N, O, 4, 4): the latent becomes one window."""
    window = x.flatten(1) @ _rows(layer.weight)
    return _with_bias(layer, window.view(len(x), KERNEL, KERNEL, -1))


def _with_bias(layer: nn.ConvTranspose2d, img: Tensor) -> Tensor:
    return (img if layer.bias is None else img + layer.bias).permute(0, 3, 1, 2)


class _Windows(torch.autograd.Function):
    """The windows of a stride of 2 over maps with a margin of 1: (N, H, W, C) → (N, H/2, W/2, 4, 4, C).

    Written by hand because torch's derivative of overlapping views is slow; it has a second derivative.
    """

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - torch's context has no type
        padded = F.pad(x, (0, 0, 1, 1, 1, 1))
        return padded.unfold(1, KERNEL, 2).unfold(2, KERNEL, 2).permute(0, 1, 2, 4, 5, 3).contiguous()

    @staticmethod
    def backward(_: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        summed: Tensor = _Overlap.apply(grad)
        return summed


class _Overlap(torch.autograd.Function):
    """Lays windows side by side, sums where they overlap, and cuts the margin: the transpose of the other."""

    @staticmethod
    def forward(_: Any, windows: Tensor) -> Tensor:  # noqa: ANN401
        n, height, width, _, _, channels = windows.shape
        img = windows.new_zeros(n, 2 * height + 2, 2 * width + 2, channels)
        for row in range(KERNEL):
            for column in range(KERNEL):
                place = img[:, row : row + 2 * height : 2, column : column + 2 * width : 2]
                place += windows[:, :, :, row, column]
        return img[:, 1:-1, 1:-1].contiguous()

    @staticmethod
    def backward(_: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        windows: Tensor = _Windows.apply(grad)
        return windows
