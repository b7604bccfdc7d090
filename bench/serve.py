"""Speed of the service beside the raw engine and other servers: ``python -m bench.serve [--help]``.

Pictures of seeds that nobody asked for before, so no cache helps; ``--cached`` measures those that were.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import cached, report
from bench.command import carry_out, parser_of
from bench.load import measure
from bench.measured import (
    BUSIEST,
    CONNECTIONS,
    SEVERALS,
    SINGLES,
    Measured,
    as_json,
    figures_of,
    print_tables,
    single,
)
from bench.peers import PEERS, Peer
from bench.raw import Plan, RawEngine
from bench.rounds import Load, run_rounds
from bench.server import Server, ServerError, free_port, seedling


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What all measurements of a run share."""

    service: Server
    raw: RawEngine
    rounds: int
    seconds: float

    def measure(self, name: str, server: Server, loads: Sequence[Load]) -> Measured:
        """Measures a server under some loads; of a peer, our service beside it."""
        measure(server.url, loads[0].requests, 16, 1)  # warms up
        ours = {} if server is self.service else {self.service.url: [BUSIEST]}
        samples = run_rounds(
            self.raw, {**ours, server.url: loads}, rounds=self.rounds, seconds=self.seconds, tell=tell
        )
        return Measured(
            name=name,
            loads=loads,
            samples=samples,
            ready_s=server.ready_s,
            memory_mb=server.memory_mb(),
            peak_mb=server.memory_mb("VmHWM"),
            processes=len(server.processes()),
        )

    def measure_peer(self, peer: Peer, python: str, model: Path) -> Measured | None:
        """Measures a peer while it runs; None if it does not start here."""
        port = free_port()
        try:
            with Server([python, "-m", peer.module, str(model), str(port)], port, peer.ready) as server:
                loads = [single(peer.name, peer.requests, connections) for connections in CONNECTIONS]
                return self.measure(peer.name, server, loads)
        except ServerError as error:
            tell(f"{peer.name} is left out: {error}")
            return None


def tell(text: str) -> None:
    """Tells the one who waits how far it is."""
    print(text, file=sys.stderr, flush=True)


def describe(service: Server) -> dict[str, Any]:
    """Returns the loaded model as the service tells it."""
    description: dict[str, Any] = json.loads(service.get("/v1/models"))["data"][0]
    return description


def installed_version(peer: Peer, python: str) -> str:
    """Returns the version that a Python has of what a peer needs, or nothing."""
    code = f"import importlib.metadata; print(importlib.metadata.version({peer.needs!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def run(arguments: argparse.Namespace) -> None:
    """Measures, prints the tables and writes the JSON."""
    machine = report.machine()
    theirs = arguments.peers_model or arguments.model
    with seedling({"SEEDLING_MODEL": str(arguments.model)}) as service:
        plan = Plan.of(arguments.model, describe(service))
        with RawEngine(plan) as raw:
            bench = Bench(service=service, raw=raw, rounds=arguments.rounds, seconds=arguments.seconds)
            ours = bench.measure("service", service, SINGLES + SEVERALS)
            peers = [
                measured
                for peer in installed_peers(arguments)
                if (measured := bench.measure_peer(peer, arguments.peers_python, theirs))
            ]
    print_tables(ours, peers, plan)
    figures = figures_of(ours, peers, same_model=theirs == arguments.model)
    print("\n" + report.figures_table(figures))
    content = {"machine": machine, "plan": asdict(plan), "servers": list(map(as_json, (ours, *peers)))}
    report.write_json(arguments.json, content, figures)


def installed_peers(arguments: argparse.Namespace) -> list[Peer]:
    """Returns the peers to measure, their versions in their names; says which are not installed."""
    found = []
    for peer in arguments.peers:
        version = installed_version(peer, arguments.peers_python)
        if version:
            found.append(replace(peer, name=f"{peer.name} {version}"))
        else:
            print(f"{peer.name}: not installed in {arguments.peers_python}")
    return found


def peers_named(text: str) -> list[Peer]:
    """Reads ``all``, ``none`` or names of packages with commas between them."""
    peers = {peer.needs: peer for peer in PEERS}
    names = {"all": list(peers), "none": []}.get(text, text.split(","))
    if not set(names) <= set(peers):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected all, none or some of {','.join(peers)}")
    return [peers[name] for name in names]


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = parser_of("serve", __doc__)
    parser.add_argument("--rounds", type=int, default=5, help="slices of each load (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a slice (%(default)s)")
    parser.add_argument(
        "--peers", type=peers_named, default="all", help="all, none, or some of fastapi,litserve,bentoml,ray"
    )
    parser.add_argument("--peers-python", default=sys.executable, help="a Python that has them")
    parser.add_argument(
        "--peers-model", type=Path, help="what the others serve, where ours serves a faster form of it"
    )
    parser.add_argument("--cached", action="store_true", help="cached pictures, 304s, start, memory instead")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    arguments = parse_arguments(words)
    return carry_out(cached.run if arguments.cached else run, arguments)


if __name__ == "__main__":
    sys.exit(main())
