"""A run on disk: its folder, progress, sheets, scalars, checkpoints, and its two ways to stop."""

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from models.contract import SeedlingError
from training.checkpoint import prune_checkpoints, save_checkpoint
from training.journal import Entry, Journal, Scalars, Sheet
from training.loop import StepStats, Trainer
from training.samples import fixed_latents, save_sheet

SHEET_PICTURES = 64
READ_EVERY_SECONDS = 0.5
"""How often the losses are read: reading waits for the device."""


class TrainingDivergedError(SeedlingError):
    """A loss that is no longer a number; the newest checkpoint is from before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How often a run writes what, and when it ends."""

    folder: Path
    """Where everything goes."""
    minutes: float | None = None
    """Ends the run after this much time in steps, if it is not done before."""
    sheet_kimg: float = 20.0
    """Thousand pictures from one sample sheet to the next."""
    checkpoint_kimg: float = 100.0
    """Thousand pictures from one checkpoint to the next."""
    keep: int = 2
    """Number of newest checkpoints that are kept."""


class Run:
    """Drives a trainer to its end, or to where it is told to stop.

    Args:
        trainer: The game, fresh or restored.
        data: Description of the pictures, for the checkpoint.
        options: Cadence and end.
        seconds: Time already spent, of a resumed run.
    """

    def __init__(
        self, trainer: Trainer, data: dict[str, Any], options: RunOptions, seconds: float = 0.0
    ) -> None:
        self.trainer = trainer
        self.data = data
        self.options = options
        self.seconds = seconds
        self.latents = fixed_latents(SHEET_PICTURES, trainer.config.spec.z_dim)
        self._stop = False

    def train(self) -> bool:
        """Trains to the end of the recipe or the time, or until a signal asks to stop.

        Ends with a sheet and a checkpoint in every case but a diverged loss.

        Returns:
            Whether the recipe was completed.

        Raises:
            TrainingDivergedError: If a loss is not finite.
            CheckpointError: If the disk refuses a checkpoint.
        """
        config = self.trainer.config
        self.options.folder.mkdir(parents=True, exist_ok=True)
        settings = json.dumps({"config": config.to_dict(), "data": self.data}, indent=2)
        (self.options.folder / "settings.json").write_text(settings + "\n", encoding="utf-8")
        with (
            Journal(self.options.folder, self.trainer.step) as self.journal,
            SummaryWriter(str(self.options.folder / "tensorboard")) as scalars,
            tqdm(
                total=config.total_steps * config.batch_size,
                initial=self.trainer.step * config.batch_size,
                unit="img",
                unit_scale=True,
                smoothing=0.05,
            ) as bar,
            self._stopping_on_signals(),
        ):
            self._steps(scalars, bar)
            self._save_sheet()
            self._save_checkpoint()
        return self.trainer.step >= config.total_steps

    def _steps(self, scalars: SummaryWriter, bar: "tqdm[Any]") -> None:
        config = self.trainer.config
        next_sheet = last_checkpoint = float(self.shown)
        next_read = 0.0
        while self.trainer.step < config.total_steps and not self._stop and not self._out_of_time():
            if self.shown >= next_sheet:
                self._save_sheet()
                next_sheet += self.options.sheet_kimg * 1000
            started = time.perf_counter()
            stats = self.trainer.train_step()
            if started >= next_read:
                self._read(stats, scalars, bar)
                next_read = started + READ_EVERY_SECONDS
            self.seconds += time.perf_counter() - started
            bar.update(config.batch_size)
            if self.shown >= last_checkpoint + self.options.checkpoint_kimg * 1000:
                self._save_checkpoint()
                last_checkpoint = self.shown

    @property
    def shown(self) -> int:
        """Number of real pictures shown so far."""
        return self.trainer.step * self.trainer.config.batch_size

    def _read(self, stats: StepStats, scalars: SummaryWriter, bar: "tqdm[Any]") -> None:
        values = stats.as_floats()
        self.note(Scalars, values=values)
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"{name} became {value} at step {self.trainer.step}; the newest checkpoint in "
                    f"{self.options.folder} is from before: resume it with lower learning rates"
                )
            scalars.add_scalar(name, value, self.shown)
        bar.set_postfix(loss_d=f"{values['loss_d']:.3f}", loss_g=f"{values['loss_g']:.3f}", refresh=False)

    def _save_sheet(self) -> None:
        file = self.options.folder / "samples" / f"{self.shown:09d}.png"
        save_sheet(self.trainer.sample(self.latents), file)
        self.note(Sheet, file=file.relative_to(self.options.folder).as_posix())

    def note(self, kind: type[Entry], **fields: Any) -> None:  # noqa: ANN401 - as the kind of entry has them
        """Writes an entry of this moment into the journal, which is open while ``train`` runs."""
        now: dict[str, Any] = {
            "step": self.trainer.step,
            "shown": self.shown,
            "seconds": round(self.seconds, 3),
        }
        self.journal.write(kind(**now, **fields))

    def _save_checkpoint(self) -> Path:
        folder = self.options.folder / "checkpoints" / f"step-{self.trainer.step:08d}"
        save_checkpoint(self.trainer.checkpoint(self.data, self.seconds), folder)
        prune_checkpoints(self.options.folder, self.options.keep)
        return folder

    def _out_of_time(self) -> bool:
        return self.options.minutes is not None and self.seconds >= self.options.minutes * 60

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Lets the step in hand finish on SIGINT or SIGTERM; a second signal ends at once."""

        def stop(number: int, _: FrameType | None) -> None:
            self._stop = True
            signal.signal(number, signal.SIG_DFL)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
