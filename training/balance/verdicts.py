"""What one window of the game looks like: a verdict, with looser limits to leave one than to come to it."""

import math
from enum import StrEnum

from training.balance.signals import Signals


class Verdict(StrEnum):
    """What is found."""

    BALANCED = "balanced"
    D_TOO_FAST = "D too fast"
    G_TOO_FAST = "G too fast"
    D_OVERFITTING = "D overfitting"
    COLLAPSING = "collapsing"
    DIVERGED = "diverged"


LONGEST_STRIDE = 0.05
"""Largest share of their size by which a step may move D's weights. Adam moves each by about the learning
rate at most: at usual rates that is some 0.5 to 2 % of them. A D of 6 to 10 % was spoilt before a limit of
10 % found it. There is no limit on G: one that took 7 to 26 % was the better for it (docs/recipes.md)."""


def verdict(signals: Signals, *, usual_diversity: float, before: Verdict) -> Verdict:
    """Returns what a window looks like, the gravest first.

    Args:
        signals: Of the window.
        usual_diversity: What the run's samples have reached.
        before: What was found last: its limits are looser, so that it is not left and found again in turns.
    """
    if not signals.finite:
        return Verdict.DIVERGED
    if strides(signals):
        return Verdict.D_TOO_FAST
    checks = {
        Verdict.COLLAPSING: _collapsing(signals, usual_diversity, slack=_slack(before, Verdict.COLLAPSING)),
        Verdict.D_OVERFITTING: _overfitting(signals, slack=_slack(before, Verdict.D_OVERFITTING)),
        Verdict.G_TOO_FAST: _g_too_fast(signals, slack=_slack(before, Verdict.G_TOO_FAST)),
        Verdict.D_TOO_FAST: _d_too_fast(signals, slack=_slack(before, Verdict.D_TOO_FAST)),
    }
    return next((found for found, holds in checks.items() if holds), Verdict.BALANCED)


def strides(signals: Signals) -> bool:
    """Returns whether D moves in strides, which is not waited for: no later window will look better."""
    return signals.stride_d > LONGEST_STRIDE


def speaks(signals: Signals) -> bool:
    """Returns whether D tells real from generated pictures, and says so, by more than a little."""
    return not _g_too_fast(signals, slack=1.0)


def _slack(before: Verdict, found: Verdict) -> float:
    return 1.0 if before == found else 0.0


def _collapsing(signals: Signals, usual: float, slack: float) -> bool:
    return signals.diversity < (0.4 + 0.2 * slack) * min(usual, 1.0)


def _overfitting(signals: Signals, slack: float) -> bool:
    if signals.overfit is None or signals.held_out_accuracy is None:
        return False
    # Two shares: ratings may differ while both kinds are still told from fakes without fail.
    gap = signals.real_accuracy - signals.held_out_accuracy
    least = max(0.1, _noise(signals.held_out)) * (1 - 0.5 * slack)
    return signals.overfit > 0.4 - 0.15 * slack and gap > least


def _noise(pictures: int) -> float:
    """Returns how far apart two shares of so many pictures may be by chance: two standard deviations."""
    return 2 * math.sqrt(0.5 / pictures) if pictures else 0.0


def _d_too_fast(signals: Signals, slack: float) -> bool:
    low = signals.health is None or signals.health < 0.1 + 0.15 * slack
    return low and min(signals.real_accuracy, signals.fake_accuracy) > 0.97 - 0.05 * slack


def _g_too_fast(signals: Signals, slack: float) -> bool:
    # A D that is too weak may tell most pictures and yet hardly move a logit from 0: then it teaches nothing.
    if signals.health is None:
        return signals.accuracy < 0.55 + 0.05 * slack
    return signals.health > 0.95 - 0.1 * slack
