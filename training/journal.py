"""The journal of a run: ``log.jsonl`` in its folder, one JSON object a line."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

JOURNAL_FILE = "log.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """When something was noted."""

    kind: ClassVar[str]
    step: int
    """Steps done."""
    shown: int
    """Real pictures shown."""
    seconds: float
    """Time spent in the run, in seconds, resumed parts included."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scalars(Entry):
    """What steps measured: losses, logits, the controller's signals."""

    kind: ClassVar[str] = "scalars"
    values: Mapping[str, float]
    """By name; a value that is not finite is kept as null, and read as NaN."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Metrics(Entry):
    """Measured quality."""

    kind: ClassVar[str] = "metrics"
    values: Mapping[str, float]
    """By full metric name, as ``fd_efficientnet_lite0_2000_of_4064``."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Event(Entry):
    """Something that was found or done, by the trainer itself or by hand."""

    kind: ClassVar[str] = "event"
    verdict: str
    """What was found: ``balanced``, ``D too fast``, …"""
    action: str
    """What was done about it; empty if nothing."""
    sentence: str
    """Cause and action, in one plain sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sheet(Entry):
    """A sheet of samples of the fixed latents."""

    kind: ClassVar[str] = "sheet"
    file: str
    """Where it is, relative to the run's folder."""


KINDS: dict[str, type[Entry]] = {kind.kind: kind for kind in (Scalars, Metrics, Event, Sheet)}


class Journal:
    """Appends to a run's journal; what is written is there, should the process be killed.

    Lines that are newer than ``step`` are dropped: a resumed run takes these steps again.

    Args:
        folder: The run's folder, which exists.
        step: Steps done; 0 of a new run.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        file = folder / JOURNAL_FILE
        if file.exists():
            kept = [line for line, known in _lines(file) if known["step"] <= step]
            partial = file.with_suffix(".partial")
            partial.write_text("".join(kept), encoding="utf-8")
            partial.replace(file)
        self._file = file.open("a", encoding="utf-8")

    def write(self, entry: Entry) -> None:
        """Appends one entry."""
        line = {"kind": entry.kind, **dataclasses.asdict(entry)}
        if isinstance(entry, Scalars | Metrics):
            line["values"] = {k: v if math.isfinite(v) else None for k, v in entry.values.items()}
        self._file.write(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(folder: Path) -> list[Entry]:
    """Returns the entries of a run, the oldest first; none where there is no journal.

    A torn last line, and what another version wrote that this one does not know, are passed over.
    """
    file = folder / JOURNAL_FILE
    entries = (_entry(known) for _, known in _lines(file)) if file.exists() else iter(())
    return [entry for entry in entries if entry is not None]


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the lines that are whole, and what each says."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                known = json.loads(line)
            except (ValueError, RecursionError):
                continue  # torn, or not ours
            if line.endswith("\n") and isinstance(known, dict) and isinstance(known.get("step"), int):
                yield line, known


def _entry(known: dict[str, Any]) -> Entry | None:
    kind = KINDS.get(str(known.get("kind")))
    if kind is None:
        return None
    names = {field.name for field in dataclasses.fields(kind)}
    if not names <= known.keys():
        return None
    if "values" in names:
        if not isinstance(known["values"], dict):
            return None
        known["values"] = {k: math.nan if v is None else v for k, v in known["values"].items()}
    return kind(**{name: known[name] for name in names})
