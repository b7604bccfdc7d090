"""How a run went, in a few sentences."""

from training.durations import tell_duration
from training.report.story import Story, full_name

REPEATING, COPYING = 0.5, 0.5
"""Shares of the real pictures' own diversity and novelty below which it is said."""

LATELY = 0.05
"""Share of a run over which it cannot be said whether it still gets better."""


def verdict(story: Story) -> list[str]:
    """Returns sentences about a run, the first of which says the most."""
    last, best = story.last, story.best
    if last is None:
        return ["Nothing was noted yet."]
    state = "Finished" if story.finished else "Unfinished"
    spent = f" in {tell_duration(last.seconds)} of training" if last.seconds else ""
    first = f"{state}: {last.shown:,} pictures shown{spent}"
    if best is None:
        return [f"{first}. Quality was not measured, so the sheets have to tell."]
    name = full_name(best, "fd")
    value = best.values[name] if name else 0.0
    first += (
        f"; the best generator, after {best.shown:,}, is at a Fréchet distance of {value:.4g} "
        "from your pictures (lower is better)."
    )
    return [first, *_course(story), *_character(story)]


def _course(story: Story) -> list[str]:
    points = story.figure("fd")
    best = story.best
    if len(points) < 3 or best is None:
        return []
    values = [value for _, value in points]
    if best.step == story.metrics[-1].step:
        # The end is measured too, however short a way behind the measurement before.
        before = [value for shown, value in points if shown <= (1 - LATELY) * points[-1][0]]
        gain = 1 - values[-1] / before[-1] if before else 0.0
        if gain > 0.01:
            return [
                f"It was still getting better ({gain:.0%} since the measurement before): train for longer."
            ]
        return ["It had all but stopped getting better."]
    if values[-1] > 1.1 * min(values):
        return [f"After that it got worse, to {values[-1]:.4g}: what is exported is the best, not the last."]
    return ["After that it stayed about the same."]


def _character(story: Story) -> list[str]:
    best = story.best
    said: list[str] = []
    if best is None:
        return said
    diversity, novelty = (
        best.values.get(full_name(best, figure) or "", 1.0) for figure in ("diversity", "novelty")
    )
    if diversity < REPEATING:
        said.append(f"Its pictures repeat: they differ {diversity:.0%} as much as yours do.")
    if novelty < COPYING:
        said.append("Its pictures are close to single ones of yours: look at the neighbours below.")
    return said
