"""What should cost little: pictures grown before, 304s, start and memory (``bench.serve --cached``)."""

import argparse
import http.client
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench import report
from bench.load import Result, measure_one
from bench.report import Figure, number
from bench.server import Server, ServerError, free_port, seedling
from bench.start import start_once

CONNECTIONS = 64
STARTS = 5
PATH = "/images/42.png"


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """One slice of requests for the same picture."""

    result: Result
    per_core_s: float
    """Good answers for each second of processor time that the server took."""


def run(arguments: argparse.Namespace) -> None:
    """Measures, prints the tables and writes the JSON."""
    machine = report.machine()
    settings = {"SEEDLING_MODEL": str(arguments.model)}
    with seedling(settings) as service:
        repeats = repeat(service, kinds_of(service), arguments.rounds, arguments.seconds)
        memory_mb = service.memory_mb("VmHWM")
    starts = [_start(settings) for _ in range(STARTS)]
    ready_s, _, start_mb = (statistics.median(column) for column in zip(*starts, strict=True))
    figures = [
        *(
            Figure(
                name=f"{kind}: requests/s a core",
                value=_median(some, lambda one: one.per_core_s),
                wanted=5000,
            )
            for kind, some in repeats.items()
        ),
        Figure(name="start to ready, s", value=ready_s, wanted=1.5, at_least=False),
        Figure(name="most memory, MB", value=max(memory_mb, start_mb), wanted=400, at_least=False),
    ]
    _print_table(repeats)
    print("\n" + report.figures_table(figures))
    whole = {kind: [asdict(one) for one in some] for kind, some in repeats.items()}
    content = {"machine": machine, "repeats": whole, "starts": starts}
    report.write_json(arguments.json, content, figures)


def repeat(
    service: Server, kinds: Mapping[str, Sequence[str]], rounds: int, seconds: float
) -> dict[str, list[Repeat]]:
    """Asks for one picture again and again.

    Args:
        service: The service.
        kinds: Header lines of each kind of request, by its name.
        rounds: Slices of each kind, taking turns.
        seconds: Length of a slice, rounded.

    Returns:
        The slices of each kind.
    """
    repeats: dict[str, list[Repeat]] = {kind: [] for kind in kinds}
    for kind, headers in list(kinds.items()) * rounds:
        before = service.cpu_seconds()
        result = measure_one(service.url + PATH, CONNECTIONS, max(1, round(seconds)), headers)
        used = service.cpu_seconds() - before
        good = result.requests - result.failed
        repeats[kind].append(Repeat(result=result, per_core_s=good / used))
    return repeats


def kinds_of(service: Server) -> dict[str, list[str]]:
    """Asks for the picture, which puts it in the cache; returns the header lines of each kind of request."""
    client = http.client.HTTPConnection(service.host, service.port)
    client.request("GET", PATH)
    answer = client.getresponse()
    answer.read()
    etag = answer.getheader("ETag", "")
    client.request("GET", PATH, headers={"If-None-Match": etag})
    again = client.getresponse()
    client.close()
    if again.status != http.HTTPStatus.NOT_MODIFIED:
        raise ServerError(f"the service answered {again.status} to its own ETag {etag!r}, expected 304")
    return {"cached picture": [], "304": [f"If-None-Match: {etag}"]}


def _start(settings: Mapping[str, str]) -> tuple[float, float, float]:
    """Starts the service once; returns seconds to ready, its memory then, and the most, in MB."""
    port = free_port()
    return start_once(os.environ | settings | {"SEEDLING_PORT": str(port)}, port)


def _median(some: Sequence[Repeat], value: Callable[[Repeat], float]) -> float:
    return statistics.median(map(value, some))


def _print_table(repeats: Mapping[str, Sequence[Repeat]]) -> None:
    heads = (f"{CONNECTIONS} connections", "requests/s", "requests/s a core", "p50 ms", "p99 ms", "failed")
    columns: tuple[Callable[[Repeat], float], ...] = (
        lambda one: one.result.good_per_s,
        lambda one: one.per_core_s,
        lambda one: one.result.p50_ms,
        lambda one: one.result.p99_ms,
    )
    rows = [
        (
            kind,
            *(number(_median(some, column)) for column in columns),
            str(sum(one.result.failed + one.result.socket_errors for one in some)),
        )
        for kind, some in repeats.items()
    ]
    print(report.table(heads, rows))
