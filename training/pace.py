"""Who learns in which step, and how fast."""

from dataclasses import dataclass

from training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Turn:
    """What is done in one step; it decides which computations a step consists of."""

    d_learns: bool
    """Whether D learns; else it only looks."""
    g_learns: bool
    """Whether G learns."""
    lazily: bool
    """Whether it is also the turn of the lazy regularisers of D."""
    heads_learn: bool = False
    """Whether the heads on trained features learn, where there are any."""
    heads_teach: bool = False
    """Whether G learns from them, too."""


HEADS_ALONE_KIMG = 1.0
"""Thousand pictures from which heads learn before G learns from them: what they say first is chance."""


def turn(config: TrainConfig, step: int) -> Turn:
    """Returns what is done in a step, counted from 0."""
    kimg = step * config.batch_size / 1000
    rests = kimg < config.g_rests_until_kimg
    aided_for = kimg - config.vision_aided_from_kimg if config.vision_aided else -1.0
    return Turn(
        d_learns=step % config.d_every == 0,
        g_learns=step % config.g_every == 0 and not rests,
        lazily=config.r1 > 0 and step // config.d_every % config.r1_every == 0,
        heads_learn=aided_for >= 0,
        heads_teach=aided_for >= HEADS_ALONE_KIMG,
    )


def rate_share(config: TrainConfig, step: int) -> float:
    """Returns the factor on both learning rates at a step, counted from 0: 1, or on its way to a tenth."""
    start = config.lr_decay_from
    done = step / config.total_steps
    past = 0.0 if start >= 1 else max(0.0, (done - start) / (1 - start))
    return 1 - 0.9 * min(past, 1.0)
