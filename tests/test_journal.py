"""The run's journal: written line by line, read again, cut back by a resumed run."""

import json
import math
from pathlib import Path

import pytest

from training.journal import JOURNAL_FILE, Event, Journal, Metrics, Scalars, Sheet, read_journal


def scalars(step: int, **values: float) -> Scalars:
    return Scalars(step=step, shown=step * 4, seconds=step / 2, values=values)


ENTRIES = [
    scalars(1, loss_d=1.25, loss_g=0.5),
    Metrics(step=2, shown=8, seconds=1.0, values={"fd_efficientnet_lite0_20_of_16": 300.5}),
    Event(step=3, shown=12, seconds=1.5, verdict="D too fast", action="lr_d", sentence="D’s loss is low."),
    Sheet(step=4, shown=16, seconds=2.0, file="samples/000000016.png"),
]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for entry in ENTRIES:
            journal.write(entry)
            assert read_journal(tmp_path)[-1] == entry  # at once, not at the end
    assert read_journal(tmp_path) == ENTRIES
    kinds = [json.loads(line)["kind"] for line in (tmp_path / JOURNAL_FILE).read_text().splitlines()]
    assert kinds == ["scalars", "metrics", "event", "sheet"]


def test_a_value_that_is_no_number_is_still_json(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write(scalars(1, loss_d=math.inf, loss_g=math.nan))
    [line] = (tmp_path / JOURNAL_FILE).read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail)["values"] == {"loss_d": None, "loss_g": None}
    [entry] = read_journal(tmp_path)
    assert isinstance(entry, Scalars)
    assert math.isnan(entry.values["loss_d"])


def test_a_resumed_run_drops_what_its_checkpoint_has_not_seen(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for entry in ENTRIES:
            journal.write(entry)
    with Journal(tmp_path, step=2) as journal:
        journal.write(scalars(3, loss_d=1.0))
    assert read_journal(tmp_path) == [*ENTRIES[:2], scalars(3, loss_d=1.0)]


@pytest.mark.parametrize("torn", ['{"kind": "scal', '{"kind": "scalars", "step": 9}', "\x00\x00"])
def test_a_torn_last_line_costs_that_line_alone(tmp_path: Path, torn: str) -> None:
    with Journal(tmp_path) as journal:
        journal.write(ENTRIES[0])
    with (tmp_path / JOURNAL_FILE).open("a") as file:
        file.write(torn)
    assert read_journal(tmp_path) == ENTRIES[:1]
    with Journal(tmp_path, step=1) as journal:
        journal.write(ENTRIES[1])
    assert read_journal(tmp_path) == ENTRIES[:2]


def test_what_another_version_wrote_is_passed_over(tmp_path: Path) -> None:
    lines = [{"kind": "weather", "step": 1}, {"kind": "event", "step": 1, "shown": 4, "seconds": 1.0}, [1]]
    (tmp_path / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_journal(tmp_path) == []


def test_a_folder_without_a_journal_has_no_entries(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == []
