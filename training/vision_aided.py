"""A second judge beside D: small heads on the features of a network that was trained on photographs.

D begins knowing nothing, and a batch teaches it little. What such a network sees of a picture (edges,
textures, parts) is most of what D would have to learn first. Alone it is of no use to a G that draws nothing
yet, which answers it by patterns, over and over; so D plays alone at first (``docs/recipes.md``).

Source: Kumari et al., "Ensembling Off-the-shelf Models for GAN Training" (2022); that the features stay as
they are, at several sizes: Sauer et al., "Projected GANs Converge Faster" (2021).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.spectral_norm import spectral_norm
from training.features import Standardised, open_lite

VERSION = 1
"""Of EfficientNet-Lite. Not 0, by which quality is measured: a G taught by it would have better figures than
pictures."""

SIDE = 128
"""Of the pictures as the network sees them."""

CHANNELS = (40, 112, 320)
"""Of the maps at an eighth, a sixteenth and a thirty-second of the picture's side."""

WIDTH = 128

MOMENTUM = 0.02
"""Share of a batch in the features' mean and variance."""


class TrainedFeatures(nn.Module):
    """EfficientNet-Lite1 up to its last block, BatchNorm folded; it is not trained on.

    Args:
        dtype: Of its weights; where it is not float32, it is to be run under autocast to it.

    Raises:
        ExtractorError: If the package of its weights is missing.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        net = open_lite(VERSION, SIDE)
        _fold(net, "_conv_stem", "_bn0")
        for block in net._blocks:  # noqa: SLF001 - the package shows only what comes out at the end
            for convolution, norm in _PAIRS:
                if hasattr(block, convolution):
                    _fold(block, convolution, norm)
            block._swish = nn.ReLU6(inplace=True)  # noqa: SLF001 - else each is a copy in memory
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                _pad_within(layer)
        net.to(dtype)  # autocast would do so in every step
        self.stem = nn.Sequential(Standardised(), net._conv_stem, nn.ReLU6(inplace=True))  # noqa: SLF001
        self.blocks = net._blocks  # noqa: SLF001
        halvings = [k for k, block in enumerate(self.blocks) if block._depthwise_conv.stride[0] == 2]  # noqa: SLF001
        self._last = {*(k - 1 for k in halvings[2:]), len(self.blocks) - 1}
        self.eval()

    def forward(self, img: Tensor) -> list[Tensor]:
        """Returns maps of features, the largest first: (N, 3, H, W) in [-1, 1] → (N, ``CHANNELS``, …)."""
        if img.shape[-1] != SIDE:
            img = F.interpolate(img.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        x = self.stem((img + 1) / 2)
        maps = []
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k in self._last:
                maps.append(x)
        return maps


class Heads(nn.Module):
    """What learns to judge: three convolutions under spectral norm for each map of features.

    Each channel is first put on one scale, by its mean and variance over real pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.BatchNorm2d(channels, momentum=MOMENTUM, affine=False).eval() for channels in CHANNELS
        )
        self.layers = nn.ModuleList(_head(channels) for channels in CHANNELS)

    @torch.no_grad()
    def look(self, maps: list[Tensor]) -> None:
        """Learns the scale of features from those of real pictures."""
        for scale, features in zip(self.scales, maps, strict=True):
            scale.train()(features)
            scale.eval()

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Returns logits that pictures are real, one of each map: (N, 3)."""
        judged = zip(self.layers, self.scales, maps, strict=True)
        return torch.stack([layers(scale(x)).mean((1, 2, 3)) for layers, scale, x in judged], 1)


_PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
    setattr(module, norm, nn.Identity())


def _pad_within(layer: nn.Conv2d) -> None:
    """Has a convolution pad by itself where it pads all sides alike, instead of a copy with a border."""
    match layer.static_padding:
        case nn.ZeroPad2d(padding=(left, right, top, bottom)) if left == right == top == bottom:
            layer.padding = (left, left)
            layer.static_padding = nn.Identity()


def _head(channels: int) -> nn.Sequential:
    layers = [
        nn.Conv2d(channels, WIDTH, 3, 1, 1),
        nn.Conv2d(WIDTH, WIDTH, 4, 2, 1),
        nn.Conv2d(WIDTH, 1, 1),
    ]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        spectral_norm(layer)
    first, second, last = layers
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), last)
