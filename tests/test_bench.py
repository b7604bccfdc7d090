"""The benchmarks of the service: the servers that they start, whole commands, their tables."""

import dataclasses
import importlib.metadata
import io
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from conftest import TOY_SPEC
from PIL import Image

from bench import cached, overload, serve
from bench.load import Result
from bench.raw import Plan, RawEngine, Speed
from bench.report import Figure, figures_table, machine, number, table
from bench.rounds import Sample, median_ratio
from bench.server import Server, ServerError, free_port, seedling
from models.contract import latents

# --- A real service -----------------------------------------------------------------------------------


def test_without_wrk_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert serve.main([]) == 2
    assert overload.main([]) == 2
    assert capsys.readouterr().err.count("apt-get install wrk") == 2


@pytest.fixture(scope="module")
def plain(toy_model: Path) -> Iterator[Server]:
    """The plain peer, with the toy model."""
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.plain", str(toy_model), str(port)]
    with Server(command, port, "/images/0.png") as server:
        yield server


def test_the_plain_peer_answers_the_seed_s_picture(plain: Server, toy_model: Path) -> None:
    session = ort.InferenceSession(toy_model, providers=["CPUExecutionProvider"])
    [[wanted]] = session.run(["images"], {"z": latents([42], TOY_SPEC.z_dim)})
    with Image.open(io.BytesIO(plain.get("/images/42.png"))) as img:
        assert img.format == "PNG"
        assert np.array_equal(np.asarray(img), wanted)


@pytest.mark.usefixtures("wrk")
def test_repeats_count_the_server_s_processor_time(plain: Server) -> None:
    [one] = cached.repeat(plain, {"picture": []}, rounds=1, seconds=1)["picture"]
    assert one.result.failed == 0
    assert one.per_core_s > 0


def test_a_server_without_304s_is_not_measured_as_if_it_had_them(plain: Server) -> None:
    with pytest.raises(ServerError, match=r"answered 200 .* expected 304"):
        cached.kinds_of(plain)


def test_a_server_s_memory_and_processor_time_are_read(plain: Server) -> None:
    before = plain.cpu_seconds()
    for seed in range(40):
        plain.get(f"/images/{seed}.png")
    assert 0 < plain.cpu_seconds() - before < 60
    assert 20 < plain.memory_mb() <= plain.memory_mb("VmHWM") < 2000


def test_a_server_is_stopped_with_its_children() -> None:
    child = "import time; time.sleep(600)"
    port = free_port()
    code = f"""
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
http.server.HTTPServer(("127.0.0.1", {port}), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
    with Server([sys.executable, "-c", code], port, "/") as server:
        family = server.processes()
        assert len(family) == 2
    deadline = time.monotonic() + 10
    while any(_is_alive(pid) for pid in family):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


def test_a_server_that_ends_shows_its_last_words() -> None:
    with pytest.raises(ServerError, match="no such model"):
        Server([sys.executable, "-c", "raise SystemExit('no such model')"], free_port(), "/")


def test_the_raw_engine_runs_in_a_process_of_its_own(toy_model: Path) -> None:
    layout = {"lanes": 2, "threads": 1, "alone_threads": 2, "batch_sizes": [1, 4]}
    description = {"provider": "cpu", "layout": layout, "spec": dataclasses.asdict(TOY_SPEC)}
    plan = Plan.of(toy_model, description)
    assert (plan.alone_threads, plan.batch, plan.z_dim) == (2, 4, TOY_SPEC.z_dim)
    with RawEngine(plan) as raw:
        speed = raw.measure(0.2)
    assert speed.pictures_per_s > 0
    assert 0 < speed.alone_ms < 200


@pytest.mark.parametrize(("threads", "alone_threads", "more"), [(2, 2, 1), (1, 3, 2)])
def test_a_caller_alone_has_the_threads_that_the_service_gives_it(
    toy_model: Path, threads: int, alone_threads: int, more: int
) -> None:
    """A session of n threads starts n - 1 beside the one that calls it."""
    layout = {"lanes": 2, "threads": threads, "alone_threads": alone_threads}
    assert count_threads(toy_model, **layout) - count_threads(toy_model, threads=1, alone_threads=1) == more


def count_threads(model: Path, *, threads: int, alone_threads: int, lanes: int = 1) -> int:
    """Counts the threads of a raw engine that waits."""
    plan = Plan(
        model=model,
        provider="cpu",
        lanes=lanes,
        threads=threads,
        alone_threads=alone_threads,
        batch=4,
        z_dim=TOY_SPEC.z_dim,
    )
    with RawEngine(plan) as raw:
        return len(list(Path(f"/proc/{raw._process.pid}/task").iterdir()))


# --- Whole commands -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("wrk")
def test_serve_prints_a_table_and_writes_its_json(
    toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(toy_model), "--rounds", "1", "--seconds", "0.2", "--peers", "fastapi"]
    assert serve.main([*words, "--json", str(tmp_path / "all.json")]) == 0
    printed = capsys.readouterr().out
    for name in (
        "raw engine",
        "service, 64 connections",
        "count 64 as zip",
        "plain FastAPI ",
    ):
        assert f"| {name}" in printed
    content = json.loads((tmp_path / "all.json").read_text())
    [ours, plain] = content["servers"]
    for server in (ours, plain):
        for samples in server["samples"].values():
            assert [sample["unanswered"] for sample in samples] == [0]
            assert all(sample["pictures_per_s"] > 0 for sample in samples)
    assert {figure["name"] for figure in content["figures"]} >= {"most memory, MB"}


@pytest.mark.usefixtures("wrk")
def test_overload_counts_every_answer(toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "UNLOADED_S", 0.2)
    with seedling({"SEEDLING_MODEL": str(toy_model)}) as ours:
        assert set(cached.kinds_of(ours)) == {"cached picture", "304"}
        seen = overload.overload(ours, seconds=1.0, factor=2.0, deadline_ms=2000)
    assert set(seen.during.statuses) <= {"200", "429"}
    assert (seen.others, seen.during.unanswered) == (0, 0)
    assert len(seen.during.ok_ms) == seen.during.statuses["200"]
    assert seen.most_per_s > 0
    assert min(seen.ready_ms) > 0
    assert len(overload.figures_of(seen, 2000)) == 6


def test_a_peer_that_nobody_knows_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.parse_arguments(["--peers", "fastapi,gradio"])
    assert "got 'fastapi,gradio', expected all, none or some of fastapi," in capsys.readouterr().err
    assert serve.parse_arguments(["--peers", "none"]).peers == []


def test_a_peer_that_is_not_installed_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = serve.parse_arguments(["--peers", "fastapi"])
    absent = dataclasses.replace(arguments.peers[0], name="Absent", needs="seedling-absent")
    arguments.peers.append(absent)
    [found] = serve.installed_peers(arguments)
    assert re.fullmatch(r"plain FastAPI \d+\.\d+\.\d+", found.name)
    assert capsys.readouterr().out.startswith("Absent: not installed in ")


# --- Tables -------------------------------------------------------------------------------------------


def sample(pictures_per_s: float, raw_per_s: float) -> Sample:
    """A slice of load beside a slice of the raw engine."""
    result = Result(
        requests=1, seconds=1, p50_ms=1, p90_ms=1, p99_ms=1, failed=0, socket_errors=0, generator_cores=0
    )
    return Sample(result, Speed(pictures_per_s=raw_per_s, alone_ms=1.0), pictures_per_s)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that becomes ten times slower between two rounds changes no ratio."""
    ours, theirs = [sample(200, 250), sample(20, 25)], [sample(100, 250), sample(10, 25)]
    assert median_ratio(ours, theirs, lambda s: s.pictures_per_s) == 2
    assert [s.share for s in ours] == [0.8, 0.8]


@pytest.mark.parametrize(
    ("value", "at_least", "reached"),
    [
        (0.9, True, True),
        (0.8999, True, False),
        (0.9, False, True),
        (0.9001, False, False),
        (math.inf, False, False),
    ],
)
def test_a_figure_is_reached_at_its_bound(value: float, reached: bool, *, at_least: bool) -> None:
    figure = Figure(name="share", value=value, wanted=0.9, at_least=at_least)
    assert figure.reached is reached
    assert figures_table([figure]).endswith("| yes |" if reached else "| no |")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with onnxruntime-gpu, where the module is there and no distribution of its name."""
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in {"onnxruntime", "pillow"}:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    packages = machine()["packages"]
    assert packages["onnxruntime"] == ort.__version__
    assert packages["pillow"] is None
    assert packages["numpy"] == np.__version__


def test_tables_are_markdown() -> None:
    assert table(("", "a"), [("x", "1")]) == "|  | a |\n| --- | --: |\n| x | 1 |"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (math.inf, "∞")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
