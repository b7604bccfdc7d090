"""The two networks of a DCGAN, built from a ``ModelSpec``.

Source: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks" (2015), with one layer more in each network for 128×128.
"""

import torch
from torch import Tensor, nn

from models.contract import ModelSpec
from models.spectral_norm import spectral_norm

INIT_STD = 0.02


class Generator(nn.Module):
    """Grows pictures from latents: 1×1 → 4×4 by the first layer, then each layer doubles the side."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        layers: list[nn.Module] = []
        channels = spec.z_dim
        for index, side in enumerate(spec.feature_sides(4)):
            width = spec.channels(side, spec.ngf)
            stride, padding = (2, 1) if index else (1, 0)
            layers += [
                nn.ConvTranspose2d(channels, width, 4, stride, padding, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        layers += [nn.ConvTranspose2d(channels, spec.img_channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(init_weights)

    def forward(self, z: Tensor) -> Tensor:
        """Grows one picture from each latent.

        Args:
            z: (N, z_dim) or (N, z_dim, 1, 1) float, standard normal.

        Returns:
            (N, C, H, W) float in [-1, 1].
        """
        img: Tensor = self.layers(z.reshape(-1, self.spec.z_dim, 1, 1))
        return img


class Discriminator(nn.Module):
    """Tells real pictures from generated ones: each layer halves the side, down to 2×2.

    Args:
        spec: Shape of the network.
        norm: ``batch`` (as specified: after every convolution but the first), ``spectral``
            (every convolution divided by its largest singular value; Miyato et al., 2018) or
            ``none``.
        init: First weights: ``normal`` (as specified) or ``orthogonal``, under which all of a layer's
            singular values are the largest one, so that ``spectral`` shrinks no direction; of the same size.
        gain: Factor on each convolution under ``spectral``.
    """

    def __init__(
        self, spec: ModelSpec, norm: str = "batch", *, init: str = "normal", gain: float = 1.0
    ) -> None:
        super().__init__()
        if norm not in {"batch", "spectral", "none"}:
            raise ValueError(f"norm must be 'batch', 'spectral' or 'none', got {norm!r}")
        if init not in {"normal", "orthogonal"}:
            raise ValueError(f"init must be 'normal' or 'orthogonal', got {init!r}")
        self.spec = spec
        self.norm = norm
        layers: list[nn.Module] = []
        channels = spec.img_channels
        for index, side in enumerate(reversed(spec.feature_sides(2))):
            width = spec.channels(side, spec.ndf)
            batch_norm = norm == "batch" and index > 0
            layers.append(nn.Conv2d(channels, width, 4, 2, 1, bias=norm != "batch"))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 1, 1), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.register_load_state_dict_pre_hook(_take_old_gains)  # type: ignore[no-untyped-call]
        self.apply(init_weights)
        for layer in self.convolutions():
            if init == "orthogonal":
                nn.init.orthogonal_(layer.weight)
                # Spectral norm does not see a weight's size, but the larger it is the slower it turns.
                layer.weight.data *= INIT_STD / layer.weight.data.square().mean().sqrt()
            if norm == "spectral":
                spectral_norm(layer, gain)

    def convolutions(self) -> list[nn.Conv2d]:
        """Returns the convolutions, the first one first."""
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    def forward(self, img: Tensor) -> Tensor:
        """Returns the logits that pictures are real: (N, C, H, W) in [-1, 1] → (N, 1)."""
        logits: Tensor = self.layers(img)
        return logits

    def probability(self, img: Tensor) -> Tensor:
        """Returns the probabilities that pictures are real: (N, C, H, W) in [-1, 1] → (N, 1) in [0, 1]."""
        return torch.sigmoid(self(img))


def _take_old_gains(_: nn.Module, state: dict[str, Tensor], *__: object) -> None:
    """Renames what a checkpoint has that was written when the gain was a parametrization of its own."""
    for name in [name for name in state if name.endswith("weight.1.gain")]:
        state[name.replace("weight.1.gain", "weight.0.gain")] = state.pop(name)


def init_weights(module: nn.Module) -> None:
    """Draws weights as DCGAN does: convolutions N(0, 0.02), BatchNorm scales N(1, 0.02), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, INIT_STD)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, INIT_STD)
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
