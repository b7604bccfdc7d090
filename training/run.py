"""A run: step after step to one of its ends, and between them what is due."""

import dataclasses
import logging
import time
from typing import Any

from models.contract import SeedlingError
from models.dcgan import Generator
from training.balance.keeper import Balance, signals_as_scalars
from training.balance.rescue import go_back
from training.balance.verdicts import Verdict
from training.best import best_checkpoint
from training.budget import round_figure
from training.cadence import CLOSE, RunOptions, passed
from training.checkpoint import checkpoint_name, load_checkpoint
from training.journal import Event, Metrics, Scalars, Sheet
from training.judge import Judge
from training.loop import Trainer
from training.record import open_record
from training.report.looks import generator_of, look
from training.report.page import write_report
from training.report.story import read_story
from training.run_folder import keep_checkpoint, write_settings, write_sheet
from training.samples import fixed_latents
from training.step_stats import StepStats
from training.stopping import Stop

log = logging.getLogger(__name__)

SHEET_PICTURES = 64
READ_EVERY_SECONDS = 0.5
"""How often the losses are read: reading waits for the device."""


class TrainingDivergedError(SeedlingError):
    """A loss that is no longer a number, and nobody to go back; the newest checkpoint is from before."""


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
        self.stop = Stop()
        self._next_read = 0.0
        self._saved = -1
        self._saved_at = self.seconds
        self._measured: tuple[int, dict[str, float]] = (trainer.step, dict(options.metrics))

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
        self._write_settings()
        if self.judge is None:
            self.balance.measured(None)
        with (
            open_record(self.options.folder, self.trainer) as self.record,
            self.stop.on_signals(alone=self.world.size == 1),
        ):
            if self.trainer.step == 0:
                self._save_sheet()
            while not self.done:
                # By the clock, so that processes have to agree: to stop at one step, and to read the same.
                read = time.perf_counter() >= self._next_read
                stop, read = self.world.any(self.stop.asked or self.options.out_of_time(self.seconds), read)
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

    @property
    def _now(self) -> dict[str, Any]:
        """What every entry of the journal begins with."""
        return {"step": self.trainer.step, "shown": self.shown, "seconds": round(self.seconds, 3)}

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
        if best is None or best.folder.name == checkpoint_name(self.trainer.step):
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
        self.record.bar.update(self.trainer.config.batch_size)

    def _look(self) -> None:
        """Does what is due between two steps; the end has its own."""
        self._keep_time()
        if self.done or self.trainer.step == 0:  # 0 where it has gone back to the start
            return
        config = self.trainer.config
        if self._due(config.kimg / self.options.sheets):
            self._save_sheet()
        left = config.kimg - self.shown / 1000
        if self._due(config.quality_kimg) and left > CLOSE * config.quality_kimg:
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
        return passed(kimg, self.shown, self.trainer.config.batch_size)

    def _read(self, stats: StepStats) -> None:
        values = stats.as_floats()
        self.record.write(Scalars(**self._now, values=values))
        self.record.plot(values, self.shown)
        self.record.show(loss_d=f"{values['loss_d']:.3f}", loss_g=f"{values['loss_g']:.3f}")

    def _keep_balance(self) -> None:
        """Lets the balance judge the last steps, tells what it found, and does as it says."""
        sound, decision = self.balance.judge(self.trainer)
        if self.balance.signals is not None:
            self.record.write(Scalars(**self._now, values=signals_as_scalars(self.balance.signals)))
        if decision is not None:
            verdict, action, sentence = decision.verdict, decision.action, decision.sentence
            self.record.write(Event(**self._now, verdict=verdict, action=action, sentence=sentence))
            self.record.say(sentence)
            if decision.go_back:
                self._go_back(verdict)
            self.balance.apply(self.trainer, decision)
            self._write_settings()
        if not sound:
            if decision is None or not decision.go_back:
                raise TrainingDivergedError(
                    f"a loss or a weight is no longer a number at step {self.trainer.step}; the newest "
                    f"checkpoint in {self.options.folder} is from before: resume it with lower learning rates"
                )
            self._save_checkpoint()  # as gentle as it is now, should the run be resumed

    def _go_back(self, verdict: Verdict) -> None:
        checkpoint = go_back(self.trainer, self.options.folder, verdict)
        # It is written anew, for its settings: what was measured of it must stay.
        metrics = dict(checkpoint.metrics) if checkpoint else {}
        self._saved, self._measured = -1, (self.trainer.step, metrics)
        self.record.bar.n = self.shown
        self.record.say(f"gone back to {checkpoint_name(checkpoint.step) if checkpoint else 'the start'}")

    def _measure(self) -> None:
        """Measures the generator, and keeps a checkpoint of it if it is the best so far."""
        step, known = self._measured
        if self.judge is None or (known and step == self.trainer.step):
            return
        try:
            figures = self.judge.measure(self.trainer.final_generator())
        except (SeedlingError, RuntimeError) as error:  # a matrix without roots, or too little memory
            log.warning("quality is measured no more: %s", error)
            self.judge = None
            self.balance.measured(None)
            return
        self.record.write(Metrics(**self._now, values=figures))
        self.record.plot(figures, self.shown)
        self._measured = (self.trainer.step, figures)
        name, value = next(iter(figures.items()))
        best = best_checkpoint(self.options.folder)
        self.record.show(fd=f"{value:.1f}")
        self.balance.measured(value)
        if best is None or name not in best.metrics or value < best.metrics[name]:
            self._save_checkpoint()
        if not self.done:
            self.report()

    def _save_sheet(self) -> None:
        if not self.world.leads:
            return
        file = write_sheet(self.options.folder, self.trainer.sample(self.latents), self.shown)
        self.record.write(Sheet(**self._now, file=file))

    def _save_checkpoint(self) -> None:
        if self._saved == self.trainer.step or not self.world.leads:
            return
        if not self.balance.sound(self.trainer):
            if self.world.size == 1:  # of several the others would have to do so, too: soon they all will
                self._keep_balance()
            return
        step, figures = self._measured
        parts = {"balance": self.balance.state(self.trainer)}
        if (budget := self.options.budget) is not None:
            parts["budget"] = budget.state()
        checkpoint = dataclasses.replace(
            self.trainer.checkpoint(self.data, self.seconds),
            metrics=figures if step == self.trainer.step else {},
            parts=parts,
        )
        keep_checkpoint(self.options.folder, checkpoint, self.options.keep)
        self._saved, self._saved_at = self.trainer.step, self.seconds
        self._write_settings()  # those that a run changes itself

    def _write_settings(self) -> None:
        if self.world.leads:
            write_settings(self.options.folder, self.trainer.config, self.data)

    def _keep_time(self) -> None:
        """Makes the run as long as its budget allows at the speed so far."""
        budget, config = self.options.budget, self.trainer.config
        kimg = self.world.from_leader(budget.length(self.shown)) if budget else None
        if kimg is None:
            return
        self.trainer.lengthen(max(round_figure(kimg), self.shown / 1000))
        self.record.bar.total = self.trainer.config.total_steps * config.batch_size
