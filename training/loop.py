"""The adversarial game: one step of it, and the state that a step changes."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.contract import PIXEL_SCALE
from models.dcgan import Discriminator, Generator
from training.augment import translate
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.convolutions import use_matrix_products
from training.losses import make_loss

BN_BATCHES = 50
"""Batches over which an averaged generator's BatchNorm statistics are recomputed: averaged weights
with the statistics of other weights make broken pictures."""

_SEED_STRIDE = 1_000_003

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class StepStats:
    """What one step measured; scalars on the device, so that reading them is the caller's choice."""

    loss_d: Tensor
    loss_g: Tensor
    real_logit: Tensor
    """Mean logit of real pictures."""
    fake_logit: Tensor
    """Mean logit of generated pictures."""

    def as_floats(self) -> dict[str, float]:
        """Returns the scalars by name; waits for the device."""
        return {field.name: getattr(self, field.name).item() for field in dataclasses.fields(self)}


@contextlib.contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Keeps a network's weights out of the gradient while the other one learns."""
    net.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        net.requires_grad_(requires_grad=True)


class Trainer:
    """Two networks, their optimisers, and the data they play over.

    All randomness of a step is drawn from ``(config.seed, step)``, so a run that was stopped and
    resumed takes the same steps as one that was not.

    Args:
        config: The recipe.
        pixels: (N, H, W, C) uint8, the real pictures; copied to the device whole.
        device: Where to compute.
    """

    def __init__(self, config: TrainConfig, pixels: NDArray[np.uint8], device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.step = 0
        self.loss = make_loss(config)
        self.g = self._place(Generator(config.spec))
        self.d = self._place(Discriminator(config.spec, config.d_norm))
        self.g_ema = self._average() if config.ema_half_life_kimg else None
        self.opt_g = self._adam(self.g, config.lr_g)
        self.opt_d = self._adam(self.d, config.lr_d)
        self.pixels = torch.from_numpy(pixels).to(device)
        self._random = torch.Generator(device)
        self._order = torch.empty(0, dtype=torch.long)
        self._epoch = -1

    def train_step(self) -> StepStats:
        """Takes one step: D learns while G is frozen, then G learns while D is frozen.

        One batch of generated pictures serves both halves.
        """
        self._random.manual_seed(self.config.seed * _SEED_STRIDE + self.step)
        self._set_learning_rates()
        real = self._real_batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            fake = self.g(self._latents(self.config.batch_size))

            with frozen(self.g):
                real_logits, fake_logits = self._judge(self._augment(real), self._augment(fake.detach()))
                loss_d = self.loss.discriminator(real_logits, fake_logits)
                self._descend(self.opt_d, loss_d)

            with frozen(self.d):
                loss_g = self.loss.generator(self.d(self._augment(fake)).float())
                self._descend(self.opt_g, loss_g)

        self.step += 1
        if self.g_ema is not None:
            self.g_ema.update_parameters(self.g)
        return StepStats(
            loss_d.detach(), loss_g.detach(), real_logits.detach().mean(), fake_logits.detach().mean()
        )

    def _judge(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Returns D's logits of both batches, (N, 1) float32 each.

        BatchNorm must see each batch alone, else its statistics give away which is which; without
        it one pass over both is faster.
        """
        if self.config.d_norm == "batch":
            return self.d(real).float(), self.d(fake).float()
        real_logits, fake_logits = self.d(torch.cat([real, fake])).float().chunk(2)
        return real_logits, fake_logits

    @property
    def mixed_precision(self) -> bool:
        """Whether products run in bfloat16: where the device has it in hardware."""
        if self.device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported())
        return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 - torch has no public name for it

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """Grows pictures with the generator that a user will get.

        Args:
            z: (N, z_dim) float32.

        Returns:
            (N, C, H, W) float32 on the CPU, in [-1, 1].
        """
        net = self.final_generator()
        batches = torch.split(z.to(self.device), self.config.batch_size)
        return torch.cat([net(batch).float().cpu() for batch in batches])

    @torch.no_grad()
    def final_generator(self) -> Generator:
        """Returns the generator to show and export, in evaluation mode.

        Where an average is kept it is that one, its BatchNorm statistics freshly computed.
        """
        if self.g_ema is None:
            net = self._copy_of(self.g)
        else:
            net = self._copy_of(self.g_ema.module)
            _recompute_batch_norm(net, self._statistics_latents())
        return net.eval()

    def checkpoint(self, data: dict[str, object], seconds: float) -> Checkpoint:
        """Returns everything that a run needs to go on."""
        nets = {"g": self.g.state_dict(), "d": self.d.state_dict()}
        if self.g_ema is not None:
            nets["g_ema"] = self.final_generator().state_dict()
        tensors = {f"{prefix}.{key}": value for prefix, state in nets.items() for key, value in state.items()}
        for prefix, optimizer in (("opt_g", self.opt_g), ("opt_d", self.opt_d)):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{prefix}.{index}.{name}": value for name, value in state.items()}
        return Checkpoint(config=self.config, tensors=tensors, step=self.step, seconds=seconds, data=data)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to the state of a checkpoint of the same recipe."""
        self.g.load_state_dict(checkpoint.select("g"))
        self.d.load_state_dict(checkpoint.select("d"))
        if self.g_ema is not None:
            self.g_ema.module.load_state_dict(checkpoint.select("g_ema"))
            self.g_ema.n_averaged.fill_(checkpoint.step)
        for prefix, optimizer in (("opt_g", self.opt_g), ("opt_d", self.opt_d)):
            _restore_optimizer(optimizer, checkpoint.select(prefix))
        self.step = checkpoint.step

    def _place(self, net: nn.Module) -> nn.Module:
        if self.device.type == "cpu":
            use_matrix_products(net)
        return net.to(self.device).to(memory_format=torch.channels_last)

    def _copy_of(self, net: nn.Module) -> Generator:
        copy = Generator(self.config.spec)
        copy.load_state_dict(net.state_dict())
        return copy.to(self.device).to(memory_format=torch.channels_last)

    def _average(self) -> AveragedModel:
        return AveragedModel(self._copy_of(self.g), multi_avg_fn=self._average_step)

    def _average_step(self, averaged: Tensors, current: Tensors, seen_batches: Tensor | int) -> None:
        # Early on the average may not be older than a twentieth of the run: else it shows the noise
        # of the start for long. Source: StyleGAN2-ADA's ema_rampup.
        seen_kimg = float(seen_batches) * self.config.batch_size / 1000
        half_life = min(self.config.ema_half_life_kimg, seen_kimg * 0.05)
        decay = 0.5 ** (self.config.batch_size / 1000 / half_life)
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _adam(self, net: nn.Module, lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(net.parameters(), lr, (self.config.beta1, self.config.beta2), fused=True)

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _set_learning_rates(self) -> None:
        start = self.config.lr_decay_from
        done = self.step / self.config.total_steps
        past = 0.0 if start >= 1 else max(0.0, (done - start) / (1 - start))
        share = 1 - 0.9 * min(past, 1.0)
        for optimizer, lr in ((self.opt_g, self.config.lr_g), (self.opt_d, self.config.lr_d)):
            optimizer.param_groups[0]["lr"] = lr * share

    def _real_batch(self) -> Tensor:
        """Returns the step's pictures: (N, C, H, W) float32 in [-1, 1]."""
        count = len(self.pixels)
        first = self.step * self.config.batch_size
        picks = [self._pick(position, count) for position in range(first, first + self.config.batch_size)]
        img = self.pixels[torch.tensor(picks, device=self.device)].permute(0, 3, 1, 2)
        img = img.float() / PIXEL_SCALE - 1
        if self.config.mirror:
            flipped = torch.rand(len(img), 1, 1, 1, generator=self._random, device=self.device) < 0.5
            img = torch.where(flipped, img.flip(3), img)
        return img

    def _pick(self, position: int, count: int) -> int:
        """Returns which picture comes at a position of the run; each epoch has an order of its own."""
        epoch, place = divmod(position, count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.config.seed * _SEED_STRIDE + epoch)
            self._order, self._epoch = torch.randperm(count, generator=generator), epoch
        return int(self._order[place])

    def _latents(self, n: int) -> Tensor:
        return torch.randn(n, self.config.spec.z_dim, generator=self._random, device=self.device)

    def _statistics_latents(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.config.seed)
        shape = (self.config.batch_size, self.config.spec.z_dim)
        return [torch.randn(shape, generator=generator).to(self.device) for _ in range(BN_BATCHES)]

    def _augment(self, img: Tensor) -> Tensor:
        return translate(img, self.config.translate, self._random)


def _recompute_batch_norm(net: nn.Module, latents: list[Tensor]) -> None:
    """Replaces BatchNorm's running statistics by those of the net as it is now."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
    net.train()
    for z in latents:
        net(z)


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back Adam's moments, saved as ``<index of the weight>.<name>``."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        like = weights[int(index)]
        if value.shape == like.shape:
            # The fused kernel walks weights and moments in memory order, so both need the same one.
            value = torch.empty_like(like).copy_(value)  # noqa: PLW2901
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
