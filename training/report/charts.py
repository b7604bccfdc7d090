"""Lines over the pictures shown, as shapes that a template draws: SVG stretched over a grid of HTML."""

import dataclasses
import math
from collections.abc import Sequence

from training.report.story import Points

MOST = 300
"""Points of a line; more are averaged."""

WIDTH, HEIGHT = 1000, 300
"""Units of the drawing, which is stretched to its place."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark on an axis."""

    place: float
    """From the left or the top, in per cent."""
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line with its name."""

    name: str
    path: str
    """For the ``d`` of an SVG path."""
    last: str
    """The newest value, for people."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Lines with one pair of axes."""

    title: str
    note: str
    """What is good, in a few words."""
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Tick]
    """What happened where, on the x axis."""
    label: str
    """All of it in a sentence, for who cannot see it."""


def draw(  # noqa: PLR0913 - a chart has this many sides
    title: str,
    note: str,
    series: Sequence[tuple[str, Points]],
    end: float,
    *,
    bounds: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> Chart | None:
    """Returns a chart, or None where there is nothing to draw.

    Args:
        title: Of the chart.
        note: What is good.
        series: Lines by name: points of (kimg, value); what is not finite is a gap.
        end: Right end of the x axis, in kimg.
        bounds: Of the y axis; those of the values unless given.
        marks: (kimg, what happened).
    """
    series = [(name, thin([p for p in points if math.isfinite(p[1])])) for name, points in series]
    series = [(name, points) for name, points in series if points]
    if not series or end <= 0:
        return None
    low, high = bounds or _bounds([y for _, points in series for _, y in points])
    lines = [
        Line(name=name, path=_path(points, end, low, high), last=f"{points[-1][1]:.3g}")
        for name, points in series
    ]
    told = "; ".join(f"{name} from {p[0][1]:.3g} to {p[-1][1]:.3g}" for name, p in series)
    return Chart(
        title=title,
        note=note,
        lines=lines,
        x_ticks=[Tick(place=100 * x / end, text=f"{x:g}") for x in ticks(0, end)],
        y_ticks=[Tick(place=100 * (high - y) / (high - low), text=f"{y:g}") for y in ticks(low, high)],
        marks=[Tick(place=min(100 * x / end, 100), text=text) for x, text in marks],
        label=f"{title}: {told}, over {end:g} thousand pictures",
    )


def ticks(low: float, high: float) -> list[float]:
    """Returns three to six round numbers between two."""
    rough = (high - low) / 4
    scale = 10 ** math.floor(math.log10(rough))
    step = next(size * scale for size in (1, 2, 5, 10) if size * scale >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]


def from_zero(series: Sequence[tuple[str, Points]]) -> tuple[float, float]:
    """Returns bounds for shares and ratios: from 0 to 1, or to the largest value."""
    return 0.0, max([1.0, *(y for _, points in series for _, y in points if math.isfinite(y))]) * 1.05


def thin(points: Points) -> Points:
    """Returns at most ``MOST`` points, each the mean of its neighbours."""
    size = math.ceil(len(points) / MOST)
    if size <= 1:
        return points
    groups = [points[k : k + size] for k in range(0, len(points), size)]
    return [(group[-1][0], math.fsum(y for _, y in group) / len(group)) for group in groups]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _path(points: Points, end: float, low: float, high: float) -> str:
    def place(x: float, y: float) -> str:
        clipped = min(max(y, low), high)
        return f"{WIDTH * x / end:.1f} {HEIGHT * (high - clipped) / (high - low):.1f}"

    first, *rest = (place(x, y) for x, y in points)
    if not rest:  # one point alone is a dash
        rest = [f"{float(first.split()[0]) + 4:.1f} {first.split()[1]}"]
    return f"M{first}" + "".join(f"L{point}" for point in rest)
