"""The loop's one step: who plays it, by which rules, and what follows from the step's number."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dcgan import Generator
from training.checkpoint import Checkpoint, prefixed
from training.config import TrainConfig
from training.distributed import World
from training.draws import Draws
from training.execution import set_arithmetic, settled
from training.feed import make_feed
from training.game import Game
from training.graphs import Recorded
from training.pace import Turn, rate_share, turn
from training.players import Players
from training.sampler import SEED_STRIDE
from training.step_stats import StepStats

_STREAM_STRIDE = 0x9E3779B9
"""Far from what steps come to, and odd: torch's generator on the CPU looks at 32 bits only."""


class Trainer:
    """A game, its players, and the data they play over.

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
        self.config = settled(config, device)
        set_arithmetic(self.config, device)
        self.device = device
        self.world = world or World()
        self.lr_scale_d = 1.0
        """Factor on D's learning rate besides the settings: what the balance asks for at the moment."""
        self.feed = make_feed(pixels, config.batch_size, config.seed, device, self.world)
        self._final: tuple[int, Generator] | None = None
        self._draws = Draws(device, self.world)
        self._graphs: Recorded[StepStats, Turn] = Recorded(StepStats.copy, self._draws)
        self.begin()

    def begin(self) -> None:
        """Goes to the start of the run: weights drawn from its seed and stream, and nothing remembered."""
        self.game = self._make_game()
        torch.manual_seed(self.config.seed + self.config.stream * _STREAM_STRIDE)
        self.players = Players(self.config, self.device, self.world)
        self._be_at(0)

    def adopt(self, config: TrainConfig) -> None:
        """Goes on by other settings of the game: losses, rates, turns, penalties, augmentation, D's width."""
        before, remembered = self.config, self.game.tensors()
        self.config = settled(config, self.device)
        self.players.adopt(self.config, self.step)
        self.game = self._make_game()
        self.game.remember(remembered, before)
        self._graphs.forget()

    def lengthen(self, kimg: float) -> None:
        """Makes the run end after another number of pictures, in thousands; the learning rates follow."""
        self.config = dataclasses.replace(self.config, kimg=kimg)

    def train_step(self) -> StepStats:
        """Takes one step: D learns while G is frozen, then G learns while D is frozen.

        Nothing here waits for the device.

        Returns:
            What was measured, over all processes.
        """
        config = self.config
        self._draws.begin(config.seed * SEED_STRIDE + config.stream * _STREAM_STRIDE + self.step)
        share = rate_share(config, self.step)
        self.players.set_rates(config.lr_g * share, config.lr_d * self.lr_scale_d * share)
        batch, now = self.feed.batch(self.step), turn(config, self.step)
        recorded = config.execution == "graph" and self.world.size == 1
        stats = self._graphs(self._play, batch, now) if recorded else self._play(batch, now)
        self.players.follow(self.step)
        self.step += 1
        return stats

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

    def final_generator(self) -> Generator:
        """Returns the generator to show and export, in evaluation mode; made once in a step."""
        if self._final is None or self._final[0] != self.step:
            self._final = (self.step, self.players.final_generator())
        return self._final[1]

    def checkpoint(self, data: dict[str, object], seconds: float) -> Checkpoint:
        """Returns everything that a run needs to go on."""
        tensors = self.players.tensors() | self.game.tensors()
        if self.players.g_ema is not None:
            tensors |= prefixed(g_ema=self.final_generator().state_dict())
        return Checkpoint(config=self.config, tensors=tensors, step=self.step, seconds=seconds, data=data)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes to the state of a checkpoint; the settings stay, but for the networks' shape."""
        if checkpoint.spec != self.config.spec:
            self.config = dataclasses.replace(self.config, spec=checkpoint.spec)
            self.begin()
        self.players.restore(checkpoint.tensors)
        self.game.remember(checkpoint.tensors, checkpoint.config)
        self._be_at(checkpoint.step)

    def _play(self, pixels: Tensor, now: Turn) -> StepStats:
        return self.game.play(self.players, pixels, now)

    def _make_game(self) -> Game:
        return Game(self.config, self._draws, self.device, self.world)

    def _be_at(self, step: int) -> None:
        """Forgets what was made for other weights."""
        self.step = step
        self._final = None
        self._graphs.forget()
