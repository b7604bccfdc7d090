"""The loads of ``bench.serve``, and what is said of them: tables, shares and ratios."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import report
from bench.load import Requests
from bench.raw import Plan
from bench.report import Figure, number
from bench.rounds import Load, Sample, Samples, median_of, median_ratio

CONNECTIONS = (1, 16, 64, 256)
BUSY = 64
"""Connections at which servers are compared."""

IMAGE = Requests(path="/images/%d.png")
TYPES = {"PNG": "image/png", "zip": "application/zip", "JSON": "application/json"}
COUNTS = ((1, "PNG"), (16, "zip"), (64, "zip"), (64, "PNG"), (64, "JSON"))
COUNT_CONNECTIONS = 4
"""Connections for answers of several pictures: while one is packed and read, another's are grown."""


def single(name: str, requests: Requests, connections: int) -> Load:
    """Returns a load with a name that tells its connections."""
    label = f"{name}, {connections} connection{'s' if connections > 1 else ''}"
    return Load(name=label, requests=requests, connections=connections)


def several(count: int, form: str) -> Load:
    """Returns a load of ``POST /generate``."""
    body = f'{{"seed": %d, "count": {count}}}'
    requests = Requests(path="/generate", body=body, count=count, headers=(f"Accept: {TYPES[form]}",))
    return single(f"count {count} as {form}", requests, BUSY if count == 1 else COUNT_CONNECTIONS)


SINGLES = [single("service", IMAGE, connections) for connections in CONNECTIONS]
SEVERALS = [several(count, form) for count, form in COUNTS]
ALONE, BUSIEST = SINGLES[0], SINGLES[CONNECTIONS.index(BUSY)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured of one server."""

    name: str
    loads: Sequence[Load]
    samples: Samples
    """Of each load, one a round; of a peer, our service's at ``BUSY`` connections as well."""
    ready_s: float
    """From its start to its first answer."""
    memory_mb: float
    """Resident memory of all its processes after the load."""
    peak_mb: float
    """The most that it had."""
    processes: int


def load_rows(measured: Measured) -> list[tuple[str, ...]]:
    """Returns a row of the table for each load: medians over rounds."""

    def row(load: Load) -> tuple[str, ...]:
        samples = measured.samples[load.name]
        columns: tuple[Callable[[Sample], float], ...] = (
            lambda s: s.pictures_per_s,
            lambda s: s.share,
            lambda s: s.result.p50_ms,
            lambda s: s.result.p99_ms,
        )
        failed = sum(s.result.failed + s.result.socket_errors + s.result.unanswered for s in samples)
        generator = max(s.result.generator_cores for s in samples)
        return (load.name, *(number(median_of(samples, c)) for c in columns), str(failed), number(generator))

    return [row(load) for load in measured.loads]


def raw_rows(measured: Measured, plan: Plan) -> list[tuple[str, ...]]:
    """Returns the rows of the raw engine."""
    samples = [sample for some in measured.samples.values() for sample in some]
    speed = median_of(samples, lambda s: s.raw.pictures_per_s)
    alone = median_of(samples, lambda s: s.raw.alone_ms)
    return [
        (f"raw engine, {plan}", number(speed), "1", "", "", "", ""),
        ("raw engine, one caller, batch 1", number(1000 / alone), "", number(alone), "", "", ""),
    ]


def print_tables(service: Measured, peers: Sequence[Measured], plan: Plan) -> None:
    """Prints speeds and memory."""
    heads = ("", "pictures/s", "of the raw engine", "p50 ms", "p99 ms", "failed", "generator, cores")
    rows = [row for measured in (service, *peers) for row in load_rows(measured)]
    print(report.table(heads, raw_rows(service, plan) + rows))
    sizes = [
        (m.name, number(m.ready_s), number(m.memory_mb), number(m.peak_mb), str(m.processes))
        for m in (service, *peers)
    ]
    print("\n" + report.table(("", "ready after s", "memory MB", "most MB", "processes"), sizes))


def figures_of(service: Measured, peers: Sequence[Measured], *, same_model: bool) -> list[Figure]:
    """Returns the figures that we claim: shares of the raw engine, and ratios to the best of the peers.

    Args:
        service: Ours.
        peers: The others.
        same_model: Whether they serve our file; otherwise ours is of a faster precision.
    """

    def share(load: Load) -> float:
        return median_of(service.samples[load.name], lambda s: s.share)

    def excess_ms(sample: Sample) -> float:
        return sample.result.p50_ms - sample.raw.alone_ms

    figures = [
        Figure(name=f"{BUSIEST.name}: share of the raw engine", value=share(BUSIEST), wanted=0.9),
        *(
            Figure(name=f"{load.name}: share of the raw engine", value=share(load), wanted=0.95)
            for load in SEVERALS
            if load.requests.count == 64
        ),
        Figure(
            name="one connection: p50 beyond the raw engine's one caller, ms",
            value=median_of(service.samples[ALONE.name], excess_ms),
            wanted=1,
            at_least=False,
        ),
        Figure(name="most memory, MB", value=service.peak_mb, wanted=400, at_least=False),
    ]
    return figures + (ratios_to(peers, 1.8 if same_model else 3) if peers else [])


def ratios_to(peers: Sequence[Measured], wanted: float) -> list[Figure]:
    """Returns how far the service is ahead of the peer that comes nearest, at ``BUSY`` connections.

    Args:
        peers: The others.
        wanted: How many times as many pictures a second.
    """

    def pair(peer: Measured) -> tuple[list[Sample], list[Sample]]:
        return peer.samples[BUSIEST.name], peer.samples[f"{peer.name}, {BUSY} connections"]

    speeds = {m.name: median_ratio(*pair(m), lambda s: s.pictures_per_s) for m in peers}
    tails = {m.name: 1 / median_ratio(*pair(m), lambda s: s.result.p99_ms) for m in peers}
    fastest, steadiest = min(speeds, key=speeds.__getitem__), min(tails, key=tails.__getitem__)
    return [
        Figure(name=f"pictures/s ÷ {fastest}'s, the best peer", value=speeds[fastest], wanted=wanted),
        Figure(name=f"p99 of {steadiest}, the best peer, ÷ ours", value=tails[steadiest], wanted=3),
    ]


def as_json(measured: Measured) -> dict[str, Any]:
    """Returns all samples of a server."""
    whole = {name: [sample.summary() for sample in some] for name, some in measured.samples.items()}
    return asdict(measured) | {"loads": [load.name for load in measured.loads], "samples": whole}
