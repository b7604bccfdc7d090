"""The benchmark's own parts: what wrk prints, what the generator sends, the servers that it starts."""

import dataclasses
import http.server
import io
import json
import math
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from conftest import TOY_SPEC
from PIL import Image

from bench import cached, load, overload, serve
from bench.load import LoadError, Requests, measure, measure_one, parse, percentile
from bench.raw import Plan, RawEngine, Speed
from bench.report import Figure, figures_table, number, table
from bench.rounds import Sample, median_ratio
from bench.server import Server, ServerError, free_port, seedling
from models.contract import latents

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk"
)

MICROSECONDS = """\
Running 2s test @ http://127.0.0.1:8997/half
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    60.64us   99.19us   3.78ms   99.50%
    Req/Sec    34.93k     3.81k   38.20k    85.00%
  Latency Distribution
     50%   50.00us
     75%   55.00us
     90%   72.00us
     99%  125.00us
  69360 requests in 2.00s, 2.65MB read
  Non-2xx or 3xx responses: 34680
Requests/sec:  34667.99
Transfer/sec:      1.32MB
"""

MIXED = """\
Running 2s test @ http://127.0.0.1:8997/fast
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   816.66us    5.09ms  56.23ms   97.75%
    Req/Sec    31.72k     6.36k   38.44k    80.95%
  Latency Distribution
     50%   51.00us
     75%   64.00us
     90%   87.00us
     99%   33.81ms
  66195 requests in 2.10s, 2.53MB read
Requests/sec:  31521.32
Transfer/sec:      1.20MB
"""

SECONDS = """\
Running 33s test @ http://127.0.0.1:54685
  1 threads and 64 connections
drained
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.38s   994.19ms   4.31s    86.11%
    Req/Sec    59.32     71.25   292.00     84.00%
  Latency Distribution
     50%  987.61ms
     75%    1.38s 
     90%    3.54s 
     99%    4.26s 
  180 requests in 4.42s, 5.35MB read
Requests/sec:     40.71
Transfer/sec:      1.21MB
"""  # noqa: W291  (wrk's own blanks)

BROKEN = """\
Running 2s test @ http://127.0.0.1:8997/break
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   134.49us  165.15us   4.65ms   93.81%
    Req/Sec    12.91k     1.78k   16.14k    57.14%
  Latency Distribution
     50%   89.00us
     75%  189.00us
     90%  256.00us
     99%  426.00us
  26965 requests in 2.10s, 1.20MB read
  Socket errors: connect 0, read 4494, write 0, timeout 0
Requests/sec:  12842.57
Transfer/sec:    587.36KB
"""

THREADS = """\
answers: {"sent": 7, "answered": 7, "began": 10.000000, "ended": 12.000000, "statuses": {"200": 5, "429": 2}, "late_ms": [1.5, 2.5]}
answers: {"sent": 6, "answered": 4, "began": 10.100000, "ended": 12.500000, "statuses": {"200": 4}, "late_ms": [3.5]}
"""  # noqa: E501  (as load.lua prints it)


# --- What wrk prints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "requests", "seconds", "percentiles_ms"),
    [
        (MICROSECONDS, 69360, 2.0, [0.05, 0.072, 0.125]),
        (MIXED, 66195, 2.1, [0.051, 0.087, 33.81]),
        (SECONDS, 180, 4.42, [987.61, 3540, 4260]),
    ],
)
def test_a_report_is_read_whatever_its_units(
    output: str, requests: int, seconds: float, percentiles_ms: list[float]
) -> None:
    result = parse(output, generator_s=0.42)
    assert result.requests == requests
    assert result.seconds == pytest.approx(seconds)
    assert [result.p50_ms, result.p90_ms, result.p99_ms] == pytest.approx(percentiles_ms)
    assert result.generator_cores == pytest.approx(0.42 / seconds)


def test_answers_with_an_error_status_are_not_good() -> None:
    result = parse(MICROSECONDS)
    assert result.failed == 34680
    assert result.good_per_s == pytest.approx(34680 / 2)


def test_broken_connections_are_counted() -> None:
    assert parse(BROKEN).socket_errors == 4494
    assert parse(MIXED).socket_errors == 0


def test_connections_that_the_server_closed_when_all_was_answered_are_no_errors() -> None:
    assert parse(BROKEN + THREADS).socket_errors == 0


def test_the_counts_of_all_threads_are_added() -> None:
    result = parse(MICROSECONDS + THREADS)
    assert result.statuses == {"200": 9, "429": 2}
    assert (result.requests, result.unanswered) == (11, 2)
    assert result.seconds == pytest.approx(2.5)
    assert result.ok_ms == (1.5, 2.5, 3.5)


@pytest.mark.parametrize("output", ["", "unable to connect", MIXED.replace("99%", "98%")])
def test_output_that_is_no_report_is_an_error(output: str) -> None:
    with pytest.raises(LoadError, match="no report"):
        parse(output)


def test_percentiles_are_values_that_were_there() -> None:
    hundred = list(range(100, 0, -1))
    assert [percentile(hundred, p) for p in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([7.0], 99) == 7
    assert percentile([], 99) == 0


# --- What the generator sends -------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that notes what it is asked; yields its address and the notes."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            asked.append(self.path)
            self._answer()

        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            assert self.headers["Content-Type"] == "application/json"
            self._answer()

        def _answer(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Listener(http.server.ThreadingHTTPServer):
        request_queue_size = 256  # of connections not yet accepted; the default of 5 refuses some

    with Listener(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@needs_wrk
def test_no_seed_is_asked_for_twice(listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    connections = load.THREAD_CONNECTIONS + 2  # two threads of wrk, each with numbers of its own
    for _ in range(2):
        result = measure(url, Requests(path="/images/%d.png"), connections, 0.3)
        assert result.requests == result.statuses["200"] > 0
        assert (result.unanswered, result.socket_errors, result.failed) == (0, 0, 0)
    assert all(re.fullmatch(r"/images/\d+\.png", path) for path in asked)
    assert len(set(asked)) == len(asked)


@needs_wrk
def test_requests_of_several_pictures_share_none(listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    result = measure(url, Requests(path="/generate", body='{"seed": %d, "count": 64}', count=64), 4, 0.3)
    seeds = sorted(json.loads(body)["seed"] for body in asked)
    assert len(seeds) == result.requests > 1
    assert min(np.diff(seeds)) >= 64


@needs_wrk
def test_a_fixed_rate_is_kept_to(listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    result = measure(url, Requests(path="/%d"), 8, 1.0, per_second=50)
    assert result.requests == len(asked) == 50
    assert 0.9 < result.seconds < 3


# --- A real service -----------------------------------------------------------------------------------


@needs_wrk
def test_the_service_is_measured(service: httpx.Client) -> None:
    url = str(service.base_url).rstrip("/")
    result = measure(url, Requests(path="/images/%d.png"), 4, 0.5)
    assert result.statuses == {"200": result.requests}
    assert len(result.ok_ms) == result.requests  # every answer named the seed that it was asked for
    assert 0 < result.p50_ms <= result.p99_ms
    assert 0 < result.generator_cores < 2


@needs_wrk
def test_refusals_are_told_by_status(service: httpx.Client) -> None:
    url = str(service.base_url).rstrip("/")
    requests = Requests(path="/generate", body='{"seed": %d, "count": 65}', count=65)
    result = measure(url, requests, 2, 0.2)
    assert result.statuses == {"422": result.requests}
    assert result.failed == result.requests > 0
    assert result.good_per_s == 0


@needs_wrk
def test_one_address_is_asked_for_with_its_headers(service: httpx.Client) -> None:
    url = str(service.base_url.join("/generate"))
    result = measure_one(url, 2, 1)
    assert result.failed == result.requests > 0  # 405: it wants a POST


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


@needs_wrk
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
    layout = {"lanes": 2, "threads": 1, "batch_sizes": [1, 4]}
    description = {"provider": "cpu", "layout": layout, "spec": dataclasses.asdict(TOY_SPEC)}
    plan = Plan.of(toy_model, description)
    assert (plan.batch, plan.z_dim) == (4, TOY_SPEC.z_dim)
    with RawEngine(plan) as raw:
        speed = raw.measure(0.2)
    assert speed.pictures_per_s > 0
    assert 0 < speed.alone_ms < 200


# --- Whole commands -----------------------------------------------------------------------------------


@needs_wrk
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


@needs_wrk
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
    return Sample(parse(MIXED), Speed(pictures_per_s=raw_per_s, alone_ms=1.0), pictures_per_s)


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


def test_tables_are_markdown() -> None:
    assert table(("", "a"), [("x", "1")]) == "|  | a |\n| --- | --: |\n| x | 1 |"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (math.inf, "∞")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text
