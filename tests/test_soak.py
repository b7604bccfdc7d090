"""An hour of what ``make test`` has seconds for; ``make soak`` runs it."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from live import Live, eventually, living, make_model
from peer import Peer, children, status_mb

pytestmark = pytest.mark.soak

PICTURES = 1_000_000
"""Pictures after which memory is looked at again."""

SETTLED = 100_000
"""Pictures after which it is looked at first: allocators and caches are then as they stay."""

IDLE = 9_900
"""Connections that do nothing."""

CLIENTS = 4


async def read_streams(live: Live, first: int, pictures: int) -> int:
    """Streams pictures of seeds that nobody has asked for, over several connections; returns their number."""
    each = 10_000

    async def one(client: int) -> int:
        count = 0
        async with httpx.AsyncClient(base_url=live.client.base_url, timeout=60) as http:
            for seed in range(
                first + client * each, first + pictures, CLIENTS * each
            ):  # the others take the rest
                body = {"seed": seed, "count": each}
                accept = {"Accept": "application/x-ndjson"}
                async with http.stream("POST", "/generate", json=body, headers=accept) as answer:
                    assert answer.status_code == 200
                    async for part in answer.aiter_bytes():
                        count += part.count(b"\n")
        return count

    return sum(await asyncio.gather(*(one(k) for k in range(CLIENTS))))


def test_a_million_pictures_leave_memory_as_it_was(tmp_path: Path, toy_model: Path) -> None:
    with living(tmp_path / "run", model=toy_model) as live:
        assert asyncio.run(read_streams(live, 0, SETTLED)) == SETTLED
        before = status_mb(live.process.pid)
        assert asyncio.run(read_streams(live, SETTLED, PICTURES - SETTLED)) == PICTURES - SETTLED
        after = status_mb(live.process.pid)
    print(f"{PICTURES} pictures: {before:.1f} MB resident, then {after:.1f} MB")  # noqa: T201
    assert after < 1.05 * before


def test_ten_thousand_idle_connections_keep_nobody_out(tmp_path: Path, toy_model: Path) -> None:
    bounds = {"read_timeout_ms": 120_000, "max_connections": IDLE + 100}
    with living(tmp_path / "run", model=toy_model, **bounds) as live, contextlib.ExitStack() as stack:
        before = status_mb(live.process.pid)
        for _ in range(IDLE):
            stack.enter_context(contextlib.closing(Peer(live.client)))
        for seed in range(200):
            assert live.get(f"/images/{seed}.png").status_code == 200
        after = status_mb(live.process.pid)
        print(f"{IDLE} idle connections: {before:.1f} MB resident, then {after:.1f} MB")  # noqa: T201
        assert after - before < 300
        stack.close()
        eventually(lambda: live.get("/readyz").is_success)


async def load(live: Live, seconds: float, clients: int) -> Counter[int]:
    """Asks for whole batches from many connections, without rest; returns how often each status came."""
    statuses: Counter[int] = Counter()
    over = time.monotonic() + seconds

    async def one(client: int) -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=live.client.base_url, timeout=60, limits=limits) as http:
            seed = client << 40
            while time.monotonic() < over:
                answer = await http.post("/generate", json={"seed": seed, "count": 64})
                statuses[answer.status_code] += 1
                seed += 64

    await asyncio.gather(*(one(k) for k in range(clients)))
    return statuses


def test_minutes_of_overload_end_when_the_load_does(tmp_path: Path, toy_model: Path) -> None:
    # These clients do not ask again when a connection is closed that they were about to use.
    bounds = {"max_queue": 256, "cache_mb": 0, "keep_alive_ms": 60_000}
    with living(tmp_path / "run", model=toy_model, **bounds) as live:
        asyncio.run(load(live, 30, 60))
        before = status_mb(live.process.pid)
        statuses = asyncio.run(load(live, 180, 200))
        began = time.monotonic()
        eventually(lambda: live.client.post("/generate", json={"count": 64}).is_success)
        print(f"overload: {dict(statuses)}, recovered in {time.monotonic() - began:.2f} s")  # noqa: T201
        assert set(statuses) == {200, 429}
        assert status_mb(live.process.pid) < 1.05 * before + 20  # what 140 more connections take


def test_models_are_exchanged_for_minutes_without_a_fault(tmp_path: Path, toy_model: Path) -> None:
    served = make_model(toy_model, tmp_path / "models" / "toy.onnx", "toy")
    with living(tmp_path / "run", model=served, cache_mb=0) as live:

        async def exchange() -> None:
            for k in range(60):
                await asyncio.to_thread(make_model, toy_model, served, "toy", 0.5 + k / 60)
                await asyncio.sleep(3)

        async def both() -> Counter[int]:
            statuses, _ = await asyncio.gather(load(live, 180, 8), exchange())
            return statuses

        statuses = asyncio.run(both())
        print(f"reloads: {dict(statuses)}")  # noqa: T201
        assert set(statuses) == {200}
        assert live.log.count("edition") > 20
        grown = status_mb(live.process.pid)
        assert grown < 600


def test_a_worker_that_hangs_is_replaced(tmp_path: Path, toy_model: Path) -> None:
    with living(tmp_path / "run", model=toy_model, workers=2) as live:
        eventually(lambda: len(children(live.process.pid)) == 2)
        time.sleep(10)  # the second gets ready
        victim, _ = children(live.process.pid)
        os.kill(victim, signal.SIGSTOP)
        eventually(lambda: "has not answered for 30 s" in live.log, 90)
        eventually(lambda: victim not in children(live.process.pid))
        eventually(lambda: live.log.count("edition") == 3, 60)


def test_workers_that_are_killed_again_and_again_lose_what_they_had_alone(
    tmp_path: Path, toy_model: Path
) -> None:
    with living(tmp_path / "run", model=toy_model, workers=2, cache_mb=0) as live:
        eventually(lambda: len(children(live.process.pid)) == 2)
        faults = asked = 0
        for _ in range(10):
            time.sleep(12)
            os.kill(children(live.process.pid)[0], signal.SIGKILL)
            over = time.monotonic() + 5
            while time.monotonic() < over:
                asked += 1
                with contextlib.closing(Peer(live.client)) as peer:
                    peer.ask("/generate", body=json.dumps({"seed": asked, "count": 16}).encode())
                    faults += peer.answer()[0] != 200
        print(f"10 workers killed: {asked} requests after that, {faults} faults")  # noqa: T201
        assert faults == 0
