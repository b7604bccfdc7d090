"""The number of copies, what they cost, and the page that tells of it."""

import json
import math
import re
import shlex
from pathlib import Path

import httpx
import pytest

from bench import capacity, predicted
from bench.capacity import Demand, plan
from bench.copies import Copy, CopyError, read_bench
from bench.load import Requests, measure
from bench.queueing import Lanes

PAGE = Path("docs/scale.md")
COPY = Copy(name="two processors", lanes=Lanes.of(100, lanes=2, at_once=1), price=0.36)


def test_copies_are_the_fewest_that_keep_to_their_share() -> None:
    one = plan(COPY, Demand(rate=350, peak=2), use=0.7, zones=1, timeout_s=2)
    assert (one.copies, one.left, one.busy) == (10, 10, 0.7)
    assert one.cost == pytest.approx(10 * 0.36 / 3600 / 350 * 1e6)


def test_a_zone_that_fails_leaves_copies_enough() -> None:
    one = plan(COPY, Demand(rate=350, peak=2), use=0.7, zones=3, timeout_s=2)
    assert (one.copies, one.left) == (15, 10)
    assert one.busy == pytest.approx(700 / 1500)


def test_what_a_cache_answers_takes_no_copies() -> None:
    one = plan(COPY, Demand(rate=1000, peak=2, hits=0.95), use=0.5, zones=1, timeout_s=2)
    assert one.copies == 2
    idle = plan(COPY, Demand(rate=1000, hits=0.9999), use=0.5, zones=1, timeout_s=2)
    assert idle.copies == 1


def test_too_few_copies_refuse_what_they_cannot_do() -> None:
    one = plan(COPY, Demand(rate=200), use=2.0, zones=1, timeout_s=1)
    assert one.copies == 1
    assert one.degraded.share == pytest.approx(0.5, abs=0.03)
    assert one.degraded.percentile_ms(99) <= 1000


def test_a_machine_is_read_from_a_running_service(service: httpx.Client) -> None:
    layout = service.get("/v1/models").json()["data"][0]["layout"]
    url = str(service.base_url).rstrip("/")
    copy = Copy.parse(f"toy:url={url},price=2,queue=64")
    assert copy.name == "toy"
    assert copy.lanes.pictures_per_s == pytest.approx(layout["pictures_per_s"])
    assert (copy.lanes.lanes, copy.lanes.largest) == (layout["lanes"], layout["batch_sizes"][-1])
    assert (copy.lanes.max_queue, copy.price) == (64, 2)


def test_a_machine_is_read_from_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "overload.json"
    slices = {"before": {"requests": 1010, "failed": 10, "seconds": 10}}
    slices["after"] = {"requests": 2000, "failed": 0, "seconds": 10}
    file.write_text(json.dumps({"overload": slices}))
    assert read_bench(file) == {"rate": 150}
    samples = {
        "service, 64 connections": [{"pictures_per_s": rate} for rate in (170, 178, 190)],
        "service, 1 connection": [{"p50_ms": 11.8}],
    }
    plan = {"lanes": 2, "threads": 2, "batch": 4, "provider": "cpu"}
    content = {"machine": {"cpus": 2}, "plan": plan, "servers": [{"samples": samples}]}
    file.write_text(json.dumps(content))
    figures = {"rate": 178, "alone": 11.8, "lanes": 2, "batch": 4}
    assert read_bench(file) == figures | {"at_once": 1}, "two lanes of two threads share two processors"
    file.write_text(json.dumps(content | {"plan": plan | {"provider": "cuda"}}))
    assert read_bench(file) == figures
    file.write_text('{"figures": []}')
    with pytest.raises(CopyError, match="figures"):
        read_bench(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cpu:rat=3", "'rat'"),
        ("cpu:price=3", "just one of"),
        ("cpu:rate=fast", "numbers"),
        ("cpu:rate=0", "above 0"),
        ("cpu", "keys"),
    ],
)
def test_a_machine_that_is_not_described_is_an_error(
    text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capacity.main(["--machine", text, "--rate", "1"]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--rate", "0"], ["--use", "-1"], ["--hits", "1.1"], ["--zones", "0"]])
def test_what_makes_no_sense_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        capacity.main(["--machine", "cpu:rate=100", "--rate", "1", *words])
    assert end.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_cache_of_everything_leaves_a_copy_idle() -> None:
    one = plan(COPY, Demand(rate=100, hits=1), use=0.7, zones=1, timeout_s=2)
    assert (one.copies, one.busy) == (1, 0)
    assert one.degraded.percentile_ms(99) == pytest.approx(10)


def shown() -> list[tuple[str, str]]:
    """Returns each command of the page that needs no service, and what the page has after it."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.finditer(
        r"^```sh\n(python -m bench\.capacity --machine cpu.*?)\n```\n", text, re.MULTILINE | re.DOTALL
    )
    return [(block[1].replace("\\\n", " "), text[block.end() :].strip()) for block in blocks]


@pytest.mark.parametrize(("command", "page"), shown())
def test_the_tables_of_the_page_are_what_its_commands_print(
    command: str, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capacity.main(shlex.split(command)[3:]) == 0
    printed = capsys.readouterr().out.strip()
    assert page[: len(printed)] == printed


def test_the_page_shows_commands() -> None:
    assert len(shown()) >= 3


@pytest.mark.usefixtures("wrk")
def test_requests_come_at_random_at_their_rate(service: httpx.Client) -> None:
    url = str(service.base_url).rstrip("/")
    requests = Requests(path="/images/%d.png")
    result = measure(url, requests, 64, 2, per_second=200, arrivals="poisson")
    sent = result.requests + result.unanswered
    assert abs(sent - 400) < 5 * math.sqrt(400)


@pytest.mark.usefixtures("wrk")
def test_the_check_runs_both(
    toy_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(predicted, "CALIBRATION_S", 0.5)
    monkeypatch.setattr(predicted, "ALONE_S", 0.5)
    file = tmp_path / "check.json"
    words = ["--check", "--model", str(toy_model), "--seconds", "1", "--rate", "20", "--json", str(file)]
    assert capacity.main(words) == 0
    [row] = json.loads(file.read_text(encoding="utf-8"))["check"]["compared"]
    assert row["rate"] == pytest.approx(20, abs=5 * math.sqrt(20))
    assert row["measured"]["share"] > 0
    assert row["simulated"]["share"] > 0
    assert "ms alone" in capsys.readouterr().out
