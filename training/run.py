"""A run on disk: its folder, progress, sheets, scalars, checkpoints, and its two ways to stop."""

import dataclasses
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from models.contract import SeedlingError
from models.dcgan import Generator
from training.balance.controller import Decision
from training.balance.keeper import Balance, signals_as_scalars
from training.balance.rescue import go_back
from training.balance.signals import WINDOW
from training.balance.verdicts import Verdict
from training.best import best_checkpoint
from training.budget import Budget, round_figure
from training.checkpoint import load_checkpoint, prune_checkpoints, save_checkpoint
from training.journal import Entry, Event, Journal, Metrics, Scalars, Sheet
from training.judge import Judge
from training.loop import Trainer
from training.report.looks import generator_of, look
from training.report.page import write_report
from training.report.story import SETTINGS_FILE, read_story
from training.samples import fixed_latents, save_sheet
from training.step_stats import StepStats

log = logging.getLogger(__name__)

SHEET_PICTURES = 64
READ_EVERY_SECONDS = 0.5
"""How often the losses are read: reading waits for the device."""


class TrainingDivergedError(SeedlingError):
    """A loss that is no longer a number, and nobody to go back; the newest checkpoint is from before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How often a run writes what, and when it ends."""

    folder: Path
    """Where everything goes."""
    seconds: float = 0.0
    """Time already spent in steps, of a resumed run."""
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


class Run:
    """Drives a trainer to its end, or to where it is told to stop.

    Of several processes that share it, all take its steps and the leader alone writes.

    Args:
        trainer: The game, fresh or restored.
        data: Description of the pictures, for the checkpoint.
        options: Cadence and end.
        judge: Measures quality; none is measured without.
        balance: Keeps the game in balance; nobody does without.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: dict[str, Any],
        options: RunOptions,
        *,
        judge: Judge | None = None,
        balance: Balance | None = None,
    ) -> None:
        self.trainer = trainer
        self.data = data
        self.options = options
        self.seconds = options.seconds
        self.judge = judge
        self.balance = balance or Balance(trainer)
        self.world = trainer.world
        self.latents = fixed_latents(SHEET_PICTURES, trainer.config.spec.z_dim)
        self._stop = False
        self._next_read = 0.0
        self._beside: dict[str, str] = {}
        self._saved = -1
        self._saved_at = self.seconds
        self._measured: tuple[int, dict[str, float]] = (-1, {})

    def train(self) -> bool:
        """Trains to the end of the recipe or the time, or until a signal asks to stop.

        Ends with a sheet and a checkpoint in every case but a diverged loss, and with measured quality where
        the recipe was completed.

        Returns:
            Whether the recipe was completed.

        Raises:
            TrainingDivergedError: If a loss is not finite.
            CheckpointError: If the disk refuses a checkpoint.
        """
        folder, leads = self.options.folder, self.world.leads
        self._write_settings()
        with (
            Journal(folder, self.trainer.step) if leads else nullcontext() as self.journal,
            SummaryWriter(str(folder / "tensorboard")) if leads else nullcontext() as self.scalars,
            self._progress() as self.bar,
            self._stopping_on_signals(),
        ):
            if self.trainer.step == 0:
                self._save_sheet()
            while not self.done:
                # By the clock, so that processes have to agree: to stop at one step, and to read the same.
                read = time.perf_counter() >= self._next_read
                stop, read = self.world.any(self._stop or self._out_of_time(), read)
                if stop:
                    break
                self._step(read=read)
                self._look()
            self._conclude()
        return self.done

    @property
    def shown(self) -> int:
        """Number of real pictures shown so far."""
        return self.trainer.step * self.trainer.config.batch_size

    def report(self) -> None:
        """Writes the report of the run so far; one that cannot be written does not end the run."""
        if not self.world.leads:
            return
        # Who interrupts a run before its first measurement is not to wait for the features of all pictures.
        judge = self.judge if self.judge is not None and self.judge.has_reference else None
        try:
            looks = look(self._generator_to_show(), judge)
            write_report(read_story(self.options.folder), looks)
        except (SeedlingError, OSError, RuntimeError) as error:
            log.warning("no report: %s", error)

    def _generator_to_show(self) -> Generator:
        """Returns the present generator; at the end of the recipe, the best one that was kept."""
        best = best_checkpoint(self.options.folder) if self.done else None
        if best is None or best.folder.name == f"step-{self.trainer.step:08d}":
            return self.trainer.final_generator()
        return generator_of(load_checkpoint(best.folder), self.trainer.device)

    @property
    def done(self) -> bool:
        """Whether the recipe is completed."""
        return self.trainer.step >= self.trainer.config.total_steps

    def _step(self, *, read: bool) -> None:
        started = time.perf_counter()
        stats = self.trainer.train_step()
        if read:
            self._read(stats)
            self._next_read = started + READ_EVERY_SECONDS
        self.balance.add(stats)
        if self.balance.due(self.trainer):
            self._keep_balance()
        self.seconds += time.perf_counter() - started
        self.bar.update(self.trainer.config.batch_size)

    def _look(self) -> None:
        """Does what is due between two steps; the end has its own."""
        self._keep_time()
        if self.done or self.trainer.step == 0:  # 0 where it has gone back to the start
            return
        config = self.trainer.config
        if self._due(config.kimg / self.options.sheets):
            self._save_sheet()
        if self._due(config.quality_kimg):
            self._measure()
        overdue = self.seconds - self._saved_at >= self.options.checkpoint_minutes * 60
        if overdue or self._due(config.kimg / self.options.checkpoints):
            self._save_checkpoint()

    def _conclude(self) -> None:
        self._save_sheet()
        if self.done:
            self._measure()
        self._save_checkpoint()

    def _due(self, kimg: float) -> bool:
        """Returns whether the last step passed a multiple of so many thousand pictures."""
        every = kimg * 1000
        return every > 0 and self.shown // every > (self.shown - self.trainer.config.batch_size) // every

    def _read(self, stats: StepStats) -> None:
        values = stats.as_floats()
        self.note(Scalars, values=values)
        self._plot(values)
        self._show(loss_d=f"{values['loss_d']:.3f}", loss_g=f"{values['loss_g']:.3f}")

    def _keep_balance(self) -> None:
        """Lets the balance judge the last steps, tells what it found, and does as it says."""
        sound, decision = self._judge()
        if self.balance.signals is not None:
            self.note(Scalars, values=signals_as_scalars(self.balance.signals))
        if decision is not None:
            self.note(Event, verdict=decision.verdict, action=decision.action, sentence=decision.sentence)
            self.bar.write(decision.sentence, file=sys.stdout)
            if decision.go_back:
                self._go_back(decision.verdict)
            self.balance.apply(self.trainer, decision)
            self._write_settings()
        if not sound:
            if decision is None or not decision.go_back:
                raise TrainingDivergedError(
                    f"a loss or a weight is no longer a number at step {self.trainer.step}; the newest "
                    f"checkpoint in {self.options.folder} is from before: resume it with lower learning rates"
                )
            self._save_checkpoint()  # as gentle as it is now, should the run be resumed

    def _judge(self) -> tuple[bool, Decision | None]:
        """Returns whether the game is sound and what the balance decides.

        Of several processes all look, for they share statistics, but machines round differently: what the
        leader finds counts.
        """
        trainer = self.trainer
        sound, decision = self.balance.sound(trainer), self.balance.judge(trainer)
        adapted = trainer.lr_scale_d, float(trainer.game.augment.p)
        sound, decision, adapted = self.world.from_leader((sound, decision, adapted))
        trainer.lr_scale_d, p = adapted
        trainer.game.augment.p.fill_(p)
        return sound, decision

    def _go_back(self, verdict: Verdict) -> None:
        newest = verdict != Verdict.COLLAPSING
        steps = (
            WINDOW if verdict == Verdict.D_TOO_FAST else 0
        )  # a window of strides has spoilt D within it, too
        where = go_back(self.trainer, self.options.folder, newest=newest, steps=steps)
        self._saved, self._measured = -1, (-1, {})
        self.bar.n = self.shown
        self.bar.write(f"gone back to {where}", file=sys.stdout)

    def _plot(self, values: Mapping[str, float]) -> None:
        """Gives values to TensorBoard."""
        if self.scalars is not None:
            for name, value in values.items():
                self.scalars.add_scalar(name, value, self.shown)

    def _show(self, **values: str) -> None:
        """Puts values beside the progress, where they stay until there are newer ones."""
        self._beside |= values
        self.bar.set_postfix(self._beside, refresh=False)

    def _measure(self) -> None:
        """Measures the generator, and keeps a checkpoint of it if it is the best so far."""
        if self.judge is None or self._measured[0] == self.trainer.step:
            return
        try:
            figures = self.judge.measure(self.trainer.final_generator())
        except (SeedlingError, RuntimeError) as error:  # a matrix without roots, or too little memory
            log.warning("quality is measured no more: %s", error)
            self.judge = None
            return
        self.note(Metrics, values=figures)
        self._plot(figures)
        self._measured = (self.trainer.step, figures)
        name, value = next(iter(figures.items()))
        best = best_checkpoint(self.options.folder)
        self._show(fd=f"{value:.1f}")
        if best is None or name not in best.metrics or value < best.metrics[name]:
            self._save_checkpoint()
        if not self.done:
            self.report()

    def _save_sheet(self) -> None:
        if not self.world.leads:
            return
        file = self.options.folder / "samples" / f"{self.shown:09d}.png"
        save_sheet(self.trainer.sample(self.latents), file)
        self.note(Sheet, file=file.relative_to(self.options.folder).as_posix())

    def note(self, kind: type[Entry], **fields: Any) -> None:  # noqa: ANN401 - as the kind of entry has them
        """Writes an entry of this moment into the journal, which is open while ``train`` runs."""
        if self.journal is None:
            return
        now: dict[str, Any] = {
            "step": self.trainer.step,
            "shown": self.shown,
            "seconds": round(self.seconds, 3),
        }
        self.journal.write(kind(**now, **fields))

    def _save_checkpoint(self) -> None:
        if self._saved == self.trainer.step or not self.world.leads:
            return
        if not self.balance.sound(self.trainer):
            if self.world.size == 1:  # of several the others would have to do so, too: soon they all will
                self._keep_balance()
            return
        step, metrics = self._measured
        parts = {"balance": self.balance.state(self.trainer)}
        checkpoint = dataclasses.replace(self.trainer.checkpoint(self.data, self.seconds), parts=parts)
        if step == self.trainer.step:
            checkpoint = dataclasses.replace(checkpoint, metrics=metrics)
        if (budget := self.options.budget) is not None:
            spent = {"seconds": budget.seconds, "spent": budget.spent}
            checkpoint = dataclasses.replace(checkpoint, parts={**checkpoint.parts, "budget": spent})
        run = self.options.folder
        save_checkpoint(checkpoint, run / "checkpoints" / f"step-{self.trainer.step:08d}")
        self._saved, self._saved_at = self.trainer.step, self.seconds
        self._write_settings()  # those that a run changes itself
        best = best_checkpoint(run)
        prune_checkpoints(run, self.options.keep, spare=best and best.folder)

    def _out_of_time(self) -> bool:
        return self.options.minutes is not None and self.seconds >= self.options.minutes * 60

    def _keep_time(self) -> None:
        """Makes the run as long as its budget allows at the speed so far."""
        budget, config = self.options.budget, self.trainer.config
        kimg = self.world.from_leader(budget.length(self.shown)) if budget else None
        if kimg is None:
            return
        self.trainer.lengthen(max(round_figure(kimg), self.shown / 1000))
        self.bar.total = self.trainer.config.total_steps * config.batch_size

    def _write_settings(self) -> None:
        if not self.world.leads:
            return
        self.options.folder.mkdir(parents=True, exist_ok=True)
        settings = {"config": self.trainer.config.to_dict(), "data": self.data}
        file = self.options.folder / SETTINGS_FILE
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def _progress(self) -> "tqdm[Any]":
        config = self.trainer.config
        return tqdm(
            total=config.total_steps * config.batch_size,
            initial=self.shown,
            unit="img",
            unit_scale=True,
            smoothing=0.05,
            disable=not self.world.leads,
        )

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Lets the step in hand finish on SIGINT or SIGTERM; a second signal ends at once.

        Of several processes each gets a terminal's signal twice: ``torchrun`` passes it on, too.
        """

        def stop(number: int, _: FrameType | None) -> None:
            self._stop = True
            if self.world.size == 1:
                signal.signal(number, signal.SIG_DFL)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
