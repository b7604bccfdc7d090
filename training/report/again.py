"""The command that takes a run again."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from training.config import TrainConfig


def again(config: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Returns the command that trains by the same settings on the same pictures, as for a shell."""
    words = ["python", "-m", "training.train", "--data", str(data.get("source", "?"))]
    if data.get("count"):
        words += ["--count", str(data["count"])]
    words += ["--preset", "spec"]
    plain = dataclasses.asdict(TrainConfig())
    spec = plain.pop("spec")
    changed = [(name, value) for name, value in config.get("spec", {}).items() if spec.get(name) != value]
    changed += [(n, v) for n, v in config.items() if n != "spec" and n in plain and plain[n] != v]
    for name, value in changed:
        words += _flag(name.replace("_", "-"), value)
    return shlex.join(words)


def _flag(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]
