"""A run that fits a time: what follows from it, and that it ends with a model, its card and its report."""

import dataclasses
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_CONFIG, TOY_DATA
from noise import save_noise
from PIL import Image

from export.files import read
from training.best import choose_checkpoint
from training.budget import CHECKPOINTS, Budget
from training.cadence import RunOptions, passed
from training.checkpoint import Checkpoint, load_checkpoint
from training.config import ConfigError, TrainConfig
from training.distributed import World
from training.durations import parse_duration, tell_duration
from training.finish import finish
from training.flags import build_parser
from training.judge import Judge
from training.loop import Trainer
from training.machine_speed import TIMED_STEPS, Speed, measure_speed, take_steps
from training.opening import begin, open_budget
from training.run import Run
from training.train import carry_out

CPU = torch.device("cpu")

FAST = Speed(trained=10_000, judged=3_000, finalised=0.2)
SLOW = Speed(trained=30, judged=25, finalised=8.0)


@pytest.mark.parametrize(
    ("text", "seconds", "told"),
    [
        ("25m", 1500, "25 min"),
        ("1h30m", 5400, "1 h 30 min"),
        ("90s", 90, "90 s"),
        ("150S", 150, "2 min 30 s"),
        ("2h", 7200, "2 h"),
    ],
)
def test_times_are_read_and_told(text: str, seconds: float, told: str) -> None:
    assert parse_duration(text) == seconds
    assert tell_duration(seconds) == told


@pytest.mark.parametrize("text", ["", "25", "m", "0s", "1.5h", "30m1h", "-5m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="as 25m, 1h30m or 90s, got"):
        parse_duration(text)


@pytest.mark.parametrize("minutes", [5, 30, 240])
def test_checkpoints_are_saved_where_there_is_a_sheet(minutes: int) -> None:
    budget = Budget(60 * minutes)
    config = budget.fit(TrainConfig(), SLOW, 4_000, set())
    steps = range(config.batch_size, round(config.kimg * 1000), config.batch_size)
    sheets, checkpoints = (
        {n for n in steps if passed(config.kimg / count, n, config.batch_size)}
        for count in (budget.sheets, CHECKPOINTS)
    )
    assert checkpoints <= sheets
    assert len(checkpoints) >= CHECKPOINTS - 1


def test_the_length_follows_from_time_and_speed() -> None:
    budget = Budget(1500)
    config = budget.fit(TrainConfig(), FAST, 4_000, set())
    assert 0.85 * 15_000 < config.kimg < 15_000 * (1 - budget.reserve / 1500)
    assert config.ema_half_life_kimg == 20
    assert config.quality_samples == 2000
    assert 4 <= config.kimg / config.quality_kimg <= 26
    assert (config.lr_decay_from, config.translate) == (0.6, 0.125)
    longer = Budget(3000).fit(TrainConfig(), FAST, 4_000, set())
    assert longer.kimg > 1.9 * config.kimg


def test_a_slow_machine_measures_fewer_pictures() -> None:
    config = Budget(3600).fit(TrainConfig(), SLOW, 4_000, set())
    assert config.quality_samples == 500
    assert config.kimg < 3.6 * 30
    assert config.ema_half_life_kimg == pytest.approx(0.02 * config.kimg, rel=0.01)


def test_where_there_is_no_time_to_measure_none_is_promised() -> None:
    budget = Budget(180)
    config = budget.fit(TrainConfig(), dataclasses.replace(SLOW, finalised=1.0), 4_000, set())
    assert config.quality_kimg == 0
    assert "no time to measure quality" in budget.describe(config, SLOW)


@pytest.mark.parametrize("seconds", [120, 540, 1500, 36_000])
@pytest.mark.parametrize("judged", [1, 25, 3_000])
@pytest.mark.parametrize("finalised", [0.1, 20])
def test_a_plan_is_either_one_to_train_by_or_refused(seconds: float, judged: float, finalised: float) -> None:
    speed = Speed(trained=100, judged=judged, finalised=finalised)
    try:
        config = Budget(seconds).fit(TrainConfig(), speed, 10_000, set())
    except ConfigError as error:
        assert seconds == 120
        assert "give more" in str(error)  # noqa: PT017
    else:
        assert 0.1 * 0.2 * seconds <= config.kimg <= 0.1 * seconds
        assert config.quality_kimg == 0 or config.kimg / config.quality_kimg <= 25.2


def test_pictures_that_are_hardly_seen_twice_need_no_augmentation() -> None:
    recipe = dataclasses.replace(TrainConfig(), translate=0.0625)
    assert Budget(1500).fit(recipe, SLOW, 20_000, set()).translate == 0
    assert Budget(1500).fit(recipe, FAST, 20_000, set()).translate > 0


def test_what_was_asked_for_stays() -> None:
    recipe = dataclasses.replace(TrainConfig(), translate=0.03, ema_half_life_kimg=3.0, quality_kimg=0.0)
    config = Budget(1500).fit(recipe, FAST, 4_000, {"translate", "ema_half_life_kimg", "quality_kimg"})
    assert (config.translate, config.ema_half_life_kimg, config.quality_kimg) == (0.03, 3.0, 0.0)


def test_too_little_time_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"of 20 s only .* would be left for training"):
        Budget(20).fit(TrainConfig(), FAST, 4_000, set())


def test_the_length_is_set_anew_by_the_speed_so_far() -> None:
    budget = Budget(1000, started=time.monotonic() - 100)
    assert budget.length(0) is None  # nothing known yet
    budget._first = (time.monotonic() - 100, 0)
    budget._next_look = 0.0
    kimg = budget.length(20_000)  # 200 pictures/s, 900 s less the reserve to go
    assert kimg == pytest.approx(20 + 0.2 * (900 - budget.reserve), rel=0.01)
    assert budget.length(20_200) is None  # not at every step
    assert Budget(10, started=time.monotonic() - 10).length(5_000) == 5  # the time is over


def test_the_parts_of_a_run_share_its_time() -> None:
    budget = Budget(100, spent=60)
    assert 60 <= budget.spent < 70
    assert budget.training_left < 40


def test_a_run_whose_heads_join_later_is_as_long_as_both_speeds_allow() -> None:
    speed = Speed(trained=40, aided=20, judged=25)
    assert speed.kimg(500, alone=16) == 16 + 20 * 100 / 1000
    assert speed.kimg(300, alone=16) == 12
    assert dataclasses.replace(speed, aided=0.0).kimg(500, alone=16) == 20


def test_heads_begin_after_two_fifths_of_the_pictures_unless_a_time_is_given() -> None:
    speed = Speed(trained=400, aided=200, judged=2500)
    recipe = TrainConfig(vision_aided=0.5)
    config = Budget(3600).fit(recipe, speed, 4_000, set())
    assert config.vision_aided_from_kimg == pytest.approx(0.4 * config.kimg, rel=0.01)
    short = Budget(900).fit(recipe, speed, 4_000, set())
    assert short.vision_aided_from_kimg == 2000 * recipe.batch_size / 1000
    asked = dataclasses.replace(recipe, vision_aided_from_kimg=10.0)
    config = Budget(3600).fit(asked, speed, 4_000, {"vision_aided_from_kimg"})
    assert config.vision_aided_from_kimg == 10


def test_the_length_that_follows_the_speed_knows_that_heads_slow_it() -> None:
    budget = Budget(1000)
    config = budget.fit(
        TrainConfig(vision_aided=0.5), Speed(trained=2000, aided=500, judged=2e5), 4_000, set()
    )
    budget.length(0)
    began, _ = budget._first
    budget._first = (began - 60, 0)  # as if a minute had passed since, at the speed that was measured
    budget._next_look = 0.0
    alone = config.vision_aided_from_kimg
    left = budget.training_left - 1000 * alone / 2000 + 60
    assert budget.length(120_000) == pytest.approx(alone + 0.5 * left, rel=0.01)


def test_work_that_was_lost_is_no_slow_work() -> None:
    budget = Budget(1000, started=time.monotonic() - 600)
    budget.length(0)
    budget._first = (time.monotonic() - 500, 0)
    budget.length(100_000)
    assert budget.length(0) is None  # gone back to the start
    began, shown = budget._first
    budget._first, budget._next_look = (began - 10, shown), 0.0  # as if ten seconds had passed since
    kimg = budget.length(2_000)  # 200 pictures/s
    assert kimg == pytest.approx(2 + 0.2 * (400 - budget.reserve), rel=0.01)


def test_a_run_without_a_plan_keeps_as_much_for_its_end_as_one_with() -> None:
    planned, other = Budget(1500), Budget(1500)
    aided = dataclasses.replace(SLOW, aided=15)
    config = planned.fit(dataclasses.replace(TrainConfig(), vision_aided=0.5), aided, 4_000, set())
    other.keep_end(config, aided, 4_000)
    wanted = planned.state()
    assert wanted["reserve"] > 18 + 2 * config.quality_samples / SLOW.judged
    assert other.state() == wanted | {"spent": pytest.approx(wanted["spent"], abs=1)}


def test_a_length_beside_a_time_is_refused() -> None:
    args = build_parser().parse_args(["--budget", "25m", "--kimg", "5"])
    with pytest.raises(ConfigError, match="leave out --kimg"):
        open_budget(args)


@pytest.mark.parametrize(
    ("words", "seconds", "spent"),
    [
        (["--resume", "somewhere"], 1500, 60),
        (["--resume", "somewhere", "--budget", "10m"], 600, 0),
        (["--out", "somewhere", "--continue", "--budget", "25m"], 1500, 60),  # begun by the same command
    ],
)
def test_a_resumed_run_keeps_what_its_budget_has_learned(
    toy_checkpoint: Checkpoint, words: list[str], seconds: float, spent: float
) -> None:
    budget = Budget(1500, spent=60)
    aided = dataclasses.replace(SLOW, aided=15)
    budget.fit(dataclasses.replace(TrainConfig(), vision_aided=0.5), aided, 4_000, set())
    parts = json.loads(json.dumps({"budget": budget.state()}))
    checkpoint = dataclasses.replace(toy_checkpoint, parts=parts)
    args = build_parser().parse_args(words)
    args.started = time.monotonic()
    found = open_budget(args, checkpoint)
    assert found is not None
    assert (found.seconds, found.spent) == (seconds, pytest.approx(spent, abs=5))
    assert found.reserve > 18
    assert found.state() | parts["budget"] == found.state() | {
        "seconds": 1500,
        "spent": parts["budget"]["spent"],
    }


def test_a_machine_is_measured_by_what_a_run_does(toy_pixels: np.ndarray) -> None:
    speed = measure_speed(TOY_CONFIG, toy_pixels, CPU, 0.2)
    assert min(speed.trained, speed.judged, speed.finalised) > 0
    assert speed.aided == 0
    aided = dataclasses.replace(TOY_CONFIG, vision_aided=1.0)
    assert measure_speed(aided, toy_pixels, CPU, 0.2).aided > 0


def test_a_fast_machine_is_measured_by_a_few_steps(toy_pixels: np.ndarray) -> None:
    trainer = Trainer(TOY_CONFIG, toy_pixels, CPU)
    assert take_steps(trainer, seconds=3600.0) > 0
    assert trainer.step == TIMED_STEPS


def test_the_command_says_what_it_chose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_noise(20, tmp_path / "pictures", side=24)
    toy = [f"--{n.replace('_', '-')}={v}" for n, v in dataclasses.asdict(TOY_CONFIG.spec).items()]
    words = [
        "--budget=6m",
        "--dry-run",
        "--data",
        str(folder),
        "--no-check",
        "--device=cpu",
        "--batch-size=4",
    ]
    args = build_parser().parse_args([*words, *(flag for flag in toy if "channels" not in flag)])
    args.started = time.monotonic()
    run = begin(args, CPU, World())
    said = capsys.readouterr().out
    quality = "(quality every|no time to measure quality)"  # a machine that is busy has none
    chosen = rf"^6 min: about \S+ kimg at \S+ pictures/s, EMA half-life \S+ kimg, {quality}"
    assert re.search(chosen, said, re.MULTILINE)
    assert run.options.budget is not None
    assert run.trainer.config.kimg > 1
    assert f"about {run.trainer.config.kimg:g} kimg" in said


@pytest.fixture(scope="module")
def finished(toy_pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of some seconds, planned to be far longer than its time."""
    root = tmp_path_factory.mktemp("budget")
    config = dataclasses.replace(TOY_CONFIG, kimg=50, quality_kimg=0.4, quality_samples=20)
    trainer = Trainer(config, toy_pixels, CPU)
    budget = Budget(12)
    budget.reserve = 0.0
    options = RunOptions(folder=root / "run", budget=budget)
    carry_out(Run(trainer, TOY_DATA, options, judge=Judge(toy_pixels, 20, CPU, root / "cache")))
    return root / "run"


def test_a_run_ends_when_its_time_does(finished: Path) -> None:
    checkpoint = load_checkpoint(finished)
    assert checkpoint.parts["budget"]["seconds"] == 12
    assert checkpoint.step == checkpoint.config.total_steps
    assert checkpoint.config.kimg < 50


def test_it_ends_with_a_model_its_card_and_its_report(finished: Path) -> None:
    name = "fd_efficientnet_lite0_20_of_32"
    _, card = read(finished / "model.onnx")
    assert card.metrics[name] == load_checkpoint(choose_checkpoint(finished).folder).metrics[name]
    text = (finished / "README.md").read_text()
    value, low, high = re.findall(rf"\| `{name}` \| (\S+) \| (\S+) to (\S+) \|", text)[0]
    assert float(low) < float(value) < float(high)
    assert float(value) == pytest.approx(card.metrics[name], rel=1e-3)
    assert "32 pictures: noise" in text
    with Image.open(finished / "sheet.png") as sheet:
        assert sheet.size == (128, 128)
    assert "Finished" in (finished / "report.html").read_text()


def test_an_export_that_fails_says_what_to_do(toy_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (toy_run / "model.onnx").mkdir()
    assert finish(toy_run, "toy", None) is None
    assert "the export failed: error: cannot write" in caplog.text
    assert f"by hand: {sys.executable} -m export.to_onnx" in caplog.text
