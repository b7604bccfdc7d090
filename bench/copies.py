"""What one copy of the service does, as it was measured or is said: ``--machine NAME:KEY=VALUE,…``."""

import json
import statistics
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from app.settings import Settings
from bench.queueing import Lanes

SOURCES = ("rate", "url", "bench")
FIGURES = ("rate", "alone", "lanes", "batch", "at_once", "queue", "price")
HELP = (
    "a machine for copies: one of rate (pictures/s), url (of a running service) and bench (JSON of "
    "bench.serve or bench.overload); alone (ms of a picture alone), lanes, batch, at_once (lanes that "
    "do not slow each other down), queue (pictures), price (of an hour)"
)


class CopyError(Exception):
    """A machine that is not described as it should be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A copy of the service on a kind of machine."""

    name: str
    lanes: Lanes
    price: float | None = None
    """Of an hour, in whatever currency; None where nobody said."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what the command line says.

        Args:
            text: ``NAME:KEY=VALUE,…``, as ``HELP`` says.

        Raises:
            CopyError: If it is not that.
            OSError: If the service does not answer, or the file cannot be read.
        """
        name, _, rest = text.partition(":")
        words = dict(word.partition("=")[::2] for word in rest.split(","))
        if unknown := [key for key in words if key not in (*SOURCES, *FIGURES)]:
            known = ", ".join(dict.fromkeys((*SOURCES, *FIGURES)))
            raise CopyError(f"the keys of a machine are {known}, got {unknown[0]!r}")
        if len([key for key in SOURCES if key in words]) != 1:
            raise CopyError(f"a machine has just one of {', '.join(SOURCES)}, got {text!r}")
        try:
            figures = {key: float(words[key]) for key in FIGURES if key in words}
        except ValueError as error:
            raise CopyError(f"the figures of a machine are numbers, got {text!r}") from error
        if "url" in words:
            figures = read_url(words["url"]) | figures
        if "bench" in words:
            figures = read_bench(Path(words["bench"])) | figures
        try:
            lanes = lanes_of(figures)
        except (ValueError, ZeroDivisionError) as error:
            raise CopyError(f"the figures of a machine are above 0, got {text!r}") from error
        return cls(name=name, lanes=lanes, price=figures.get("price"))


def lanes_of(figures: Mapping[str, float]) -> Lanes:
    """Returns the lanes of what was measured or said; the keys are those of ``Copy.parse``."""
    lanes = Lanes.of(
        figures["rate"],
        alone_s=figures.get("alone", 0) / 1000,
        lanes=int(figures.get("lanes", 1)),
        batch=int(figures.get("batch", 1)),
        at_once=figures.get("at_once", 0),
    )
    return replace(lanes, max_queue=figures.get("queue", Settings.model_fields["max_queue"].default))


def read_url(url: str) -> dict[str, float]:
    """Asks a running service how its default model runs, and how fast it was at start, alone and unpacked.

    Raises:
        OSError: If it does not answer.
    """
    with urllib.request.urlopen(f"{url.rstrip('/')}/v1/models", timeout=10) as answer:  # noqa: S310
        models = json.load(answer)["data"]
    return read_layout(next(model for model in models if model["default"]))


def read_layout(model: Mapping[str, Any]) -> dict[str, float]:
    """Reads one entry of ``/v1/models``."""
    layout = model["layout"]
    figures = {
        "rate": layout["pictures_per_s"],
        "lanes": layout["lanes"],
        "batch": layout["batch_sizes"][-1],
    }
    if model["provider"] != "cuda":  # whose lanes are not threads of the processors
        figures["at_once"] = min(layout["lanes"], layout["alone_threads"] / layout["threads"])
    return figures


def read_bench(file: Path) -> dict[str, float]:
    """Reads what ``bench.serve`` or ``bench.overload`` measured through HTTP, PNGs and all.

    Raises:
        OSError: If the file cannot be read.
        CopyError: If it is of neither.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if "overload" in content:
        slices = (content["overload"][part] for part in ("before", "after"))
        return {"rate": statistics.mean((one["requests"] - one["failed"]) / one["seconds"] for one in slices)}
    if "servers" not in content:
        raise CopyError(f"{file} is neither of bench.serve nor of bench.overload, it has {list(content)}")
    plan, samples = content["plan"], content["servers"][0]["samples"]
    figures = {
        "rate": statistics.median(one["pictures_per_s"] for one in samples["service, 64 connections"]),
        "alone": statistics.median(one["p50_ms"] for one in samples["service, 1 connection"]),
        "lanes": plan["lanes"],
        "batch": plan["batch"],
    }
    if plan["provider"] != "cuda":
        figures["at_once"] = min(plan["lanes"], content["machine"]["cpus"] / plan["threads"])
    return figures
