"""What a run tells while it trains: its journal, TensorBoard, and the progress on the terminal."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.journal import Entry, Journal
from training.loop import Trainer


@dataclass(frozen=True, slots=True)
class Record:
    """Where a run tells what it does; of several processes only the leader's is heard."""

    journal: Journal | None
    scalars: SummaryWriter | None
    bar: "tqdm[Any]"
    beside: dict[str, str] = field(default_factory=dict)
    """What stands beside the bar, by name."""

    def write(self, entry: Entry) -> None:
        """Appends an entry to the journal."""
        if self.journal is not None:
            self.journal.write(entry)

    def plot(self, values: Mapping[str, float], shown: int) -> None:
        """Gives values to TensorBoard, at a number of pictures shown."""
        if self.scalars is not None:
            for name, value in values.items():
                self.scalars.add_scalar(name, value, shown)

    def show(self, **values: str) -> None:
        """Puts values beside the progress, where they stay until there are newer ones."""
        self.beside.update(values)
        self.bar.set_postfix(self.beside, refresh=False)

    def say(self, sentence: str) -> None:
        """Writes a line above the progress."""
        self.bar.write(sentence, file=sys.stdout)


@contextmanager
def open_record(folder: Path, trainer: Trainer) -> Iterator[Record]:
    """Opens the record of a run that begins or goes on; what a journal says of later steps is dropped.

    Args:
        folder: The run's folder, which exists.
        trainer: At the step where the run is.
    """
    leads, size = trainer.world.leads, trainer.config.batch_size
    bar = tqdm(
        total=trainer.config.total_steps * size,
        initial=trainer.step * size,
        unit="img",
        unit_scale=True,
        smoothing=0.05,
        disable=not leads,
    )
    with (
        Journal(folder, trainer.step) if leads else nullcontext() as journal,
        SummaryWriter(str(folder / "tensorboard")) if leads else nullcontext() as scalars,
        bar,
    ):
        yield Record(journal, scalars, bar)
