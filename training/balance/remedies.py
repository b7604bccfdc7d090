"""What can be done about a verdict: each remedy changes settings, as ``--resume`` can by hand."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from training.balance.verdicts import Verdict
from training.config import TrainConfig

FARTHEST_APART = 8
"""No remedy takes D's rate farther from G's than by this factor."""

WIDEST_D = 256
"""No remedy widens D beyond."""


class Remedy(NamedTuple):
    """A change of settings, and what it comes to in words."""

    changes: dict[str, Any]
    """By the name of the setting; ``ndf`` widens D."""
    words: str


Rung = Callable[[TrainConfig, int], Remedy | None]
"""(settings, pictures shown) → a remedy; None where it has been taken already or does not apply."""


def lower_lr_d(config: TrainConfig, _: int) -> Remedy | None:
    """D's learning rate, halved, or G's if that is lower."""
    remedy = slow_d(config)
    return remedy if remedy.changes["lr_d"] >= config.lr_g / FARTHEST_APART else None


def follow_the_gap(config: TrainConfig, _: int) -> Remedy | None:
    """D's learning rate, by its lead from now on."""
    if config.gap_aware:
        return None
    return Remedy({"gap_aware": True}, "D's learning rate now falls with its lead")


def train_d_less(config: TrainConfig, _: int) -> Remedy | None:
    """D learns half as often."""
    every = config.d_every * 2
    words = f"D now learns in one step of {every}"
    return Remedy({"d_every": every}, words) if every <= 4 else None


def shift_more(config: TrainConfig, _: int) -> Remedy | None:
    """Pictures are shifted for D, all of them."""
    if config.translate and (config.augment_p < 1 or config.ada_target):
        return Remedy({"augment_p": 1.0, "ada_target": 0.0}, "every picture is now changed before D sees it")
    if config.translate < 0.125:
        return Remedy({"translate": 0.125}, "D now sees pictures shifted by up to an eighth")
    return None


def recolour_more(config: TrainConfig, _: int) -> Remedy | None:
    """Pictures are coloured for D."""
    if config.colour >= 0.2:
        return None
    return Remedy({"colour": 0.2}, "D now sees pictures whose colours are changed a little")


def switch_to_hinge(config: TrainConfig, _: int) -> Remedy | None:
    """A loss under which D's lead is bounded."""
    if config.loss == "hinge":
        return None
    return Remedy({"loss": "hinge"}, "the loss is now hinge, under which D's lead is bounded")


def penalise_gradient(config: TrainConfig, _: int) -> Remedy | None:
    """The R1 penalty, where D's slope is not held already."""
    if config.r1 or config.gradient_penalty or config.loss == "wgan-gp":
        return None
    return Remedy({"r1": 1.0}, "D's slope at real pictures is now penalised (R1)")


def remember_gently(config: TrainConfig, _: int) -> Remedy | None:
    """The LeCam penalty."""
    return None if config.lecam else Remedy({"lecam": 0.1}, "D's lead is now penalised (LeCam)")


def switch_to_wgan_gp(config: TrainConfig, _: int) -> Remedy | None:
    """Another loss."""
    if config.loss == "wgan-gp":
        return None
    return Remedy({"loss": "wgan-gp"}, "the loss is now WGAN-GP, whose gradient does not vanish")


def raise_lr_d(config: TrainConfig, _: int) -> Remedy | None:
    """D's learning rate, doubled, or G's if that is higher."""
    lr = max(config.lr_d * 2, config.lr_g)
    if lr > config.lr_g * FARTHEST_APART:
        return None
    words = f"now G's, {lr:.3g}" if lr == config.lr_g else f"now double, {lr:.3g}"
    return Remedy({"lr_d": lr}, f"D's learning rate is {words}")


def train_d_more(config: TrainConfig, _: int) -> Remedy | None:
    """D learns more often than G."""
    if config.d_every > 1:
        every = config.d_every // 2
        return Remedy({"d_every": every}, f"D now learns in one step of {every}")
    every = config.g_every + 1
    return Remedy({"g_every": every}, f"G now learns in one step of {every}") if every <= 3 else None


def rest_g(config: TrainConfig, shown: int) -> Remedy | None:
    """G does not learn for 200 steps."""
    until = (shown + 200 * config.batch_size) / 1000
    if until <= config.g_rests_until_kimg:
        return None
    return Remedy({"g_rests_until_kimg": until}, "G rests for 200 steps, in which D learns alone")


def match_width(config: TrainConfig, _: int) -> Remedy | None:
    """D, at least as wide as G: one that is too small does not get better by learning faster."""
    return _widen(config, -(-config.spec.ngf // config.spec.ndf))


def widen_d(config: TrainConfig, _: int) -> Remedy | None:
    """D, of twice the width."""
    return _widen(config, 2)


def _widen(config: TrainConfig, times: int) -> Remedy | None:
    ndf = config.spec.ndf * times
    if times < 2 or ndf > WIDEST_D:
        return None
    words = f"D is now {times} times as wide (ndf {ndf}) and begins with the same judgement"
    return Remedy({"ndf": ndf}, words)


def add_perceptual(config: TrainConfig, _: int) -> Remedy | None:
    """The perceptual loss."""
    if config.perceptual:
        return None
    return Remedy({"perceptual": 1.0}, "G now also learns from the features of a trained network")


LADDERS: dict[Verdict, tuple[Rung, ...]] = {
    Verdict.D_TOO_FAST: (lower_lr_d, shift_more, switch_to_hinge, lower_lr_d, penalise_gradient),
    Verdict.D_OVERFITTING: (shift_more, recolour_more, lower_lr_d, penalise_gradient, remember_gently),
    Verdict.G_TOO_FAST: (match_width, raise_lr_d, raise_lr_d, train_d_more, widen_d),
}
"""What is tried, one after the other, while a verdict stays; at the end the first ones again."""

MORE: dict[Verdict, tuple[Rung, ...]] = {
    Verdict.D_TOO_FAST: (follow_the_gap, train_d_less, switch_to_wgan_gp),
    Verdict.D_OVERFITTING: (),
    Verdict.G_TOO_FAST: (rest_g, add_perceptual),
}
"""What ``--balance all`` tries besides: it did not help in our trials (docs/recipes.md)."""


def ladder(found: Verdict, *, everything: bool) -> tuple[Rung, ...]:
    """Returns what is tried about a verdict, in turn.

    Args:
        found: A verdict that has a ladder.
        everything: Whether what did not help in trials is tried too.
    """
    return LADDERS[found] + (MORE[found] if everything else ())


def next_remedy(
    rungs: Sequence[Rung], config: TrainConfig, shown: int, taken: int, *, most_lr_d: float = math.inf
) -> tuple[Remedy, int] | None:
    """Returns the remedy that is next in turn, and how many rungs are then taken; None where none is left.

    Args:
        rungs: Of a ladder.
        config: The settings in force.
        shown: Real pictures shown.
        taken: Rungs taken before.
        most_lr_d: Highest learning rate that D may be given.
    """
    for place in range(taken, taken + len(rungs)):
        remedy = rungs[place % len(rungs)](config, shown)
        if remedy is not None and remedy.changes.get("lr_d", 0.0) <= most_lr_d:
            return remedy, place + 1
    return None


def slow_d(config: TrainConfig) -> Remedy:
    """Returns D's learning rate halved, or G's if that is lower: it is the one of which nothing is known."""
    lr = min(config.lr_d / 2, config.lr_g)
    words = f"now G's, {lr:.3g}" if lr == config.lr_g else f"now half, {lr:.3g}"
    return Remedy({"lr_d": lr}, f"D's learning rate is {words}")


def gentler(config: TrainConfig) -> Remedy:
    """Returns what is changed after going back: both rates halved, and another random stream."""
    lr_g, lr_d = config.lr_g / 2, config.lr_d / 2
    changes = {"lr_g": lr_g, "lr_d": lr_d, "stream": config.stream + 1}
    return Remedy(changes, f"both learning rates are now half, {lr_g:.3g} and {lr_d:.3g}")


def changed(config: TrainConfig, remedy: Remedy) -> TrainConfig:
    """Returns the settings after a remedy."""
    changes = dict(remedy.changes)
    if "ndf" in changes:
        changes["spec"] = dataclasses.replace(config.spec, ndf=changes.pop("ndf"))
    return dataclasses.replace(config, **changes)
