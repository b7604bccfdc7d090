"""What the controller saw of real games, kept small: ``python tests/recorded.py RUN NAME`` keeps another.

``RUN`` is the folder of a run under ``--balance watch``, as ``python -m bench.balance idle --arms watch
--kimg 16 --width 8 --out runs`` leaves it; docs/recipes.md has the commands of all.
"""

import dataclasses
import json
import math
import sys
from pathlib import Path

from training.balance.signals import Signals
from training.journal import Scalars, read_journal

GAMES = Path(__file__).parent / "games"
NAMES = [field.name for field in dataclasses.fields(Signals)]
PREFIX = "balance/"


def windows(name: str) -> list[Signals]:
    """Returns the windows of a game that was kept, in order."""
    columns = json.loads((GAMES / f"{name}.json").read_text(encoding="utf-8"))
    return [Signals(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def record(run: Path) -> dict[str, list[float | bool | None]]:
    """Returns the signals of a run's windows by name, to four digits."""
    entries = [entry.values for entry in read_journal(run) if isinstance(entry, Scalars)]
    seen = [values for values in entries if f"{PREFIX}diversity" in values]
    return {name: [_kept(name, values) for values in seen] for name in NAMES}


def _kept(name: str, values: dict[str, float]) -> float | bool | None:
    value = values.get(PREFIX + name, math.nan)
    if name == "finite":
        return bool(value)
    return None if math.isnan(value) else float(f"{value:.4g}")


if __name__ == "__main__":
    [_, folder, name] = sys.argv
    rows = [f'  "{column}": {json.dumps(values)}' for column, values in record(Path(folder)).items()]
    (GAMES / f"{name}.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
