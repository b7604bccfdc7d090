"""The adversarial game: one step of it, and the state that a step changes."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.contract import PIXEL_SCALE
from models.dcgan import Discriminator, Generator
from training.augment import Augment
from training.average import BATCHES, follow, recompute_batch_norm
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.convolutions import use_matrix_products
from training.distributed import World
from training.draws import Draws
from training.execution import LAYOUT_FORMATS, Compiled, plain, set_arithmetic, settled
from training.feed import make_feed
from training.graphs import Recorded
from training.losses import make_loss
from training.optimizers import make_adam, moments, restore_moments, set_rate
from training.pace import Turn, turn
from training.perceptual import Perceptual
from training.regularisers import Judged, Regularisation
from training.sampler import SEED_STRIDE
from training.widen import widened

_STREAM_STRIDE = 0x9E3779B9
"""Far from what steps come to, and odd: torch's generator on the CPU looks at 32 bits only."""


@dataclasses.dataclass(frozen=True, slots=True)
class StepStats:
    """What one step measured; scalars on the device, so that reading them is the caller's choice."""

    loss_d: Tensor
    loss_g: Tensor
    real_logit: Tensor
    """Mean logit of real pictures."""
    fake_logit: Tensor
    """Mean logit of generated pictures."""
    real_accuracy: Tensor
    """Share of real pictures that D calls real."""
    fake_accuracy: Tensor
    """Share of generated pictures that D calls generated."""
    gradient_g: Tensor
    """Norm of the gradient that reached G's weights; 0 where G rested."""

    def as_floats(self) -> dict[str, float]:
        """Returns the scalars by name; waits for the device."""
        values = torch.stack(self.tensors()).tolist()
        return {field.name: value for field, value in zip(dataclasses.fields(self), values, strict=True)}

    def tensors(self) -> list[Tensor]:
        """Returns the scalars, in the order of the fields."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def copy(self) -> "StepStats":
        """Returns scalars of their own memory."""
        return StepStats(*(value.clone() for value in self.tensors()))


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
        config: The recipe; what it leaves to the device is settled by rule.
        pixels: (N, H, W, C) uint8, the real pictures.
        device: Where to compute.
        world: The processes that share every batch.
    """

    def __init__(
        self,
        config: TrainConfig,
        pixels: NDArray[np.uint8],
        device: torch.device,
        world: World | None = None,
    ) -> None:
        config = settled(config, device)
        set_arithmetic(config, device)
        self.device = device
        self.world = world or World()
        self.memory_format = LAYOUT_FORMATS[config.layout]
        self.lr_scale_d = 1.0
        """Factor on D's learning rate besides the settings: what the balance asks for at the moment."""
        self.feed = make_feed(pixels, config.batch_size, config.seed, device, self.world)
        self._draws = Draws(device, self.world)
        self._graphs: Recorded[StepStats, Turn] = Recorded(StepStats.copy, self._draws)
        self._play_by(config)
        self.begin()

    def begin(self) -> None:
        """Goes to the start of the run, with first weights drawn from its seed and stream."""
        config = self.config
        torch.manual_seed(config.seed + config.stream * _STREAM_STRIDE)
        self.step = 0
        self._final: tuple[int, Generator] | None = None
        self.g = self._place(Generator(config.spec))
        d = Discriminator(config.spec, config.d_norm, init=config.d_init, gain=config.d_gain)
        self.d = self._place(d)
        self.g_ema = self._copy_of(self.g) if config.ema_half_life_kimg else None
        self.opt_g = make_adam(self.g, config.lr_g, (config.beta1_g, config.beta2_g))
        self.opt_d = make_adam(self.d, config.lr_d, (config.beta1_d, config.beta2_d))
        self._graphs.forget()

    def adopt(self, config: TrainConfig) -> None:
        """Goes on by other settings of the game: losses, rates, turns, penalties, augmentation, D's width."""
        p, lecam = self.augment.p, self.regularisation.lecam
        config = settled(config, self.device)
        if config.spec.ndf != self.config.spec.ndf:
            random = torch.Generator().manual_seed(config.seed + self.step)
            self.d = self._place(widened(cast("Discriminator", self.d), config.spec.ndf, random))
            self.opt_d = make_adam(self.d, config.lr_d, (config.beta1_d, config.beta2_d))
        if config.augment_p != self.config.augment_p:
            p = p.new_tensor(config.augment_p)
        self._play_by(config)
        self.augment.p.copy_(p)
        self.regularisation.lecam.load_state_dict(lecam.state_dict())
        self._graphs.forget()

    def _play_by(self, config: TrainConfig) -> None:
        """Makes what follows from the settings and learns nothing itself."""
        self.config = config
        self.loss = make_loss(config)
        self.augment = Augment(config).to(self.device)
        self.regularisation = Regularisation(config).to(self.device)
        self.perceptual = Perceptual().to(self.device) if config.perceptual else None

    def lengthen(self, kimg: float) -> None:
        """Makes the run end after another number of pictures, in thousands; the learning rates follow."""
        self.config = dataclasses.replace(self.config, kimg=kimg)

    def train_step(self) -> StepStats:
        """Takes one step: D learns while G is frozen, then G learns while D is frozen.

        One batch of generated pictures serves both halves. A network whose turn it is not only looks.
        Nothing here waits for the device.

        Returns:
            What was measured, over all processes.
        """
        seed = self.config.seed * SEED_STRIDE + self.config.stream * _STREAM_STRIDE + self.step
        self._draws.begin(seed)
        self._set_learning_rates()
        batch, now = self.feed.batch(self.step), turn(self.config, self.step)
        recorded = self.config.execution == "graph" and self.world.size == 1
        stats = self._graphs(self._play, batch, now) if recorded else self._play(batch, now)
        if self.g_ema is not None:
            self._follow(self.g_ema)
        self.step += 1
        return stats

    def _play(self, pixels: Tensor, now: Turn) -> StepStats:
        real = self._prepare(pixels)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            with torch.set_grad_enabled(now.g_learns):
                fake = self.g(self._latents(len(real)))
            with frozen(self.g), torch.set_grad_enabled(now.d_learns):
                judged = self._judge(self._augment(real), self._augment(fake.detach()))
                loss_d = self.loss.discriminator(judged.real_logits, judged.fake_logits)
                if now.d_learns:
                    self._descend(self.opt_d, loss_d + self.regularisation(judged, lazily=now.lazily))
            with frozen(self.d), torch.set_grad_enabled(now.g_learns):
                loss_g = self._generator_loss(real, fake)
                if now.g_learns:
                    self._descend(self.opt_g, loss_g + self._resemblance(real, fake))
        return self._measured(judged, loss_d, loss_g, g_learned=now.g_learns)

    def _generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        fake_logits = self.d(self._augment(fake)).float()
        if not self.loss.relative:
            return self.loss.generator(fake_logits, fake_logits)
        with torch.no_grad():
            real_logits = self.d(self._augment(real)).float()
        return self.loss.generator(real_logits, fake_logits)

    def _resemblance(self, real: Tensor, fake: Tensor) -> Tensor | float:
        if self.perceptual is None:
            return 0.0
        distance: Tensor = self.perceptual(real, fake)
        return self.config.perceptual * distance

    @torch.no_grad()
    def _measured(self, judged: Judged, loss_d: Tensor, loss_g: Tensor, *, g_learned: bool) -> StepStats:
        real, fake = judged.real_logits.detach(), judged.fake_logits.detach()
        real_mean, fake_mean = real.mean(), fake.mean()
        cut = (real_mean + fake_mean) / 2 if self.loss.threshold is None else self.loss.threshold
        gradients = [weight.grad for weight in self.g.parameters() if weight.grad is not None]
        zero = (loss_g.new_zeros(()),)
        norms = torch._foreach_norm(gradients) if g_learned else zero  # noqa: SLF001 - as torch's own clipping
        stats = StepStats(
            loss_d=loss_d.detach(),
            loss_g=loss_g.detach(),
            real_logit=real_mean,
            fake_logit=fake_mean,
            real_accuracy=(real > cut).float().mean(),
            fake_accuracy=(fake < cut).float().mean(),
            gradient_g=torch.stack(norms).norm(),
        )
        self.world.mean(stats.tensors())
        self.world.mean(self.regularisation.buffers())
        return stats

    def _judge(self, real: Tensor, fake: Tensor) -> Judged:
        """Shows D both batches.

        BatchNorm must see each batch alone, else its statistics give away which is which; without
        it one pass over both is faster.
        """
        if self.config.d_norm == "batch":
            real_logits, fake_logits = self.d(real).float(), self.d(fake).float()
        else:
            real_logits, fake_logits = self.d(torch.cat([real, fake])).float().chunk(2)
        return Judged(
            d=plain(self.d),
            real=real,
            fake=fake,
            real_logits=real_logits,
            fake_logits=fake_logits,
            draws=self._draws,
        )

    @property
    def mixed_precision(self) -> bool:
        """Whether products run in bfloat16."""
        return self.config.arithmetic == "bfloat16"

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

        Where an average is kept it is that one, its BatchNorm statistics freshly computed, once in a step.
        """
        if self._final is None or self._final[0] != self.step:
            self._final = (self.step, self._make_final())
        return self._final[1]

    def _make_final(self) -> Generator:
        if self.g_ema is None:
            net = self._copy_of(self.g)
        else:
            net = self._copy_of(self.g_ema)
            self.recompute_statistics(net)
        return net.eval()

    def recompute_statistics(self, net: nn.Module, batches: int = BATCHES) -> None:
        """Gives a generator the BatchNorm statistics of its weights, computed as steps are.

        Rounding to bfloat16 averages out: other latents change a picture twenty times as much.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision):
            recompute_batch_norm(net, self._statistics_latents()[:batches])

    def checkpoint(self, data: dict[str, object], seconds: float) -> Checkpoint:
        """Returns everything that a run needs to go on."""
        nets = {"g": self.g.state_dict(), "d": self.d.state_dict()}
        nets |= {"augment": self.augment.state_dict(), "regularisation": self.regularisation.state_dict()}
        if self.g_ema is not None:
            nets["g_ema"] = self.final_generator().state_dict()
        tensors = {f"{prefix}.{key}": value for prefix, state in nets.items() for key, value in state.items()}
        for prefix, optimizer in (("opt_g", self.opt_g), ("opt_d", self.opt_d)):
            tensors |= {f"{prefix}.{key}": value for key, value in moments(optimizer).items()}
        return Checkpoint(config=self.config, tensors=tensors, step=self.step, seconds=seconds, data=data)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes to the state of a checkpoint; the settings stay, but for the networks' shape."""
        if checkpoint.spec != self.config.spec:
            self._play_by(dataclasses.replace(self.config, spec=checkpoint.spec))
            self.begin()
        self.g.load_state_dict(checkpoint.select("g"))
        self.d.load_state_dict(checkpoint.select("d"))
        if self.g_ema is not None:
            self.g_ema.load_state_dict(checkpoint.select("g_ema"))
        if checkpoint.config.augment_p == self.config.augment_p:
            self.augment.load_state_dict(checkpoint.select("augment"))
        self.regularisation.load_state_dict(checkpoint.select("regularisation"))
        for prefix, optimizer in (("opt_g", self.opt_g), ("opt_d", self.opt_d)):
            restore_moments(optimizer, checkpoint.select(prefix))
        self.step = checkpoint.step
        self._final = None
        self._graphs.forget()

    def _place(self, net: nn.Module) -> nn.Module:
        if self.device.type == "cpu":
            use_matrix_products(net)
        net = net.to(self.device).to(memory_format=self.memory_format)
        self.world.copy_from_leader(net)
        net = self.world.share_statistics(net, self.device)
        if self.config.execution == "compile":
            Compiled(net)
        return net

    def _copy_of(self, net: nn.Module) -> Generator:
        copy = Generator(self.config.spec)
        copy.load_state_dict(net.state_dict())
        return copy.to(self.device).to(memory_format=self.memory_format)

    def _follow(self, averaged: nn.Module) -> None:
        batch_size, half_life = self.config.batch_size, self.config.ema_half_life_kimg
        follow(averaged, self.g, steps=self.step, batch_size=batch_size, half_life=half_life)

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.mean(weight.grad for group in optimizer.param_groups for weight in group["params"])
        optimizer.step()

    def _set_learning_rates(self) -> None:
        start = self.config.lr_decay_from
        done = self.step / self.config.total_steps
        past = 0.0 if start >= 1 else max(0.0, (done - start) / (1 - start))
        share = 1 - 0.9 * min(past, 1.0)
        lr_d = self.config.lr_d * self.lr_scale_d
        for optimizer, lr in ((self.opt_g, self.config.lr_g), (self.opt_d, lr_d)):
            set_rate(optimizer, lr * share)

    def _prepare(self, pixels: Tensor) -> Tensor:
        """Returns stored pictures as D sees them: (n, C, H, W) float32 in [-1, 1], some of them mirrored."""
        img = pixels.permute(0, 3, 1, 2).float() / PIXEL_SCALE - 1
        if self.config.mirror:
            flipped = self._draws.uniform(len(img), 1, 1, 1) < 0.5
            img = torch.where(flipped, img.flip(3), img)
        return img

    def _latents(self, n: int) -> Tensor:
        return self._draws.normal(n, self.config.spec.z_dim)

    def _statistics_latents(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.config.seed)
        shape = (self.config.batch_size, self.config.spec.z_dim)
        return [torch.randn(shape, generator=generator).to(self.device) for _ in range(BATCHES)]

    def _augment(self, img: Tensor) -> Tensor:
        seen: Tensor = self.augment(img, self._draws)
        return seen.contiguous(memory_format=self.memory_format)
