"""D's gradient with respect to the pictures, which both gradient penalties are made of."""

from collections.abc import Callable

import torch
from torch import Tensor


def slope(d: Callable[[Tensor], Tensor], img: Tensor) -> Tensor:
    """Returns the squared norm of D's gradient at each picture: (N,) float32, itself with a gradient.

    In float32 throughout: squares of small gradients are lost in fewer digits.

    Args:
        d: (N, C, H, W) → (N, 1), each logit of its own picture.
        img: (N, C, H, W).
    """
    img = img.detach().float().requires_grad_()
    with torch.autocast(img.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(d(img).sum(), img, create_graph=True)
    return gradient.square().sum((1, 2, 3))
