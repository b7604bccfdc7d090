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

    def measured(self, distance: float | None) -> None:
        """Takes in the Fréchet distance of a measurement; None where nobody measures any more."""
        self._controller.measured(distance)

    def due(self, trainer: Trainer) -> bool:
        """Returns whether a window has ended."""
        return trainer.step % WINDOW == 0

    def sound(self, trainer: Trainer) -> bool:
        """Returns whether the game's losses and weights are numbers; waits for the device."""
        return self._meter.finite and all_finite(trainer.players.g, trainer.players.d)

    def judge(self, trainer: Trainer) -> tuple[bool, Decision | None]:
        """Ends the window: adapts what needs no verdict, and says what is to be told and done.

        Of several processes all look, for they share statistics, but machines round differently: what the
        leader finds counts.

        Returns:
            Whether the game is sound, and the decision, if there is one.
        """
        sound, means, decision = self.sound(trainer), self._meter.means(), None
        health = _health(trainer, means["loss_d"])
        if sound:
            self._adapt(trainer, means, health)
        if self._probe is not None:
            self.signals = self._window_signals(trainer, self._probe, means, sound=sound, health=health)
            shown = trainer.step * trainer.config.batch_size
            decision = self._controller.observe(self.signals, trainer.config, shown)
        self._meter.clear()
        p = trainer.game.augment.p
        leaders = trainer.world.from_leader((sound, decision, trainer.lr_scale_d, float(p)))
        sound, decision, trainer.lr_scale_d, share = leaders
        p.fill_(share)
        return sound, decision

    def _window_signals(
        self, trainer: Trainer, probe: Probe, means: dict[str, float], *, sound: bool, health: float | None
    ) -> Signals:
        looks = probe.look(trainer)
        return Signals(
            finite=sound,
            health=health,
            real_accuracy=looks.pop("seen_accuracy", means["real_accuracy"]),
            fake_accuracy=means["fake_accuracy"],
            held_out_accuracy=looks.pop("held_out_accuracy", None),
            held_out=probe.held_out,
            overfit=looks.pop("overfit", None),
            gradient_g=means["gradient_g"],
            spread_g=self._meter.spread("loss_g") / _scale(trainer),
            **looks,
        )

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
