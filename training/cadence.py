"""When a run does what: how often it writes, and when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.budget import CHECKPOINTS, Budget

CLOSE = 0.1
"""Share of the way from one measurement to the next below which that of the end is waited for: on a CPU each
takes minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How often a run writes what, and when it ends."""

    folder: Path
    """Where everything goes."""
    seconds: float = 0.0
    """Time already spent in steps, of a resumed run."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What was measured of the checkpoint that a resumed run goes on from."""
    minutes: float | None = None
    """Ends the run after this much time in steps, if it is not done before."""
    sheets: int = 40
    """Sample sheets in the whole run."""
    checkpoints: int = 10
    """Checkpoints in the whole run."""
    checkpoint_minutes: float = 10.0
    """Most minutes of training from one checkpoint to the next."""
    keep: int = 2
    """Number of newest checkpoints that are kept."""
    budget: Budget | None = None
    """The time that everything may take; the length of the recipe follows it."""

    def within(self, budget: Budget) -> "RunOptions":
        """Returns the like for a run that has a budget."""
        return replace(self, budget=budget, sheets=budget.sheets, checkpoints=CHECKPOINTS)

    def out_of_time(self, seconds: float) -> bool:
        """Returns whether the minutes are over, after so many seconds in steps."""
        return self.minutes is not None and seconds >= self.minutes * 60


def passed(kimg: float, shown: int, batch_size: int) -> bool:
    """Returns whether the last step passed a multiple of so many thousand pictures; never for 0.

    Args:
        kimg: Thousand pictures from one time to the next.
        shown: Pictures shown, those of the last step included.
        batch_size: Pictures in a step.
    """
    every = kimg * 1000
    return every > 0 and shown // every > (shown - batch_size) // every
