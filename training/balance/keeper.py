"""The balance of a run: measures, asks the controller, and changes the trainer as it says."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from training.balance.controller import Controller, Decision
from training.balance.gap import adapted_share, gap_factor
from training.balance.meter import Meter
from training.balance.probe import Probe, all_finite
from training.balance.remedies import Remedy, changed
from training.balance.signals import WINDOW, Signals
from training.loop import Trainer
from training.step_stats import StepStats


class Balance:
    """Keeps a trainer's game in balance, as its settings ask.

    Args:
        trainer: The game.
        probe: Looks at it between steps; without one, no verdict is given.
        state: What an earlier part of the run kept.
    """

    def __init__(
        self, trainer: Trainer, probe: Probe | None = None, state: Mapping[str, Any] | None = None
    ) -> None:
        self.signals: Signals | None = None
        """Of the last window."""
        self._meter = Meter(trainer.device)
        self._probe = probe
        mode = trainer.config.balance
        standing = state["standing"] if state else None
        self._controller = Controller(everything=mode == "all", act=mode in {"on", "all"}, standing=standing)
        if state:
            self._meter.restore(state["meter"])
            trainer.lr_scale_d = state["lr_scale_d"]

    def state(self, trainer: Trainer) -> dict[str, Any]:
        """Returns what a resumed run needs to go on in the same way, as JSON values."""
        return {
            "standing": self._controller.state(),
            "meter": self._meter.state(),
            "lr_scale_d": trainer.lr_scale_d,
        }

    def add(self, stats: StepStats) -> None:
        """Takes in a step; waits for nothing."""
        self._meter.add(stats)

    def due(self, trainer: Trainer) -> bool:
        """Returns whether a window has ended."""
        return trainer.step % WINDOW == 0

    def sound(self, trainer: Trainer) -> bool:
        """Returns whether the game's losses and weights are numbers; waits for the device."""
        return self._meter.finite and all_finite(trainer.players.g, trainer.players.d)

    def judge(self, trainer: Trainer) -> Decision | None:
        """Ends the window: returns what is to be told and done, and adapts what needs no verdict."""
        config = trainer.config
        sound = self.sound(trainer)
        means = self._meter.means()
        health = _health(trainer, means["loss_d"])
        shown = trainer.step * config.batch_size
        if sound:
            self._adapt(trainer, means, health)
        decision = None
        if self._probe is not None:
            looks = self._probe.look(trainer)
            self.signals = Signals(
                finite=sound,
                health=health,
                real_accuracy=looks.pop("seen_accuracy", means["real_accuracy"]),
                fake_accuracy=means["fake_accuracy"],
                held_out_accuracy=looks.pop("held_out_accuracy", None),
                overfit=looks.pop("overfit", None),
                gradient_g=means["gradient_g"],
                spread_g=self._meter.spread("loss_g") / _scale(trainer),
                **looks,
            )
            decision = self._controller.observe(self.signals, config, shown)
        self._meter.clear()
        return decision

    def apply(self, trainer: Trainer, decision: Decision) -> None:
        """Makes a decision's changes of settings."""
        if decision.changes:
            trainer.adopt(changed(trainer.config, Remedy(dict(decision.changes), "")))

    def _adapt(self, trainer: Trainer, means: dict[str, float], health: float | None) -> None:
        config = trainer.config
        if config.ada_target:
            sign = 2 * means["real_accuracy"] - 1
            kimg = WINDOW * config.batch_size / 1000
            p = trainer.game.augment.p
            p.fill_(adapted_share(float(p), sign, config.ada_target, kimg))
        aware = config.gap_aware and health is not None
        trainer.lr_scale_d = gap_factor(health) if aware and health is not None else 1.0


def signals_as_scalars(signals: Signals) -> dict[str, float]:
    """Returns the signals that were measured, by name, for the journal."""
    values = {f"balance/{name}": value for name, value in dataclasses.asdict(signals).items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def _scale(trainer: Trainer) -> float:
    """Returns the way of D's loss from its floor to its equilibrium; 1 where there is no floor."""
    loss = trainer.game.loss
    return 1.0 if loss.floor is None else loss.equilibrium - loss.floor


def _health(trainer: Trainer, loss_d: float) -> float | None:
    floor = trainer.game.loss.floor
    return None if floor is None else (loss_d - floor) / _scale(trainer)
