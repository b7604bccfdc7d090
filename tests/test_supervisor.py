"""Workers that die, and a supervisor that does: what is lost is what the dead one had at hand."""

import contextlib
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import Live, eventually, living
from peer import Peer, children, server_of

from app.supervisor import HANG_S, LATE_S


@pytest.fixture
def two(tmp_path: Path, toy_model: Path) -> Iterator[Live]:
    """A service of two workers, both of them ready."""
    with living(tmp_path / "run", model=toy_model, workers=2, cache_mb=0) as live:
        eventually(lambda: len(serving(live)) == 2)
        yield live


def serving(live: Live) -> set[int]:
    """Returns the workers that have answered one of some connections."""
    found = set()
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            peer = stack.enter_context(contextlib.closing(Peer(live.client)))
            peer.ask("/livez")
            peer.answer()
            found.add(server_of(peer, children(live.process.pid)))
    return found


def test_a_killed_worker_is_replaced_and_only_what_it_had_is_lost(two: Live) -> None:
    pids = children(two.process.pid)
    body = json.dumps({"seed": 1, "count": 2000}).encode()
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(12):
            peer = stack.enter_context(contextlib.closing(Peer(two.client, receive_bytes=4096)))
            peer.ask("/generate", "Accept: application/x-ndjson", body=body)
            assert b"200" in peer.stream.readline()
            streams.append((peer, server_of(peer, pids)))
        victim = streams[0][1]
        faults: list[object] = []
        over = threading.Event()

        def others() -> None:
            while not over.is_set():
                try:
                    with contextlib.closing(Peer(two.client)) as fresh:
                        fresh.ask(f"/images/{time.monotonic_ns()}.png")
                        if (status := fresh.answer()[0]) != 200:
                            faults.append(status)
                except OSError as error:
                    faults.append(error)

        asking = threading.Thread(target=others)
        os.kill(victim, signal.SIGKILL)
        asking.start()
        eventually(lambda: len(serving(two)) == 2 and victim not in children(two.process.pid))
        over.set()
        asking.join()
        for peer, pid in streams:
            whole = read_all(peer).endswith(b"0\r\n\r\n")
            assert whole == (pid != victim)
    assert faults == []
    assert "ended (SIGKILL); another takes its place" in two.log


def read_all(peer: Peer) -> bytes:
    """Reads until the end of an answer or of its connection; returns the last bytes."""
    last = b""
    with contextlib.suppress(ConnectionResetError):
        while not last.endswith(b"0\r\n\r\n") and (part := peer.stream.read1(65536)):
            last = last[-10:] + part
    return last


def test_hanging_up_reaches_every_worker(two: Live) -> None:
    two.hang_up()
    eventually(lambda: two.log.count("SIGHUP: looking at every model file again") == 2)
    assert len(serving(two)) == 2


def test_a_worker_that_is_stopped_is_replaced(two: Live) -> None:
    first, _ = children(two.process.pid)
    os.kill(first, signal.SIGTERM)
    eventually(lambda: "ended (exit code 0); another takes its place" in two.log)
    eventually(lambda: len(serving(two)) == 2)


def test_a_place_is_filled_as_soon_as_a_process_can_be_started(two: Live) -> None:
    supervisor, [first, _] = two.process.pid, children(two.process.pid)
    _, most = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (5, most))
    os.kill(first, signal.SIGKILL)
    eventually(lambda: "cannot be started: Too many open files" in two.log)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (most, most))
    eventually(lambda: len(serving(two)) == 2)


@pytest.mark.soak
def test_workers_that_were_paused_with_their_supervisor_live_on(two: Live) -> None:
    supervisor, workers = two.process.pid, children(two.process.pid)
    for pid in (supervisor, *workers):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(HANG_S + 3)
    for pid in (supervisor, *workers):
        os.kill(pid, signal.SIGCONT)
    time.sleep(LATE_S + 1)
    assert children(supervisor) == workers
    assert "has not answered" not in two.log


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, toy_model: Path) -> None:
    with living(tmp_path / "run", model=toy_model, workers=2) as live:
        eventually(lambda: len(serving(live)) == 2)
        workers = children(live.process.pid)
        live.process.kill()
        live.process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers))
        assert live.log.count("the supervisor of process") == 2
        with pytest.raises(httpx.ConnectError):
            live.get("/livez")
