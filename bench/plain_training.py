"""What ``bench.train`` compares with: the same game in a plain loop, and in PyTorch's example's way.

Both play the specified game in float32, one operation after another, without augmentation and average.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from models.contract import PIXEL_SCALE
from models.dcgan import Discriminator, Generator
from training.config import TrainConfig

WORKERS = 2
"""Processes that read pictures; the example's default."""

Step = Callable[[], object]


class PlainLoop:
    """Two networks and their optimisers, as a first program has them.

    Args:
        config: The recipe; shape, batch, labels and rates are taken from it.
        device: Where to compute.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.g = Generator(config.spec).to(device)
        self.d = Discriminator(config.spec, config.d_norm).to(device)
        self.opt_g = torch.optim.Adam(self.g.parameters(), config.lr_g, (config.beta1_g, config.beta2_g))
        self.opt_d = torch.optim.Adam(self.d.parameters(), config.lr_d, (config.beta1_d, config.beta2_d))
        self.criterion = nn.BCEWithLogitsLoss()

    def learn(self, real: Tensor) -> dict[str, Tensor]:
        """Takes one step on a batch of real pictures: (N, C, H, W) float32 in [-1, 1]."""
        fake = self.g(torch.randn(len(real), self.config.spec.z_dim, device=self.device))
        self.opt_d.zero_grad()
        real_logits, fake_logits = self.d(real), self.d(fake.detach())
        loss_real = self._loss(real_logits, self.config.real_label)
        loss_fake = self._loss(fake_logits, self.config.fake_label)
        loss_real.backward()  # type: ignore[no-untyped-call]
        loss_fake.backward()  # type: ignore[no-untyped-call]
        self.opt_d.step()

        self.opt_g.zero_grad()
        loss_g = self._loss(self.d(fake), self.config.real_label)
        loss_g.backward()  # type: ignore[no-untyped-call]
        self.opt_g.step()
        return {
            "loss_d": loss_real + loss_fake,
            "loss_g": loss_g,
            "real": real_logits.sigmoid().mean(),
            "fake": fake_logits.sigmoid().mean(),
        }

    def _loss(self, logits: Tensor, label: float) -> Tensor:
        loss: Tensor = self.criterion(logits, torch.full_like(logits, label))
        return loss


def plain_step(config: TrainConfig, pixels: NDArray[np.uint8], device: torch.device) -> Step:
    """Returns a step of the plain loop, its pictures on the device as ours are.

    Args:
        config: The recipe.
        pixels: (N, H, W, C) uint8.
        device: Where to compute.
    """
    loop = PlainLoop(config, device)
    stored = torch.from_numpy(pixels).to(device)

    def step() -> None:
        picks = torch.randint(len(stored), (config.batch_size,), device=device)
        loop.learn(stored[picks].permute(0, 3, 1, 2).float() / PIXEL_SCALE - 1)

    return step


def example_step(config: TrainConfig, folder: Path, device: torch.device) -> Step:
    """Returns a step in the way of PyTorch's DCGAN example: its loader, and losses read at every step.

    Args:
        config: The recipe.
        folder: Picture files, in a folder of any name inside this one, at least a batch of them.
        device: Where to compute.

    Source: https://github.com/pytorch/examples/blob/main/dcgan/main.py
    """
    side = config.spec.img_resolution
    dataset = datasets.ImageFolder(
        folder,
        transforms.Compose(
            [
                transforms.Resize(side),
                transforms.CenterCrop(side),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            ]
        ),
    )
    loader = DataLoader(
        dataset,
        config.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        drop_last=True,
        persistent_workers=True,
    )
    batches = _forever(loader)
    loop = PlainLoop(config, device)

    def step() -> None:
        values = loop.learn(next(batches).to(device))
        " ".join(f"{name}: {value.item():.4f}" for name, value in values.items())  # the example prints them

    return step


def _forever(loader: "DataLoader[tuple[Tensor, Tensor]]") -> Iterator[Tensor]:
    while True:
        for pictures, _ in loader:
            yield pictures
