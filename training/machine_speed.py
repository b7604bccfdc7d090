"""How fast a machine is at a recipe, found in seconds, so that a run can be made to fit a time."""

import dataclasses
import math
import time

import numpy as np
import torch
from numpy.typing import NDArray

from training.average import BATCHES, recompute_statistics
from training.config import TrainConfig
from training.features import FeatureExtractor
from training.loop import Trainer
from training.measure import BATCH, extract, picture_batches
from training.pace import HEADS_ALONE_KIMG

FEW = 3
"""Pictures to begin with, or batches, where it is measured how long many take."""

WARM_UP = 20
"""Steps after which a fast machine is at its speed."""

TIMED_STEPS = 100
"""Steps that are timed at most: what a GPU takes in a second. Its run goes by the speed so far soon after."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What a machine was measured to do, in pictures a second."""

    trained: float
    """Real pictures shown in steps."""
    aided: float = 0.0
    """The same once heads on trained features play too; 0 where none ever do."""
    judged: float
    """Pictures whose features are extracted."""
    finalised: float = 0.0
    """Seconds for a generator to show: its BatchNorm statistics are computed anew."""
    crowding: float = 1.0
    """Seconds that a second of one thread's work takes: above 1 where others compute, too."""

    def kimg(self, seconds: float, alone: float) -> float:
        """Returns the thousand pictures shown in a time, the first ``alone`` of them without heads."""
        plain = self.trained * seconds / 1000
        if not self.aided or plain <= alone:
            return plain
        return alone + self.aided * (seconds - 1000 * alone / self.trained) / 1000

    def alone(self, seconds: float, share: float) -> float:
        """Returns a share of the thousand pictures of a run of that time: those shown before heads begin."""
        aided = self.aided or self.trained
        return share * seconds / (share / self.trained + (1 - share) / aided) / 1000


def measure_speed(
    config: TrainConfig, pixels: NDArray[np.uint8], device: torch.device, seconds: float
) -> Speed:
    """Takes steps of a game that is thrown away, and judges some pictures.

    Args:
        config: The recipe.
        pixels: (N, H, W, 3) uint8.
        device: Where to compute.
        seconds: How long to take steps, about; the last half of it counts. A fast machine takes less.
    """
    trainer = Trainer(config, pixels, device)
    began = time.perf_counter()
    take_steps(trainer, seconds / 2)
    if trainer.step < WARM_UP and time.perf_counter() - began < seconds:
        take_steps(trainer, seconds)  # what is recorded or compiled first takes its time
    trained = take_steps(trainer, seconds / 2) * config.batch_size
    aided = 0.0
    if config.vision_aided:
        trainer.step += math.ceil(
            1000 * (config.vision_aided_from_kimg + HEADS_ALONE_KIMG) / config.batch_size
        )
        take_steps(trainer, seconds / 4)
        aided = take_steps(trainer, seconds / 4) * config.batch_size
    finalised = _seconds_to_finalise(trainer)
    extractor = FeatureExtractor().to(device)
    # The second time warm; a GPU looks for its kernels anew for another number of pictures.
    for sample in (pixels[: BATCH if device.type == "cuda" else FEW], pixels[:BATCH]):
        started = time.perf_counter()
        extract(picture_batches(sample), extractor, device).sum().item()
        judged = len(sample) / (time.perf_counter() - started)
    return Speed(trained=trained, aided=aided, judged=judged, finalised=finalised, crowding=_crowding())


def _seconds_to_finalise(trainer: Trainer) -> float:
    """Returns how long a generator takes to be made ready to show, by a few of the batches of it."""
    g_ema = trainer.players.g_ema
    if g_ema is None:
        return 0.0
    recompute_statistics(g_ema, trainer.config, trainer.device, batches=1)  # the first one allocates
    started = time.perf_counter()
    recompute_statistics(g_ema, trainer.config, trainer.device, batches=FEW)
    next(g_ema.parameters()).sum().item()  # waits for a GPU
    return (time.perf_counter() - started) * BATCHES / FEW


def _crowding() -> float:
    started, worked = time.perf_counter(), time.thread_time()
    while time.thread_time() - worked < 0.2:
        pass
    return min(max((time.perf_counter() - started) / 0.2, 1.0), 4.0)


def take_steps(trainer: Trainer, seconds: float) -> float:
    """Returns steps a second, of at least one step and at most ``TIMED_STEPS``."""
    started, steps = time.perf_counter(), 0
    while not steps or (steps < TIMED_STEPS and time.perf_counter() - started < seconds):
        stats = trainer.train_step()
        steps += 1
        if steps % 10 == 1:
            stats.as_floats()  # else a GPU's queue of work would be taken for work done
    stats.as_floats()
    return steps / (time.perf_counter() - started)
