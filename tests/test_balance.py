"""The controller in closed form: signals in, verdicts, changes and sentences out."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from training.balance.controller import COOLDOWN, MOST_RETURNS, PATIENCE, WARM_UP, Controller, Decision
from training.balance.gap import ADA_KIMG, adapted_share, gap_factor
from training.balance.remedies import (
    LADDERS,
    MORE,
    Remedy,
    changed,
    gentler,
    ladder,
    next_remedy,
)
from training.balance.signals import WINDOW, Signals
from training.balance.verdicts import Verdict, verdict
from training.config import PRESETS, TrainConfig

CONFIG = TrainConfig(lr_g=2e-4, lr_d=2e-4, quality_kimg=0)
GOOD = Signals(
    health=0.5,
    real_accuracy=0.8,
    fake_accuracy=0.85,
    held_out_accuracy=0.78,
    overfit=0.05,
    gradient_g=1.0,
    spread_g=0.1,
    diversity=0.9,
    stride_d=0.01,
)
D_WINS = dataclasses.replace(
    GOOD, health=0.01, real_accuracy=1.0, fake_accuracy=1.0, held_out_accuracy=0.98, gradient_g=0.02
)
G_WINS = dataclasses.replace(GOOD, health=1.1, real_accuracy=0.5, fake_accuracy=0.48, held_out_accuracy=0.5)
BY_HEART = dataclasses.replace(GOOD, real_accuracy=0.99, held_out_accuracy=0.4, overfit=0.8)
REPEATING = dataclasses.replace(GOOD, diversity=0.1)
BROKEN = dataclasses.replace(GOOD, finite=False)


def play(controller: Controller, *windows: Signals, config: TrainConfig = CONFIG) -> list[Decision]:
    """Lets a controller see windows, and changes the settings as it says."""
    found = []
    for window in windows:
        decision = controller.observe(window, config, shown=10_000)
        if decision is not None:
            found.append(decision)
            config = changed(config, Remedy(dict(decision.changes), ""))
    return found


def warm(**options: bool) -> Controller:
    controller = Controller(**options)
    assert play(controller, *[GOOD] * (WARM_UP + PATIENCE)) == []
    return controller


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        (GOOD, Verdict.BALANCED),
        (D_WINS, Verdict.D_TOO_FAST),
        (G_WINS, Verdict.G_TOO_FAST),
        (BY_HEART, Verdict.D_OVERFITTING),
        (REPEATING, Verdict.COLLAPSING),
        (BROKEN, Verdict.DIVERGED),
        (dataclasses.replace(REPEATING, finite=False), Verdict.DIVERGED),
        (dataclasses.replace(GOOD, stride_d=0.3), Verdict.D_TOO_FAST),
        # A D that tells most pictures, and yet hardly says so, teaches G little.
        (dataclasses.replace(GOOD, health=0.97), Verdict.G_TOO_FAST),
        # A loss without a floor: accuracy alone tells.
        (dataclasses.replace(D_WINS, health=None), Verdict.D_TOO_FAST),
        (dataclasses.replace(G_WINS, health=None), Verdict.G_TOO_FAST),
        (dataclasses.replace(GOOD, health=None), Verdict.BALANCED),
        # Without held-out pictures nobody can tell what is known by heart.
        (dataclasses.replace(BY_HEART, held_out_accuracy=None, overfit=None), Verdict.BALANCED),
        # A loss at its floor while pictures are mistaken is no win.
        (dataclasses.replace(D_WINS, real_accuracy=0.9), Verdict.BALANCED),
    ],
)
def test_a_window_looks_like(window: Signals, wanted: Verdict) -> None:
    assert verdict(window, usual_diversity=0.9, before=Verdict.BALANCED) == wanted


def test_what_was_never_varied_does_not_collapse() -> None:
    start = dataclasses.replace(GOOD, diversity=0.1)
    assert verdict(start, usual_diversity=0.1, before=Verdict.BALANCED) == Verdict.BALANCED


def test_a_verdict_is_left_later_than_it_is_found() -> None:
    between = dataclasses.replace(D_WINS, health=0.2)
    assert verdict(between, usual_diversity=0.9, before=Verdict.BALANCED) == Verdict.BALANCED
    assert verdict(between, usual_diversity=0.9, before=Verdict.D_TOO_FAST) == Verdict.D_TOO_FAST
    better = dataclasses.replace(D_WINS, health=0.3)
    assert verdict(better, usual_diversity=0.9, before=Verdict.D_TOO_FAST) == Verdict.BALANCED


def test_a_balanced_game_is_left_alone() -> None:
    assert play(Controller(), *[GOOD] * 200) == []


def test_the_start_is_not_judged() -> None:
    assert play(Controller(), *[D_WINS] * WARM_UP) == []


def test_one_window_is_no_finding() -> None:
    assert play(warm(), *[D_WINS] * (PATIENCE - 1), GOOD, *[D_WINS] * (PATIENCE - 1)) == []


def test_a_win_of_d_halves_its_rate_and_says_why() -> None:
    [decision] = play(warm(), *[D_WINS] * PATIENCE)
    assert decision.verdict == Verdict.D_TOO_FAST
    assert decision.changes == {"lr_d": 1e-4}
    assert decision.action == "lr_d=0.0001"
    assert decision.sentence == (
        "D wins: it tells 99 % of held-out pictures from fakes and G's gradient fell to 2 % of its usual "
        "size; D's learning rate is now half, 0.0001."
    )


@pytest.mark.parametrize("window", [D_WINS, dataclasses.replace(GOOD, stride_d=0.2)])
def test_a_rate_of_d_far_above_g_s_becomes_g_s(window: Signals) -> None:
    [decision] = play(
        warm(), *[window] * PATIENCE, *[GOOD] * 3, config=dataclasses.replace(CONFIG, lr_d=0.004)
    )[:1]
    assert decision.changes == {"lr_d": 2e-4}
    assert decision.sentence.endswith(" D's learning rate is now G's, 0.0002.")


def test_a_change_is_left_to_work_before_the_next() -> None:
    controller = warm()
    assert len(play(controller, *[D_WINS] * PATIENCE)) == 1
    assert play(controller, *[D_WINS] * (COOLDOWN - 1)) == []
    assert len(play(controller, D_WINS)) == 1


def test_the_ladder_is_climbed_while_nothing_helps_and_ends() -> None:
    found = play(warm(), *[D_WINS] * 40 * COOLDOWN)
    tried = [name for decision in found for name in decision.changes]
    assert tried[:6] == ["lr_d", "translate", "loss", "lr_d", "r1", "lr_d"]
    assert "d_every" not in tried
    assert found[-1].sentence.endswith("; nothing is left to try.")
    rates = [decision.changes["lr_d"] for decision in found if "lr_d" in decision.changes]
    assert rates == [1e-4, 5e-5, 2.5e-5]


def test_balance_is_told_once_when_it_is_back() -> None:
    found = play(warm(), *[D_WINS] * PATIENCE, *[GOOD] * 50)
    assert [decision.verdict for decision in found] == [Verdict.D_TOO_FAST, Verdict.BALANCED]
    assert found[1].sentence == "The game is in balance again: D tells 82 % of pictures rightly."
    assert not found[1].changes


def test_pictures_learned_by_heart_are_changed_more() -> None:
    [decision] = play(warm(), *[BY_HEART] * PATIENCE)
    assert decision.changes == {"translate": 0.125}
    assert decision.sentence.startswith(
        "D learns pictures by heart: it calls 99 % of those it learns from real, but 40 % of held-out ones; "
    )


def test_an_outplayed_d_learns_faster() -> None:
    [decision] = play(warm(), *[G_WINS] * PATIENCE)
    assert decision.changes == {"lr_d": 4e-4}
    assert decision.sentence == (
        "D is outplayed: its loss is 110 % of the way to where it tells nothing; "
        "D's learning rate is now double, 0.0004."
    )


def test_a_d_narrower_than_g_is_widened_first() -> None:
    config = dataclasses.replace(CONFIG, spec=dataclasses.replace(CONFIG.spec, ndf=6))
    [decision] = play(warm(), *[G_WINS] * PATIENCE, config=config)
    assert decision.changes == {"ndf": 66}
    assert decision.sentence.endswith(
        "; D is now 11 times as wide (ndf 66) and begins with the same judgement."
    )


def test_a_rate_of_d_far_below_g_s_becomes_g_s() -> None:
    slow = dataclasses.replace(G_WINS, stride_d=0.0005)
    [decision] = play(warm(), *[slow] * PATIENCE, config=dataclasses.replace(CONFIG, lr_d=1e-5))
    assert decision.changes == {"lr_d": 2e-4}
    assert decision.sentence.endswith("; D's learning rate is now G's, 0.0002.")


def test_no_rate_is_given_to_d_that_would_make_it_stride() -> None:
    nearly = dataclasses.replace(G_WINS, stride_d=0.03)
    [decision] = play(warm(), *[nearly] * PATIENCE)
    assert decision.changes == {"g_every": 2}


SILENT = dataclasses.replace(G_WINS, health=0.99)


def test_a_d_that_has_not_begun_to_speak_is_given_a_tenth_of_the_run() -> None:
    controller = Controller()
    early = [controller.observe(SILENT, PRESETS["best"], shown=99_000) for _ in range(20 * COOLDOWN)]
    [told] = [decision for decision in early if decision]
    assert not told.changes
    assert told.sentence.endswith(
        "its loss is 99 % of the way to where it tells nothing; it is given time to begin."
    )
    late = controller.observe(SILENT, PRESETS["best"], shown=100_000)
    assert late is not None
    assert late.changes == {"lr_d": 8e-4}


@pytest.mark.parametrize("lacking", [{"lr_d": 1e-4}, {"spec": dataclasses.replace(CONFIG.spec, ndf=32)}])
def test_a_d_that_lacks_rate_or_width_is_not_waited_for(lacking: dict[str, Any]) -> None:
    found = play(Controller(), *[SILENT] * (WARM_UP + 1), config=dataclasses.replace(CONFIG, **lacking))
    assert [bool(decision.changes) for decision in found] == [True]


def test_a_d_that_has_spoken_and_is_outplayed_is_not_waited_for() -> None:
    [decision] = play(Controller(), *[SILENT] * WARM_UP, *[GOOD] * PATIENCE, *[SILENT] * PATIENCE)
    assert decision.changes == {"lr_d": 4e-4}


@pytest.mark.parametrize(("pictures", "found"), [(8, False), (25, False), (128, True)])
def test_a_lead_of_pictures_learned_must_be_no_chance(pictures: int, found: bool) -> None:
    window = dataclasses.replace(
        GOOD, real_accuracy=0.7, held_out_accuracy=0.5, overfit=0.8, held_out=pictures
    )
    looks = verdict(window, usual_diversity=0.9, before=Verdict.BALANCED)
    assert looks == (Verdict.D_OVERFITTING if found else Verdict.BALANCED)


def test_a_long_run_leaves_a_change_to_work_for_longer() -> None:
    long = dataclasses.replace(CONFIG, kimg=10_000)
    controller = warm()
    play(controller, *[D_WINS] * PATIENCE, config=long)
    windows = round(0.03 * long.total_steps / WINDOW)
    assert windows > 5 * COOLDOWN
    assert play(controller, *[D_WINS] * (windows - 1), config=long) == []
    assert len(play(controller, D_WINS, config=long)) == 1


def test_a_stride_is_shortened_at_once_and_until_it_is_none() -> None:
    """What it did to D is not undone by a lower rate, so the run goes back."""
    rates, controller = CONFIG, Controller()
    for wanted in (1e-4, 5e-5, 2.5e-5, 1.25e-5):
        [decision] = play(controller, dataclasses.replace(GOOD, stride_d=0.2), config=rates)
        assert decision.go_back
        assert decision.changes == {"lr_d": wanted}
        assert decision.sentence.startswith(
            "D takes strides: each step moves its weights by 20 % of their size; "
        )
        rates = changed(rates, Remedy(dict(decision.changes), ""))
    assert play(controller, GOOD, config=rates) == []


def test_a_collapse_goes_back_with_gentler_rates_and_other_chances() -> None:
    [decision] = play(warm(), *[REPEATING] * PATIENCE)
    assert decision.go_back
    assert decision.changes == {"lr_g": 1e-4, "lr_d": 1e-4, "stream": 1}
    assert decision.sentence.startswith(
        "Samples repeat: they are 10 % as varied as real pictures; the run goes"
    )


def test_a_number_lost_goes_back_at_once_and_not_for_ever() -> None:
    found = play(Controller(), *[BROKEN] * 20)
    assert [decision.go_back for decision in found[:MOST_RETURNS]] == [True] * MOST_RETURNS
    assert [decision.changes["stream"] for decision in found[:MOST_RETURNS]] == [1, 2, 3, 4, 5]
    assert not any(decision.go_back for decision in found[MOST_RETURNS:])
    assert "going back 5 times did not help" in found[MOST_RETURNS].sentence


def test_who_only_watches_changes_nothing() -> None:
    for windows in (D_WINS, G_WINS, BY_HEART, REPEATING, BROKEN):
        [decision] = play(warm(act=False), *[windows] * 10 * COOLDOWN)
        assert not decision.changes
        assert not decision.go_back
        assert ";" not in decision.sentence


def test_a_remembered_controller_goes_on_as_one_that_never_stopped() -> None:
    windows = [*[GOOD] * 12, *[D_WINS] * 25, *[GOOD] * 5, *[REPEATING] * 9, BROKEN, *[G_WINS] * 30]
    whole = play(Controller(), *windows)
    assert len(whole) > 4
    controller, found, config = Controller(), [], CONFIG
    for window in windows:
        controller = Controller(standing=json.loads(json.dumps(controller.state())))
        decision = controller.observe(window, config, shown=10_000)
        if decision is not None:
            found.append(decision)
            config = changed(config, Remedy(dict(decision.changes), ""))
    assert found == whole


@pytest.mark.parametrize("found", LADDERS)
def test_every_rung_changes_settings_and_says_so(found: Verdict) -> None:
    config, taken, words = CONFIG, 0, set()
    for _ in range(60):
        step = next_remedy(ladder(found, everything=True), config, 10_000, taken)
        if step is None:
            break
        remedy, taken = step
        assert changed(config, remedy) != config
        config = changed(config, remedy)
        words.add(remedy.words)
    assert len(words) >= len(set(LADDERS[found] + MORE[found]))


def test_what_did_not_help_is_left_out_unless_asked_for() -> None:
    tried = {name for d in play(warm(everything=True), *[D_WINS] * 400) for name in d.changes}
    assert {"gap_aware", "d_every", "loss"} <= tried


def test_widening_doubles_d() -> None:
    assert changed(CONFIG, Remedy({"ndf": 128}, "")).spec.ndf == 128


def test_gentler_is_half_with_another_stream() -> None:
    assert gentler(CONFIG).changes == {"lr_g": 1e-4, "lr_d": 1e-4, "stream": 1}


@pytest.mark.parametrize(
    ("health", "wanted"),
    [(1.0, 1.0), (1.05, 2**0.5), (1.5, 2.0), (1e6, 2.0), (0.95, 0.1**0.5), (0.9, 0.1), (0.0, 0.1)],
)
def test_the_gap_sets_d_s_rate_as_in_the_paper(health: float, wanted: float) -> None:
    assert gap_factor(health) == pytest.approx(wanted)


def test_the_share_of_changed_pictures_follows_d_s_confidence() -> None:
    assert adapted_share(0.5, sign=0.9, target=0.6, kimg=ADA_KIMG / 10) == pytest.approx(0.6)
    assert adapted_share(0.5, sign=0.1, target=0.6, kimg=ADA_KIMG / 10) == pytest.approx(0.4)
    assert adapted_share(0.99, sign=0.9, target=0.6, kimg=ADA_KIMG / 10) == 1.0
    assert adapted_share(0.01, sign=0.1, target=0.6, kimg=ADA_KIMG / 10) == 0.0


def test_the_controller_needs_no_torch() -> None:
    code = "import sys, training.balance.controller, training.balance.gap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
