"""A run that fits a time: from the speed of its first seconds follow its length and what depends on it."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from training.augment import suited_to
from training.config import ConfigError, TrainConfig
from training.durations import tell_duration
from training.judge import REAL_PER_SAMPLE
from training.machine_speed import Speed

SAMPLES = (2000, 1000, 500, 250, 100)
"""Numbers of pictures for a measurement of quality, of which the budget allows one."""

MEASURING = 0.05
"""Largest share of the time that goes to measurements, but for few of them."""

SHOWING = 0.03
"""Share of the time that sheets may take, but for those of measurements."""

MOST_SHEETS = 40
"""Sheets in a run, at most."""

CHECKPOINTS = 5
"""Checkpoints of a run, besides the best: it has no time for many. Each is saved where there is a sheet, too,
for the generator that both show takes seconds on a CPU to be made ready."""

MEASUREMENTS = (4, 25)
"""Fewest and most measurements in a run."""

SAVE_SECONDS = 3.0
"""Allowed for a checkpoint, a sheet and a report."""

EXPORT_SECONDS = 18.0
"""Allowed for the export, a process of its own, for the card and the report, where nobody else computes."""

LOOKS = 20
"""Times at which the length is set anew by the speed so far."""

HEADLESS = 0.4
"""Share of the pictures that D plays alone, before heads on trained features begin."""

HEADLESS_STEPS = 2000
"""Fewest steps of that. After 500 G drew too little, and heads misled it; after 4,800 they helped."""

ENOUGH = 0.5
"""Least share of the time that goes to steps; quality is measured of fewer pictures for it, or not at all."""

FRESH = 3
"""Times that a picture may be seen before it is worth to change what D sees."""

AUGMENTATION = {"translate", "colour", "cutout"}


class Budget:
    """The time that a run may take from the first word of its command to its report.

    Args:
        seconds: All of it.
        spent: What earlier parts of a resumed run have used.
        started: When this part began, on the clock ``time.monotonic``.
    """

    def __init__(self, seconds: float, spent: float = 0.0, started: float | None = None) -> None:
        self.seconds = seconds
        self.reserve = EXPORT_SECONDS
        self.sheets = MOST_SHEETS
        self._before = spent
        self._started = time.monotonic() if started is None else started
        self._first: tuple[float, int] | None = None
        self._shown = 0
        self._next_look = 0.0
        self._alone, self._slowdown = 0.0, 1.0

    def remember(self, state: Mapping[str, Any]) -> None:
        """Takes over what the budget of a run that is gone on with has learned; the time stays.

        Args:
            state: Its ``state``, or that of an earlier release, which kept the time alone.
        """
        self.reserve, self.sheets = state.get("reserve", self.reserve), state.get("sheets", self.sheets)
        self._alone, self._slowdown = state.get("alone", 0.0), state.get("slowdown", 1.0)

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        return {
            "seconds": self.seconds,
            "spent": self.spent,
            "reserve": self.reserve,
            "sheets": self.sheets,
            "alone": self._alone,
            "slowdown": self._slowdown,
        }

    @property
    def spent(self) -> float:
        """Seconds used, earlier parts included."""
        return self._before + time.monotonic() - self._started

    @property
    def training_left(self) -> float:
        """Seconds until training must end, so that what comes after it ends in time."""
        return self.seconds - self.spent - self.reserve

    def fit(self, config: TrainConfig, speed: Speed, pictures: int, given: set[str]) -> TrainConfig:
        """Returns the recipe for the time that is left.

        Args:
            config: The recipe to begin with.
            speed: Of this machine.
            pictures: Number of training pictures.
            given: Names of settings that were asked for and stay as they are.

        Raises:
            ConfigError: If the time is too short to train at all.
        """
        left = self.seconds - self.spent
        for samples in self._choices(config, speed, given):  # the most first, none last
            count, stepping = self._share(samples, speed, pictures)
            if stepping > ENOUGH * left:
                break
        if stepping < 0.2 * self.seconds:
            raise ConfigError(
                f"of {tell_duration(self.seconds)} only {max(stepping, 0):.0f} s would be left for training, "
                "beside loading, measuring and exporting: give more"
            )
        alone = config.vision_aided_from_kimg
        if config.vision_aided and "vision_aided_from_kimg" not in given:
            fewest = HEADLESS_STEPS * config.batch_size / 1000
            alone = round_figure(max(speed.alone(stepping, HEADLESS), fewest))
        kimg = speed.kimg(stepping, alone)
        self._slow_from(alone, speed)
        derived = {
            "vision_aided_from_kimg": alone,
            "kimg": round_figure(kimg),
            "ema_half_life_kimg": round_figure(min(0.02 * kimg, 20)),
            "lr_decay_from": 0.6,
            "quality_kimg": round_figure(kimg / count) if count else 0.0,
            "quality_samples": samples or config.quality_samples,
        }
        if kimg * 1000 < FRESH * pictures:
            derived |= {"translate": 0.0, "colour": 0.0, "cutout": 0.0}
        elif not given & AUGMENTATION:
            config = suited_to(config, pictures)
        changes: dict[str, Any] = {name: value for name, value in derived.items() if name not in given}
        return dataclasses.replace(config, **changes)

    def keep_end(self, config: TrainConfig, speed: Speed, pictures: int) -> None:
        """Keeps time for the end of a run that was begun without a budget; its recipe stays.

        Args:
            config: The recipe.
            speed: Of this machine.
            pictures: Number of training pictures.
        """
        self._share(config.quality_samples if config.quality_kimg else 0, speed, pictures)
        self._slow_from(config.vision_aided_from_kimg, speed)

    def _slow_from(self, alone: float, speed: Speed) -> None:
        self._alone, self._slowdown = alone, speed.trained / (speed.aided or speed.trained)

    def _choices(self, config: TrainConfig, speed: Speed, given: set[str]) -> list[int]:
        """Returns numbers of pictures that a measurement may take; 0 is no measurement."""
        if "quality_kimg" in given and not config.quality_kimg:
            return [0]
        if "quality_samples" in given:
            return [config.quality_samples]
        return [n for n in SAMPLES if n / speed.judged <= 0.01 * self.seconds or n == SAMPLES[-1]] + [0]

    def _share(self, samples: int, speed: Speed, pictures: int) -> tuple[int, float]:
        """Returns the number of measurements that there is time for, and the seconds left for steps."""
        cost = _cost(samples, speed) if samples else 0.0
        self.reserve = EXPORT_SECONDS * speed.crowding + speed.finalised + SAVE_SECONDS + 2 * cost
        training = self.training_left
        count = 0
        if samples:
            training -= min(REAL_PER_SAMPLE * samples, pictures) / speed.judged
            fewest, most = MEASUREMENTS
            count = min(max(int(MEASURING * training / cost), fewest), most)
        sheets = min(max(count, int(SHOWING * training / (speed.finalised + 1))), MOST_SHEETS)
        self.sheets = max(sheets // CHECKPOINTS, 1) * CHECKPOINTS
        return count, training - count * cost - self.sheets * speed.finalised

    def describe(self, config: TrainConfig, speed: Speed) -> str:
        """Returns what was chosen, in a sentence."""
        quality = (
            f"quality every {config.quality_kimg:g} kimg (of {config.quality_samples} pictures)"
            if config.quality_kimg
            else "no time to measure quality"
        )
        pace = f"{speed.trained:.3g} pictures/s"
        if speed.aided:
            pace += f", {speed.aided:.3g} from {config.vision_aided_from_kimg:g} kimg on"
        return (
            f"{tell_duration(self.seconds)}: about {config.kimg:g} kimg at {pace}, "
            f"EMA half-life {config.ema_half_life_kimg:g} kimg, {quality}, "
            f"shifts up to {config.translate:.1%}, rates falling from {config.lr_decay_from:.0%} of the way; "
            f"{self.reserve:.0f} s are kept for the end"
        )

    def length(self, shown: int) -> float | None:
        """Returns the length for which the time is enough at the speed so far, in kimg, when it is due.

        Args:
            shown: Real pictures shown.
        """
        now, left = time.monotonic(), self.training_left
        if left <= 0:
            return shown / 1000
        if self._first is None or shown < self._shown:  # gone back: what is lost says nothing of the speed
            self._first = (now, shown)
        self._shown = shown
        if now < self._next_look:
            return None
        self._next_look = now + left / LOOKS
        began, before = self._first
        if shown <= before:  # not gone on
            return None
        rate = (self._work(shown) - self._work(before)) / (now - began)
        work = self._work(shown) + rate * left
        return work if work <= self._alone else self._alone + (work - self._alone) / self._slowdown

    def _work(self, shown: int) -> float:
        """Returns the thousand pictures that would have taken as long, had heads never begun."""
        return shown / 1000 + max(0.0, shown / 1000 - self._alone) * (self._slowdown - 1)


def _cost(samples: int, speed: Speed) -> float:
    """Returns the seconds of one measurement of quality, with its checkpoint and its report."""
    return speed.finalised + samples / speed.judged + SAVE_SECONDS


def round_figure(value: float) -> float:
    """Returns a number with three digits that count: 412.3 → 412."""
    return float(f"{value:.3g}")
