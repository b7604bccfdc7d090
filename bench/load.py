"""Load from ``wrk``, an HTTP load generator in C: it leaves the cores to the server.

Counts are ours (``load.lua``): a slice sends for a time and then waits for its last answer, so that no work
is left out, however few and long the requests are. Percentiles are wrk's. It corrects them for what a slow
answer kept its connection from asking, so they are a little higher than those of the answers alone.
"""

import json
import random
import re
import resource
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

SCRIPT = Path(__file__).with_name("load.lua")
PATHS_SCRIPT = Path(__file__).with_name("paths.lua")
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
DRAIN_S = 30
"""How long the last answers may take; what has not answered by then never will."""
DRAINED = "drained\n"
"""What ``load.lua`` prints in each thread when its last answer is there."""
THREAD_CONNECTIONS = 128
"""Most connections of a thread of wrk: a thread looks at all its timers whenever anything happens."""

_PERCENTILE = re.compile(r"^ +(\d+)% +([\d.]+)(us|ms|s|m|h) *$", re.MULTILINE)
_TOTAL = re.compile(r"^ +(\d+) requests in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
_SOCKETS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_ANSWERS = re.compile(r"^answers: (.*)$", re.MULTILINE)


Arrivals = Literal["even", "poisson"]
"""How requests come at a given rate: evenly spaced, or at random."""


class LoadError(Exception):
    """The load generator is missing, or failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """How pictures are asked for; every request gets seeds that no request had before."""

    path: str
    """Path, with ``%d`` where the seed goes."""
    body: str = ""
    """JSON body with ``%d`` where the seed goes; a request without a body is a GET."""
    count: int = 1
    """Pictures in one answer."""
    headers: tuple[str, ...] = ()
    """Further header lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one slice of load saw."""

    requests: int
    """Answers, whatever their status."""
    seconds: float
    """From the first request to the last answer."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    failed: int
    """Answers with a status of 400 or more."""
    socket_errors: int
    """Connections refused or broken, and answers later than ``DRAIN_S``."""
    generator_cores: float
    """Processors that the generator itself kept busy."""
    unanswered: int = 0
    """Requests that had no answer ``DRAIN_S`` after the last was sent, or whose connection broke."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Answers by status; empty for ``measure_one``."""
    ok_ms: tuple[float, ...] = ()
    """Milliseconds to each answer of status 200 that named its seed."""

    @property
    def good_per_s(self) -> float:
        """Answers a second of a status below 400."""
        return (self.requests - self.failed) / self.seconds


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that at least ``percent`` percent of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


def measure(  # noqa: PLR0913 - what wrk can be told
    url: str,
    requests: Requests,
    connections: int,
    seconds: float,
    *,
    per_second: float = 0.0,
    arrivals: Arrivals = "even",
) -> Result:
    """Asks for pictures over a number of connections.

    Args:
        url: Scheme, host and port of the server.
        requests: What to ask for.
        connections: Connections, each with one request at a time.
        seconds: How long to send; the slice ends with the last answer.
        per_second: Requests a second, whether or not earlier ones were answered, while connections are
            free; 0 sends as fast as answers come.
        arrivals: Whether those are evenly spaced, or come at random.

    Raises:
        LoadError: If wrk is missing or failed.
    """
    # Below 2^53, which is as far as Lua's numbers count; the step keeps requests of many apart.
    first = random.randrange(2**52)
    threads = -(-connections // THREAD_CONNECTIONS)
    arguments = (requests.path, requests.body, first, requests.count, seconds, per_second, threads, arrivals)
    headers = [*requests.headers, *(["Content-Type: application/json"] if requests.body else [])]
    longest = int(seconds) + DRAIN_S
    options = ["--script", str(SCRIPT), *_headers(headers)]
    return _run([*options, url, "--", *map(str, arguments)], connections, longest, threads)


def measure_one(url: str, connections: int, seconds: int, headers: Sequence[str] = ()) -> Result:
    """Asks for one address again and again, which costs the generator least.

    Args:
        url: The whole address.
        connections: Connections, each with one request at a time.
        seconds: How long.
        headers: Header lines.

    Raises:
        LoadError: If wrk is missing or failed.
    """
    return _run([*_headers(headers), url], connections, seconds)


def measure_paths(url: str, paths: Path, connections: int, seconds: int) -> Result:
    """Asks for the addresses of a file, one a line, in their order.

    Args:
        url: Scheme, host and port of the server.
        paths: The file; after its end it begins again.
        connections: Connections, each with one request at a time.
        seconds: How long.

    Raises:
        LoadError: If wrk is missing or failed.
    """
    return _run(["--script", str(PATHS_SCRIPT), url, "--", str(paths)], connections, seconds)


def require_wrk() -> str:
    """Returns the path of wrk.

    Raises:
        LoadError: If it is not installed; says how to get it.
    """
    found = shutil.which("wrk")
    if not found:
        raise LoadError(
            "the load generator wrk is not installed: `apt-get install wrk` or `brew install wrk`"
        )
    return found


def parse(output: str, generator_s: float = 0.0) -> Result:
    """Reads what wrk printed, and the lines of ``load.lua`` if there are any.

    Args:
        output: All that wrk printed.
        generator_s: Processor time that wrk took, in seconds.

    Raises:
        LoadError: If it is not a whole report.
    """
    total = _TOTAL.search(output)
    found = {
        int(percent): float(value) * UNITS_MS[unit] for percent, value, unit in _PERCENTILE.findall(output)
    }
    if total is None or not {50, 90, 99} <= set(found):
        raise LoadError(f"wrk printed no report: {output[-500:]!r}")
    broken = _SOCKETS.search(output)
    connect, read, write, late = map(int, broken.groups()) if broken else (0, 0, 0, 0)
    refused = _REFUSED.search(output)
    threads = [json.loads(line) for line in _ANSWERS.findall(output)]
    seconds = float(total[2]) * UNITS_MS[total[3]] / 1000
    result = Result(
        requests=int(total[1]),
        seconds=seconds,
        p50_ms=found[50],
        p90_ms=found[90],
        p99_ms=found[99],
        failed=int(refused[1]) if refused else 0,
        # load.lua knows what had no answer; the other ends of a connection are the server's, which
        # closes it when nothing is asked any more.
        socket_errors=connect + write + late + (0 if threads else read),
        generator_cores=generator_s / seconds,
    )
    return _with_counts(result, threads) if threads else result


def _with_counts(result: Result, threads: Sequence[dict[str, Any]]) -> Result:
    """Adds what ``load.lua`` counted in each thread of wrk."""
    if not any(thread["answered"] for thread in threads):
        return replace(result, unanswered=sum(thread["sent"] for thread in threads))
    statuses: Counter[str] = Counter()
    for thread in threads:
        statuses.update(thread["statuses"])
    return replace(
        result,
        requests=statuses.total(),
        seconds=max(thread["ended"] for thread in threads) - min(thread["began"] for thread in threads),
        unanswered=sum(thread["sent"] - thread["answered"] for thread in threads),
        statuses=dict(sorted(statuses.items())),
        ok_ms=tuple(late for thread in threads for late in thread["late_ms"]),
    )


def _headers(lines: Sequence[str]) -> list[str]:
    return [word for line in lines for word in ("--header", line)]


def _run(arguments: Sequence[str], connections: int, seconds: int, threads: int = 1) -> Result:
    """Runs wrk for at most some seconds: less if ``load.lua`` says that all threads are done."""
    fixed = ["--threads", str(threads), "--connections", str(connections), "--duration", f"{seconds}s"]
    command = [require_wrk(), *fixed, "--timeout", f"{DRAIN_S}s", "--latency", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == DRAINED and lines.count(DRAINED) == threads:
                process.send_signal(signal.SIGINT)  # ends wrk's wait; it reports as at the end of its time
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise LoadError(f"{' '.join(command)} ended with code {process.returncode}: {''.join(lines)}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parse("".join(lines), used)
