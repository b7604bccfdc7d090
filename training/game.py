"""One step of the adversarial game: D learns while G is frozen, then G learns while D is frozen."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.contract import PIXEL_SCALE
from training.augment import Augment
from training.checkpoint import prefixed, select
from training.config import TrainConfig
from training.distributed import World
from training.draws import Draws
from training.execution import LAYOUT_FORMATS, autocast, plain, product_dtype
from training.losses import hinge, make_loss
from training.pace import Turn
from training.perceptual import Perceptual
from training.players import Players
from training.regularisers import Judged, Regularisation
from training.step_stats import StepStats, measured
from training.vision_aided import TrainedFeatures

HEADS_LOSS = hinge(TrainConfig())
"""Heads play by it whatever D's loss is."""


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Keeps a network's weights out of the gradient while the other one learns."""
    net.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        net.requires_grad_(requires_grad=True)


class Game:
    """What the settings make of a step: the losses, the penalties, and how pictures are shown to D.

    Args:
        config: The recipe, settled for the device.
        draws: Source of all that is random in a step, on the device.
        device: Where to compute.
        world: The processes that share every batch.
    """

    def __init__(self, config: TrainConfig, draws: Draws, device: torch.device, world: World) -> None:
        self.config = config
        self.device = device
        self.world = world
        self.loss = make_loss(config)
        self.augment = Augment(config).to(device)
        self.regularisation = Regularisation(config).to(device)
        self.perceptual = Perceptual().to(device) if config.perceptual else None
        self.features = TrainedFeatures(product_dtype(config)).to(device) if config.vision_aided else None
        self._draws = draws

    def play(self, players: Players, pixels: Tensor, now: Turn) -> StepStats:
        """Takes one step. Nothing here waits for the device.

        One batch of generated pictures serves both halves. A network whose turn it is not only looks.

        Args:
            players: Who learns; changed in place.
            pixels: (n, H, W, C) uint8, this process's real pictures.
            now: Whose turn it is.

        Returns:
            What was measured, over all processes.
        """
        real = self._prepare(pixels)
        with autocast(self.config, self.device):
            with torch.set_grad_enabled(now.g_learns):
                fake = players.g(self._draws.normal(len(real), self.config.spec.z_dim))
            with frozen(players.g), torch.set_grad_enabled(now.d_learns):
                judged = self._judge(players.d, self._augment(real), self._augment(fake.detach()))
                loss_d = self.loss.discriminator(judged.real_logits, judged.fake_logits)
                if now.d_learns:
                    self._descend(players.opt_d, loss_d + self.regularisation(judged, lazily=now.lazily))
            if now.heads_learn:
                self._teach_heads(players, judged)
            with frozen(players.d), torch.set_grad_enabled(now.g_learns):
                seen = self._augment(fake)
                loss_g = self._generator_loss(players.d, real, seen)
                if now.g_learns:
                    aid = self._aid(players, seen) if now.heads_teach else 0.0
                    self._descend(players.opt_g, loss_g + aid + self._resemblance(real, fake))
        gradient = _gradient_norm(players.g) if now.g_learns else loss_g.new_zeros(())
        stats = measured(judged, loss_d, loss_g, gradient, self.loss.threshold)
        self.world.mean(stats.tensors())
        self.world.mean(self.regularisation.buffers())
        return stats

    def tensors(self) -> dict[str, Tensor]:
        """Returns what the game remembers, for a checkpoint."""
        return prefixed(augment=self.augment.state_dict(), regularisation=self.regularisation.state_dict())

    def remember(self, tensors: Mapping[str, Tensor], config: TrainConfig) -> None:
        """Takes over what a game remembered; a share of augmented pictures that is asked for anew stays.

        Args:
            tensors: Its ``tensors``, maybe among others.
            config: Its settings.
        """
        if config.augment_p == self.config.augment_p:
            self.augment.load_state_dict(select(tensors, "augment"))
        self.regularisation.load_state_dict(select(tensors, "regularisation"))

    def _prepare(self, pixels: Tensor) -> Tensor:
        """Returns stored pictures as D sees them: (n, C, H, W) float32 in [-1, 1], some of them mirrored."""
        img = pixels.permute(0, 3, 1, 2).float() / PIXEL_SCALE - 1
        if self.config.mirror:
            flipped = self._draws.uniform(len(img), 1, 1, 1) < 0.5
            img = torch.where(flipped, img.flip(3), img)
        return img

    def _augment(self, img: Tensor) -> Tensor:
        seen: Tensor = self.augment(img, self._draws)
        return seen.contiguous(memory_format=LAYOUT_FORMATS[self.config.layout])

    def _judge(self, d: nn.Module, real: Tensor, fake: Tensor) -> Judged:
        """Shows D both batches.

        BatchNorm must see each batch alone, else its statistics give away which is which; without
        it one pass over both is faster.
        """
        if self.config.d_norm == "batch":
            real_logits, fake_logits = d(real).float(), d(fake).float()
        else:
            real_logits, fake_logits = d(torch.cat([real, fake])).float().chunk(2)
        return Judged(
            d=plain(d),
            real=real,
            fake=fake,
            real_logits=real_logits,
            fake_logits=fake_logits,
            draws=self._draws,
        )

    def _generator_loss(self, d: nn.Module, real: Tensor, seen: Tensor) -> Tensor:
        fake_logits = d(seen).float()
        if not self.loss.relative:
            return self.loss.generator(fake_logits, fake_logits)
        with torch.no_grad():
            real_logits = d(self._augment(real)).float()
        return self.loss.generator(real_logits, fake_logits)

    def _teach_heads(self, players: Players, judged: Judged) -> None:
        """The heads learn, by the hinge loss, from the pictures as D has seen them."""
        heads, features = players.heads, self.features
        assert heads is not None
        assert features is not None
        with torch.no_grad():
            maps = features(torch.cat([judged.real, judged.fake]))
            heads.look([x[: len(judged.real)] for x in maps])
        self.world.mean(x for x in heads.scales.buffers() if x.is_floating_point())
        real_logits, fake_logits = heads(maps).float().chunk(2)
        self._descend(players.opt_heads, HEADS_LOSS.discriminator(real_logits, fake_logits))

    def _aid(self, players: Players, seen: Tensor) -> Tensor:
        """What G is to learn from the heads, by the settings' weight."""
        heads, features = players.heads, self.features
        assert heads is not None
        assert features is not None
        with frozen(heads):
            logits = heads(features(seen)).float()
        return self.config.vision_aided * HEADS_LOSS.generator(logits, logits)

    def _resemblance(self, real: Tensor, fake: Tensor) -> Tensor | float:
        if self.perceptual is None:
            return 0.0
        distance: Tensor = self.perceptual(real, fake)
        return self.config.perceptual * distance

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.mean(weight.grad for group in optimizer.param_groups for weight in group["params"])
        optimizer.step()


def _gradient_norm(net: nn.Module) -> Tensor:
    gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
    norms = torch._foreach_norm(gradients)  # noqa: SLF001 - as torch's own clipping
    norm: Tensor = torch.stack(norms).norm()
    return norm
