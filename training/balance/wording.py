"""Causes in plain words."""

from training.balance.signals import Signals
from training.balance.verdicts import Verdict, strides


def cause(found: Verdict, signals: Signals, usual_gradient: float | None) -> str:
    """Returns why a verdict was found, as half a sentence."""
    match found:
        case Verdict.DIVERGED:
            return "The game diverged: a loss is no longer a number"
        case Verdict.COLLAPSING:
            return f"Samples repeat: they are {_percent(signals.diversity)} as varied as real pictures"
        case Verdict.D_OVERFITTING:
            return _overfitting(signals)
        case Verdict.D_TOO_FAST:
            return _d_too_fast(signals, usual_gradient)
        case Verdict.G_TOO_FAST:
            return _g_too_fast(signals)
        case Verdict.BALANCED:
            return _balanced(signals)


def _overfitting(signals: Signals) -> str:
    held_out = signals.held_out_accuracy or 0.0
    return (
        f"D learns pictures by heart: it calls {_percent(signals.real_accuracy)} of those it learns from "
        f"real, but {_percent(held_out)} of held-out ones"
    )


def _d_too_fast(signals: Signals, usual_gradient: float | None) -> str:
    if strides(signals):
        return f"D takes strides: each step moves its weights by {_percent(signals.stride_d)} of their size"
    if signals.held_out_accuracy is None:
        told = f"it tells {_percent(signals.accuracy)} of pictures from fakes"
    else:
        share = (signals.held_out_accuracy + signals.fake_accuracy) / 2
        told = f"it tells {_percent(share)} of held-out pictures from fakes"
    if usual_gradient and signals.gradient_g < usual_gradient / 2:
        told += f" and G's gradient fell to {_percent(signals.gradient_g / usual_gradient)} of its usual size"
    elif signals.spread_g > 0.5:
        told += " and G's loss swings"
    return f"D wins: {told}"


def _g_too_fast(signals: Signals) -> str:
    if signals.health is None:
        told = f"it tells {_percent(signals.accuracy)} of pictures rightly, where a coin tells 50 %"
    else:
        told = f"its loss is {_percent(signals.health)} of the way to where it tells nothing"
    return f"D is outplayed: {told}"


def _balanced(signals: Signals) -> str:
    return f"The game is in balance again: D tells {_percent(signals.accuracy)} of pictures rightly"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 9.95 or percent == 0 else f"{percent:.2g} %"
