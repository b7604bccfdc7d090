"""Writes ``report.html``: one file that needs nothing but a browser."""

import base64
import datetime as dt
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from training.config import ConfigError, TrainConfig
from training.durations import tell_duration
from training.losses import make_loss
from training.report.again import again
from training.report.charts import Chart, draw, from_zero
from training.report.looks import FRAMES, Looks, frame, spread
from training.report.story import Points, Story, full_name
from training.report.verdict import verdict

REPORT_FILE = "report.html"

FIGURES = {
    "fd": "Fréchet distance",
    "kd": "Kernel distance",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "diversity": "Diversity",
    "novelty": "Novelty",
}
"""Figures of quality by the name that they have in a report."""


def environment() -> Environment:
    """Returns what fills the templates of this package."""
    loader = PackageLoader("training.report", "")
    return Environment(
        loader=loader,
        autoescape=select_autoescape(("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_report(story: Story, looks: Looks | None) -> Path:
    """Writes the report into the run's folder, where it replaces the one before at once.

    Args:
        story: The run.
        looks: What its generator draws; None where no checkpoint was kept.

    Returns:
        The file.
    """
    file = story.folder / REPORT_FILE
    partial = file.with_suffix(".partial")
    partial.write_text(render(story, looks), encoding="utf-8")
    partial.replace(file)
    return file


def render(story: Story, looks: Looks | None) -> str:
    """Returns the report as HTML."""
    package = files("training.report")
    script, style = (package.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("js", "css"))
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            story=story,
            looks=looks,
            sentences=verdict(story),
            facts=facts(story),
            balance=_balance(story),
            quality=_quality(story),
            losses=_losses(story),
            frames=_frames(story),
            command=again(story.config, story.data),
            settings=_settings(story),
            made=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            script=Markup(script),  # noqa: S704 - our own file, whose hash is the only one that the page lets run
            style=Markup(style),  # noqa: S704 - the like
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def facts(story: Story) -> list[tuple[str, str]]:
    """Returns what matters most, as names and values."""
    last, best = story.last, story.best
    found = [
        (title, f"{best.values[name]:.4g}")
        for figure, title in FIGURES.items()
        if figure in {"fd", "recall", "diversity", "novelty"} and best and (name := full_name(best, figure))
    ]
    found.append(("Training pictures", f"{story.data.get('pictures', 0):,}"))
    found.append(("Pictures shown", f"{story.kimg * 1000:,.0f}"))
    if last and last.seconds:
        found.append(("Time in steps", tell_duration(last.seconds)))
        found.append(("Pictures a second", f"{last.shown / last.seconds:,.3g}"))
    return found


def health(story: Story) -> Points:
    """Returns D's loss as a share of the way from its floor to equilibrium; nothing where it has no floor."""
    found = story.scalar("balance/health")
    if found:
        return found
    try:
        loss = make_loss(TrainConfig.from_dict(story.config))
    except ConfigError:
        return []
    if loss.floor is None:
        return []
    floor, way = loss.floor, loss.equilibrium - loss.floor
    return [(kimg, (value - floor) / way) for kimg, value in story.scalar("loss_d")]


def _balance(story: Story) -> Chart | None:
    marks = [(event.shown / 1000, event.sentence) for event in story.events]
    return draw(
        "Health of the game",
        "1: the two are equal; near 0: the discriminator tells everything",
        [("health", health(story))],
        story.kimg,
        bounds=(0.0, 1.2),
        marks=marks,
    )


def _quality(story: Story) -> list[Chart]:
    end = story.kimg
    best = story.best
    marks = [(best.shown / 1000, "the best")] if best else []

    def lines(*names: str) -> list[tuple[str, Points]]:
        return [(FIGURES[name], story.figure(name)) for name in names]

    dense, varied = lines("density", "coverage"), lines("diversity", "novelty")
    charts = [
        draw("Fréchet distance", "lower is better", lines("fd"), end, marks=marks),
        draw(
            "Precision and recall",
            "plausible, and of all kinds",
            lines("precision", "recall"),
            end,
            bounds=(0, 1),
        ),
        draw("Density and coverage", "the same, less easily misled", dense, end, bounds=from_zero(dense)),
        draw("Diversity and novelty", "about 1 is good", varied, end, bounds=from_zero(varied)),
    ]
    return [chart for chart in charts if chart]


def _losses(story: Story) -> list[Chart]:
    end = story.kimg

    def lines(**names: str) -> list[tuple[str, Points]]:
        return [(title, story.scalar(name)) for name, title in names.items()]

    logits = lines(real_logit="real pictures", fake_logit="grown pictures")
    charts = [
        draw("Losses", "of both networks", lines(loss_d="discriminator", loss_g="generator"), end),
        draw("What D says", "mean logits: real is up", logits, end),
    ]
    return [chart for chart in charts if chart]


def _frames(story: Story) -> list[tuple[str, str]]:
    """Returns the sheets over time: addresses and captions."""
    sheets = story.sheets
    return [
        (frame(story.folder / sheets[k].file), f"after {sheets[k].shown:,} pictures")
        for k in spread(len(sheets), FRAMES)
    ]


def _settings(story: Story) -> list[tuple[str, str]]:
    plain = {**story.config.get("spec", {}), **story.config}
    return [(name, str(value)) for name, value in plain.items() if name != "spec"]
