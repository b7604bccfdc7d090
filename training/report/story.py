"""A run as its folder tells it: settings, journal and sheets."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from models.contract import SeedlingError
from training.best import best_checkpoint
from training.journal import Entry, Event, Metrics, Scalars, Sheet, read_journal

SETTINGS_FILE = "settings.json"

Points = list[tuple[float, float]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """Everything that a report says in words and lines."""

    folder: Path
    config: dict[str, Any]
    data: dict[str, Any]
    entries: list[Entry]
    best_step: int | None
    """Step of the best measured checkpoint that is kept."""

    @property
    def last(self) -> Entry | None:
        """The newest entry."""
        return self.entries[-1] if self.entries else None

    @property
    def kimg(self) -> float:
        """Thousand pictures shown."""
        return self.last.shown / 1000 if self.last else 0.0

    @property
    def finished(self) -> bool:
        """Whether the recipe was completed."""
        missing = self.config["kimg"] * 1000 - self.kimg * 1000
        return bool(missing < self.config["batch_size"])

    @property
    def events(self) -> list[Event]:
        """What was found and done, the oldest first."""
        return [entry for entry in self.entries if isinstance(entry, Event)]

    @property
    def metrics(self) -> list[Metrics]:
        """All measurements of quality."""
        return [entry for entry in self.entries if isinstance(entry, Metrics)]

    @property
    def best(self) -> Metrics | None:
        """The measurement of the best checkpoint."""
        return next((entry for entry in self.metrics[::-1] if entry.step == self.best_step), None)

    @property
    def sheets(self) -> list[Sheet]:
        """The sheets that are there, each once."""
        found = {entry.file: entry for entry in self.entries if isinstance(entry, Sheet)}
        return [entry for file, entry in found.items() if (self.folder / file).is_file()]

    def scalar(self, name: str) -> Points:
        """Returns what steps measured under a name: (kimg, value)."""
        found = (entry for entry in self.entries if isinstance(entry, Scalars) and name in entry.values)
        return [(entry.shown / 1000, entry.values[name]) for entry in found]

    def figure(self, figure: str) -> Points:
        """Returns a figure of quality over the run: (kimg, value); of the newest full name."""
        name = full_name(self.metrics[-1], figure) if self.metrics else None
        found = (entry for entry in self.metrics if name in entry.values)
        return [(entry.shown / 1000, entry.values[name]) for entry in found] if name else []


def full_name(entry: Metrics, figure: str) -> str | None:
    """Returns the full name of a figure in a measurement: ``fd`` → ``fd_efficientnet_lite0_2000_of_4064``."""
    return next((name for name in entry.values if name.startswith(f"{figure}_")), None)


def read_story(run: Path) -> Story:
    """Reads a run's folder, of a run that goes on, was stopped or is old.

    Raises:
        SeedlingError: If it is none.
    """
    try:
        settings = json.loads((run / SETTINGS_FILE).read_text(encoding="utf-8"))
        config, data = dict(settings["config"]), dict(settings["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeedlingError(f"{run} is no run: its {SETTINGS_FILE} cannot be read ({error})") from error
    best = best_checkpoint(run)
    step = int(best.folder.name.removeprefix("step-")) if best else None
    entries = read_journal(run) or _sheets_alone(run, config)
    return Story(folder=run, config=config, data=data, entries=entries, best_step=step)


def _sheets_alone(run: Path, config: dict[str, Any]) -> list[Entry]:
    """Returns the sheets of a run from before there were journals; their names say when they were made."""
    files = sorted(file for file in (run / "samples").glob("*.png") if file.stem.isdecimal())
    return [
        Sheet(
            step=int(file.stem) // config["batch_size"],
            shown=int(file.stem),
            seconds=0.0,
            file=file.relative_to(run).as_posix(),
        )
        for file in files
    ]
