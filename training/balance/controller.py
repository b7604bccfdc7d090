"""The controller: signals in, verdicts and changes of settings out. No torch, no clock, no chance."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.balance.remedies import Remedy, gentler, ladder, next_remedy, slow_d
from training.balance.signals import WINDOW, Signals
from training.balance.verdicts import LONGEST_STRIDE, Verdict, speaks, strides, verdict
from training.balance.wording import cause
from training.config import TrainConfig

WARM_UP = 6
"""Windows at the start in which only what no game survives is acted on: both nets begin by saying nothing."""

PATIENCE = 3
"""Windows in a row that must look alike before it counts as found."""

COOLDOWN = 8
"""Windows after a change in which it is left to work, at least."""

WORKING = 0.03
"""Share of the run for which a change is left to work, where that is longer."""

LATE = 0.1
"""Share of the run by which a D that lacks nothing is to have begun: one under spectral norm is silent for a
thousand steps or more, and would be driven and widened meanwhile."""

BETTER = 0.01
"""By what share a measured distance must be below the lowest before, for the pictures to have got better."""

VARIED = 0.5
"""Share of real pictures' variety that samples have at least where a game goes well."""

MOST_RETURNS = 5
"""Times that a run goes back to a checkpoint before it gives up."""

NEW = 0.05
"""How much of a new window goes into what is usual."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What was found and is to be done."""

    verdict: Verdict
    sentence: str
    """Cause and action, for a person."""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings to change; may be none."""
    go_back: bool = False
    """Whether to go back to a good checkpoint first."""

    @property
    def action(self) -> str:
        """What is done, in short: ``lr_d=0.0001``; empty if nothing."""
        changes = [
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.changes.items()
        ]
        return ", ".join([*(["go back"] if self.go_back else []), *changes])


@dataclass(kw_only=True, slots=True)
class Standing:
    """What the controller remembers; plain JSON values."""

    windows: int = 0
    """Windows seen."""
    found: str = Verdict.BALANCED.value
    """The verdict that counts."""
    candidate: str = Verdict.BALANCED.value
    """What the last windows looked like."""
    streak: int = 0
    """How many of them in a row."""
    rest: int = 0
    """Windows left of the cooldown."""
    taken: dict[str, int] = dataclasses.field(default_factory=dict)
    """Rungs taken, by verdict."""
    helpless: str = ""
    """The verdict for which nothing was left to try, once that was told."""
    returns: int = 0
    """Times gone back."""
    spoke: bool = False
    """Whether D has told real from generated pictures once."""
    best: float | None = None
    """The lowest Fréchet distance that was measured."""
    stale: int = 0
    """Measurements in a row that were no better than the best before; a change is given the next one."""
    unmeasured: bool = False
    """Whether nobody measures quality, though the settings ask for it."""
    usual_gradient: float | None = None
    """Running mean of the gradient that reaches G, of balanced windows."""
    usual_diversity: float = 0.0
    """The highest that a running mean of the samples' diversity was."""
    diversity: float | None = None
    """That running mean."""


class Controller:
    """Watches a game and says what to do about it.

    Args:
        everything: Whether remedies that did not help in trials are tried too.
        act: Whether anything is done; else verdicts are only told.
        standing: What an earlier part of the run remembered.
    """

    def __init__(
        self, *, everything: bool = False, act: bool = True, standing: Mapping[str, Any] | None = None
    ) -> None:
        self.everything = everything
        self.act = act
        self.standing = Standing(**(standing or {}))

    def observe(self, signals: Signals, config: TrainConfig, shown: int) -> Decision | None:
        """Takes in a window; returns what is to be told, and done.

        Args:
            signals: Of the window.
            config: The settings in force.
            shown: Real pictures shown.
        """
        now = self.standing
        now.windows += 1
        now.rest = max(now.rest - 1, 0)
        looks = verdict(signals, usual_diversity=now.usual_diversity, before=Verdict(now.found))
        now.streak = now.streak + 1 if looks == now.candidate else 1
        now.candidate = looks.value
        if looks == Verdict.DIVERGED:
            news, now.found = looks != now.found, looks.value
            return self._go_back(looks, signals, config, gentler(config), news=news)
        if strides(signals):
            news, now.found = looks != now.found, looks.value
            return self._go_back(looks, signals, config, slow_d(config), news=news)
        if now.windows <= WARM_UP:
            return None
        self._remember(signals, looks)
        if now.streak < PATIENCE:
            return None
        return self._settle(looks, signals, config, shown)

    def measured(self, distance: float | None) -> None:
        """Takes in a Fréchet distance that was measured; None says that nobody measures any more.

        Args:
            distance: In the features that the run is measured by; smaller is better.
        """
        now = self.standing
        now.unmeasured = distance is None
        if distance is None:
            return
        better = now.best is None or distance < now.best * (1 - BETTER)
        now.stale = 0 if better else now.stale + 1
        now.best = distance if now.best is None else min(now.best, distance)

    def state(self) -> dict[str, Any]:
        """Returns what the controller remembers, as JSON values."""
        return dataclasses.asdict(self.standing)

    def _remember(self, signals: Signals, looks: Verdict) -> None:
        now = self.standing
        now.diversity = _mean(now.diversity, signals.diversity)
        now.usual_diversity = max(now.usual_diversity, now.diversity)
        now.spoke = now.spoke or speaks(signals)
        if looks == Verdict.BALANCED:
            now.usual_gradient = _mean(now.usual_gradient, signals.gradient_g)

    def _settle(self, looks: Verdict, signals: Signals, config: TrainConfig, shown: int) -> Decision | None:
        now = self.standing
        news = looks != now.found
        now.found = looks.value
        if looks == Verdict.BALANCED:
            return self._tell(looks, signals) if news else None
        if now.rest:
            return None
        if looks == Verdict.COLLAPSING:
            return self._go_back(looks, signals, config, gentler(config), news=news)
        if not self.act:
            return self._tell(looks, signals) if news else None
        if reprieve := self._reprieve(looks, signals, config, shown):
            return self._tell(looks, signals, reprieve) if news else None
        return self._mend(looks, signals, config, shown)

    def _mend(self, looks: Verdict, signals: Signals, config: TrainConfig, shown: int) -> Decision | None:
        now = self.standing
        rungs, taken = ladder(looks, everything=self.everything), now.taken.get(looks, 0)
        # A rate that makes D stride would be taken back at once, and much of the run with it.
        most_lr_d = config.lr_d * LONGEST_STRIDE / max(signals.stride_d, 1e-9)
        found = next_remedy(rungs, config, shown, taken, most_lr_d=most_lr_d)
        if found is None:
            news, now.helpless = looks != now.helpless, looks.value
            return self._tell(looks, signals, "; nothing is left to try") if news else None
        remedy, now.taken[looks] = found
        now.rest, now.streak, now.stale = _cooldown(config), 0, 0
        sentence = f"{cause(looks, signals, now.usual_gradient)}; {remedy.words}."
        return Decision(verdict=looks, sentence=sentence, changes=remedy.changes)

    def _reprieve(self, looks: Verdict, signals: Signals, config: TrainConfig, shown: int) -> str:
        """Returns why the game is left alone for now; empty if it is not."""
        if looks == Verdict.G_TOO_FAST and self._may_begin_late(config, shown):
            return "; it is given time to begin"
        if self._goes_well(looks, signals, config):
            if self.standing.best is None:
                return "; nothing is changed before quality is first measured"
            return "; the pictures get better, so nothing is changed"
        return ""

    def _may_begin_late(self, config: TrainConfig, shown: int) -> bool:
        lacks_something = config.spec.ndf < config.spec.ngf or config.lr_d < config.lr_g
        return not (self.standing.spoke or lacks_something) and shown < LATE * config.kimg * 1000

    def _goes_well(self, looks: Verdict, signals: Signals, config: TrainConfig) -> bool:
        """Returns whether pictures get better, as far as is known, whatever the two networks look like.

        A D that tells little may have a good opponent; one that wins, or knows pictures by heart, need not
        keep G from learning. Before anything was measured, a D that wins is not believed to be harmless.
        """
        now = self.standing
        if config.quality_kimg == 0 or now.unmeasured or (now.best is None and looks == Verdict.D_TOO_FAST):
            return False
        return now.spoke and now.stale == 0 and signals.diversity >= VARIED

    def _go_back(
        self, looks: Verdict, signals: Signals, config: TrainConfig, remedy: Remedy, *, news: bool
    ) -> Decision | None:
        now = self.standing
        because = cause(looks, signals, now.usual_gradient)
        if not self.act:
            return self._tell(looks, signals) if news else None
        if now.returns >= MOST_RETURNS:
            return (
                self._tell(looks, signals, f"; going back {now.returns} times did not help") if news else None
            )
        now.returns += 1
        now.rest, now.streak, now.found = _cooldown(config), 0, Verdict.BALANCED.value
        # The checkpoint that is gone back to is saved with this, and would count as lost itself.
        now.candidate = Verdict.BALANCED.value
        now.diversity = None
        sentence = f"{because}; the run goes back to a good checkpoint, and {remedy.words}."
        return Decision(verdict=looks, sentence=sentence, changes=remedy.changes, go_back=True)

    def _tell(self, looks: Verdict, signals: Signals, end: str = "") -> Decision:
        sentence = f"{cause(looks, signals, self.standing.usual_gradient)}{end}."
        return Decision(verdict=looks, sentence=sentence)


def _cooldown(config: TrainConfig) -> int:
    return max(COOLDOWN, round(WORKING * config.total_steps / WINDOW))


def _mean(before: float | None, new: float) -> float:
    return new if before is None else before + NEW * (new - before)
