"""The generator of load: what wrk prints, what it sends, a real service measured by it."""

import http.server
import json
import re
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from bench import load
from bench.load import LoadError, Requests, measure, measure_one, parse, percentile

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


@pytest.mark.usefixtures("wrk")
def test_no_seed_is_asked_for_twice(listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    connections = load.THREAD_CONNECTIONS + 2  # two threads of wrk, each with numbers of its own
    for _ in range(2):
        result = measure(url, Requests(path="/images/%d.png"), connections, 0.3)
        assert result.requests == result.statuses["200"] > 0
        assert (result.unanswered, result.socket_errors, result.failed) == (0, 0, 0)
    assert all(re.fullmatch(r"/images/\d+\.png", path) for path in asked)
    assert len(set(asked)) == len(asked)


@pytest.mark.usefixtures("wrk")
def test_requests_of_several_pictures_share_none(listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    result = measure(url, Requests(path="/generate", body='{"seed": %d, "count": 64}', count=64), 4, 0.3)
    seeds = sorted(json.loads(body)["seed"] for body in asked)
    assert len(seeds) == result.requests > 1
    assert min(np.diff(seeds)) >= 64


@pytest.mark.usefixtures("wrk")
def test_a_fixed_rate_is_kept_to(listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    result = measure(url, Requests(path="/%d"), 8, 1.0, per_second=50)
    assert result.requests == len(asked) == 50
    assert 0.9 < result.seconds < 3


# --- A real service -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("wrk")
def test_the_service_is_measured(service: httpx.Client) -> None:
    url = str(service.base_url).rstrip("/")
    result = measure(url, Requests(path="/images/%d.png"), 4, 0.5)
    assert result.statuses == {"200": result.requests}
    assert len(result.ok_ms) == result.requests  # every answer named the seed that it was asked for
    assert 0 < result.p50_ms <= result.p99_ms
    assert 0 < result.generator_cores < 2


@pytest.mark.usefixtures("wrk")
def test_refusals_are_told_by_status(service: httpx.Client) -> None:
    url = str(service.base_url).rstrip("/")
    requests = Requests(path="/generate", body='{"seed": %d, "count": 65}', count=65)
    result = measure(url, requests, 2, 0.2)
    assert result.statuses == {"422": result.requests}
    assert result.failed == result.requests > 0
    assert result.good_per_s == 0


@pytest.mark.usefixtures("wrk")
def test_one_address_is_asked_for_with_its_headers(service: httpx.Client) -> None:
    url = str(service.base_url.join("/generate"))
    result = measure_one(url, 2, 1)
    assert result.failed == result.requests > 0  # 405: it wants a POST
