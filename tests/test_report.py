"""The report of a run: what it says, and that a real browser shows it from the disk alone."""

import dataclasses
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import TOY_CONFIG, TOY_DATA
from playwright.sync_api import Browser, Page, expect

from models.contract import SeedlingError
from training.cadence import RunOptions
from training.config import TrainConfig
from training.flags import build_parser, configure
from training.journal import Event, Journal, Metrics
from training.judge import Judge
from training.loop import Trainer
from training.report.again import again
from training.report.charts import MOST, draw, thin, ticks
from training.report.looks import look, spread
from training.report.page import health, render, write_report
from training.report.story import read_story
from training.report.verdict import verdict
from training.run import Run

CPU = torch.device("cpu")
FD = "fd_efficientnet_lite0_20_of_32"

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def run(toy_pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was measured, with an event that tries to be markup."""
    root = tmp_path_factory.mktemp("report")
    config = dataclasses.replace(TOY_CONFIG, kimg=0.048, quality_kimg=0.016, quality_samples=20)
    trainer = Trainer(config, toy_pixels, CPU)
    judge = Judge(toy_pixels, 20, CPU, root / "cache")
    done = Run(trainer, TOY_DATA, RunOptions(folder=root / "run", sheets=6), judge=judge)
    assert done.train()
    with Journal(root / "run", step=trainer.step) as journal:
        sentence = "D’s loss fell to its floor <script>alert(1)</script>, so its rate was halved."
        now = {"step": trainer.step, "shown": done.shown, "seconds": done.seconds}
        journal.write(Event(**now, verdict="D too fast", action="lr_d", sentence=sentence))
    write_report(read_story(root / "run"), look(trainer.final_generator(), judge))
    return root / "run"


def with_metrics(folder: Path, *values: float, best: int, **more: float) -> Path:
    """Writes a journal of measured distances; the best has a checkpoint's description, and nothing else."""
    folder.mkdir(parents=True)
    settings = {
        "config": dataclasses.replace(TOY_CONFIG, kimg=0.004 * len(values)).to_dict(),
        "data": TOY_DATA,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    with Journal(folder) as journal:
        for step, value in enumerate(values, start=1):
            figures = {FD: value} | {f"{name}_efficientnet_lite0_20_of_32": v for name, v in more.items()}
            journal.write(Metrics(step=step, shown=4 * step, seconds=float(step), values=figures))
    kept = folder / "checkpoints" / f"step-{best:08d}"
    kept.mkdir(parents=True)
    (kept / "checkpoint.json").write_text(f'{{"metrics": {{"{FD}": {values[best - 1]}}}}}')
    return folder


# --- What it says -------------------------------------------------------------------------------------


def test_the_verdict_says_how_it_went(tmp_path: Path) -> None:
    better = verdict(read_story(with_metrics(tmp_path / "a", 300, 200, 100, best=3, diversity=0.9)))
    assert better[0].startswith(
        "Finished: 12 pictures shown in 3 s of training; the best generator, after 12,"
    )
    assert "a Fréchet distance of 100" in better[0]
    assert better[1:] == ["It was still getting better (50% since the measurement before): train for longer."]
    worse = verdict(read_story(with_metrics(tmp_path / "b", 300, 100, 200, best=2)))
    assert "After that it got worse, to 200" in worse[1]
    level = verdict(read_story(with_metrics(tmp_path / "c", 300, 100, 100, best=3)))
    assert level[1:] == ["It had all but stopped getting better."]


def test_a_measurement_a_moment_before_the_end_does_not_say_that_nothing_gets_better(tmp_path: Path) -> None:
    folder = with_metrics(tmp_path / "run", *[200] * 39, 100, 100, best=41)
    assert "still getting better (50% since" in verdict(read_story(folder))[1]
    bad = verdict(read_story(with_metrics(tmp_path / "d", 3, 1, 1, best=3, diversity=0.2, novelty=0.1)))
    assert ["repeat" in said or "close to single ones" in said for said in bad[2:]] == [True, True]


def test_health_is_measured_from_the_loss_s_floor(run: Path) -> None:
    story = read_story(run)
    kimg, loss = story.scalar("loss_d")[0]
    floor = -2 * (0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert health(story)[0] == pytest.approx((kimg, (loss - floor) / (math.log(4) - floor)))


def test_the_command_takes_the_run_again() -> None:
    config = dataclasses.replace(TOY_CONFIG, mirror=True, loss="hinge", kimg=12.5)
    words = shlex.split(again(config.to_dict(), {"source": "my pictures", "count": 500}))
    assert words[:3] == ["python", "-m", "training.train"]
    args = build_parser().parse_args(words[3:])
    assert (args.data, args.count) == ("my pictures", 500)
    assert configure(args) == config
    assert (
        configure(build_parser().parse_args(shlex.split(again(TrainConfig().to_dict(), {}))[3:]))
        == TrainConfig()
    )


def test_axes_have_round_numbers_and_lines_few_points() -> None:
    assert ticks(0, 1) == [0, 0.5, 1] or ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(83, 412) == [100, 200, 300, 400]
    points = [(float(k), float(k % 2)) for k in range(10_000)]
    thinned = thin(points)
    assert len(thinned) <= MOST
    assert thinned[-1][0] == 9_999
    assert all(0.4 < y < 0.6 for _, y in thinned)
    assert spread(3, 40) == [0, 1, 2]
    assert (spread(1000, 40)[0], spread(1000, 40)[-1], len(set(spread(1000, 40)))) == (0, 999, 40)


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert draw("Empty", "", [("a", []), ("b", [(1.0, math.nan)])], 10) is None
    chart = draw("One", "", [("a", [(1.0, 2.0)]), ("gone", [])], 10)
    assert chart is not None
    assert [line.name for line in chart.lines] == ["a"]
    assert draw("Flat", "", [("a", [(1.0, 0.0), (2.0, 0.0)])], 10) is not None


def test_an_old_run_without_a_journal_has_a_report(run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    (old / "log.jsonl").unlink()
    shutil.rmtree(old / "checkpoints")
    html = render(read_story(old), None)
    assert "No checkpoint was kept" in html
    assert "after 48 pictures" in html
    with pytest.raises(SeedlingError, match="is no run"):
        read_story(tmp_path)


def test_the_command_writes_it_anew(run: Path) -> None:
    (run / "report.html").rename(run / "kept.html")
    command = [sys.executable, "-m", "training.report", run, "--no-neighbours"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (run / "kept.html").replace(run / "report.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run / 'report.html'}\n"


# --- In a browser -------------------------------------------------------------------------------------


@pytest.fixture
def visit(browser: Browser, run: Path) -> Iterator[Visit]:
    """Opens the report from the disk; no test may leave an error on its console, or ask for anything else."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_report(**options: object) -> Page:
        page = browser.new_context(**options).new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith("data:") else complaints.append(asked.url),
        )
        page.goto((run / "report.html").as_uri())
        pages.append(page)
        return page

    yield open_report
    for page in pages:
        page.context.close()
    assert [said for said in complaints if not said.endswith("report.html")] == []


def test_the_slider_goes_through_time_by_mouse_and_keys(visit: Visit) -> None:
    page = visit()
    slider = page.get_by_label("Sheet")
    shown = page.locator("#frames img:visible")
    expect(page.locator("#caption")).to_have_text("after 48 pictures")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#caption")).to_have_text("after 0 pictures")
    expect(shown).to_have_count(1)
    expect(shown).to_have_attribute("alt", "24 pictures after 0 pictures")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#caption")).to_have_text("after 8 pictures")
    slider.fill("2")
    expect(page.locator("#caption")).to_have_text("after 16 pictures")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#caption")).to_have_text("after 48 pictures")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_everything_of_a_run_is_shown(visit: Visit) -> None:
    page = visit()
    expect(page.locator(".verdict")).to_contain_text("Finished: 48 pictures shown")
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    wanted = ["Through time", "Balance", "Quality", "Losses", "What it draws", "Does it copy?", "Again"]
    assert headings == wanted
    expect(page.locator(".events li")).to_contain_text("<script>alert(1)</script>, so its rate was halved")
    expect(page.locator(".pairs li")).to_have_count(12)
    expect(page.get_by_role("img", name="Fréchet distance: ")).to_be_visible()
    widths = page.evaluate("[...document.images].filter(i => !i.hidden).map(i => i.naturalWidth)")
    assert min(widths) > 0
    page.get_by_text("All settings").click()
    expect(page.locator(".settings")).to_contain_text("batch_size")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nobody_is_shut_out(visit: Visit, scheme: str, width: int) -> None:
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 900})
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
