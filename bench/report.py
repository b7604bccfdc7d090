"""Tables in Markdown, and everything that was measured as JSON."""

import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure that we claim, beside what was measured."""

    name: str
    value: float
    wanted: float
    at_least: bool = True
    """Whether more is better; otherwise ``wanted`` is the most allowed."""

    @property
    def reached(self) -> bool:
        """Whether the measured value is as wanted or better."""
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted


def figures_table(figures: Iterable[Figure]) -> str:
    """Returns figures as a table."""
    return table(
        ("", "measured", "wanted", "reached"),
        [
            (
                figure.name,
                number(figure.value),
                f"{'≥' if figure.at_least else '≤'} {figure.wanted:,g}",
                "yes" if figure.reached else "no",
            )
            for figure in figures
        ],
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table, numbers to the right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Writes a number with three digits that count."""
    if math.isinf(value):
        return "∞"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    """Returns what this machine is, and how busy it was before."""
    packages = ("fastapi", "uvicorn", "numpy", "pillow")
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {"onnxruntime": _onnxruntime()} | {name: _version(name) for name in packages},
        "load_average": os.getloadavg()[0],
    }


def write_json(path: Path, content: Mapping[str, Any], figures: Iterable[Figure]) -> None:
    """Writes what was measured, and on what machine."""
    whole = {**content, "figures": [asdict(figure) | {"reached": figure.reached} for figure in figures]}
    path.write_text(json.dumps(whole, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")


def _onnxruntime() -> str | None:
    """Returns its version, asked of the module, for onnxruntime-gpu and -openvino install it too."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError:
        return None
    return str(onnxruntime.__version__)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
