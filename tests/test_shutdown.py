"""Stopping under load: readiness goes first, nothing that was let in is lost, and then it is over in time."""

import contextlib
import itertools
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from live import Live, eventually, living
from peer import Peer, children
from scraped import families, total

from app.settings import SHIPPED_MODEL

CLIENTS = 10
FULL = json.dumps({"seed": 1, "count": 10_000}).encode()


@dataclass
class Balanced:
    """Clients behind a balancer: they ask all the time, and turn elsewhere when readiness is gone."""

    live: Live
    answers: list[tuple[int, str, bool]] = field(default_factory=list)
    """Of each answer its status, its header ``Connection``, and whether readiness was gone when it came."""
    faults: list[str] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Asks after readiness, as a balancer does, until it is gone."""
        while True:
            answer = self.live.get("/readyz")
            if answer.status_code == 503:
                assert answer.json()["detail"] == "the service is stopping"
                return
            assert answer.status_code == 200
            time.sleep(0.02)

    def ask(self, client: int) -> None:
        """Asks for pictures, one by one or many, until it is time to turn elsewhere."""
        numbers = itertools.count(1_000_000 * client, 64)
        leave = 0.3 + client / 20  # balancers do not hear of it all at once
        with httpx.Client(base_url=self.live.client.base_url, timeout=30) as http:
            while not self.gone.is_set() or time.monotonic() < self.gone_at + leave:
                try:
                    if client % 2:
                        answer = http.post("/generate", json={"seed": next(numbers), "count": 64})
                    else:
                        answer = http.get(f"/images/{next(numbers)}.png")
                except httpx.TransportError as error:
                    self.faults.append(repr(error))
                else:
                    connection = answer.headers.get("connection", "")
                    self.answers.append((answer.status_code, connection, self.gone.is_set()))

    def run(self) -> None:
        """Asks until the service is stopped, which happens in the middle of it."""
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            asking = [pool.submit(self.ask, k) for k in range(CLIENTS)]
            watching = pool.submit(self.watch)
            try:
                eventually(lambda: len(self.answers) > 50)
                self.live.process.terminate()
                watching.result()
            finally:
                self.gone_at = time.monotonic()
                self.gone.set()
            for done in asking:
                done.result()

    gone_at: float = 0.0


@contextlib.contextmanager
def served(folder: Path, model: Path, *, all_workers: bool = True, **settings: object) -> Iterator[Live]:
    """Runs a service without a cache."""
    with living(folder / "run", all_workers=all_workers, model=model, cache_mb=0, **settings) as live:
        yield live


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_where_a_balancer_looks_at_readiness(
    tmp_path: Path, toy_model: Path, workers: int
) -> None:
    with served(tmp_path, toy_model, workers=workers, max_queue=128, drain_ms=2500) as live:
        clients = Balanced(live)
        clients.run()
        assert live.process.wait(15) == 0
    assert clients.faults == []
    assert {status for status, _, _ in clients.answers} <= {200, 429}
    late = [connection for status, connection, gone in clients.answers if gone and status == 200]
    assert late.count("close") > CLIENTS / 2


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_under_way_is_finished_when_nobody_looks_at_readiness(tmp_path: Path, workers: int) -> None:
    with (
        served(tmp_path, SHIPPED_MODEL, workers=workers) as live,  # which takes its time
        contextlib.ExitStack() as stack,
    ):
        peers = [stack.enter_context(contextlib.closing(Peer(live.client))) for _ in range(8)]
        half, *others = peers
        half.send(b"GET /images/77.png HTTP/1.1\r\nHost: x\r\n")
        for k, peer in enumerate(others):
            peer.ask("/generate", "Accept: application/json", body=b'{"seed": %d, "count": 64}' % (k * 64))
        eventually(lambda: _told(live, "seedling_pictures_asked_total") == 7 * 64)
        assert _told(live, "seedling_pictures_total", outcome="grown") < 7 * 64
        live.process.send_signal(signal.SIGINT)
        time.sleep(0.15)
        half.send(b"\r\n")
        for peer in others:
            status, _, body = peer.answer()
            assert status == 200
            assert len(json.loads(body)["images"]) == 64
            assert peer.ended()
        status, headers, _ = half.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert live.process.wait(10) == 0
        with pytest.raises(httpx.ConnectError):
            live.get("/livez")


def _told(live: Live, name: str, **labels: str) -> float:
    return total(families(live.client), name, **labels)


def open_stream(live: Live) -> Peer:
    """Begins an answer that takes longer than any test."""
    peer = Peer(live.client, receive_bytes=4096)
    peer.ask("/generate", "Accept: application/x-ndjson", body=FULL)
    assert b"200" in peer.stream.readline()
    return peer


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_ends_it_at_once(tmp_path: Path, toy_model: Path, workers: int) -> None:
    with (
        served(tmp_path, toy_model, workers=workers, drain_ms=10_000) as live,
        contextlib.closing(open_stream(live)),
    ):
        workers_then = children(live.process.pid)
        live.process.terminate()
        eventually(lambda: "stopping: not ready" in live.log)
        with pytest.raises(subprocess.TimeoutExpired):
            live.process.wait(0.3)
        live.process.terminate()
        assert live.process.wait(3) == -signal.SIGTERM
        eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers_then), 3)


def test_what_cannot_be_done_in_the_grace_is_told_so(tmp_path: Path, toy_model: Path) -> None:
    with (
        served(tmp_path, toy_model, grace_ms=1500, max_stream=10_000_000) as live,
        contextlib.closing(Peer(live.client)) as reader,
    ):
        reader.ask(
            "/generate", "Accept: application/x-ndjson", body=b'{"seed": 1, "count": 10000000, "size": 64}'
        )
        answers: list[tuple[int, dict[str, str], bytes]] = []
        reading = threading.Thread(target=lambda: answers.append(reader.answer()))
        reading.start()
        eventually(lambda: _told(live, "seedling_pictures_total", outcome="grown") > 0)
        live.process.terminate()
        assert live.process.wait(10) == 0
        reading.join()
        last = json.loads(answers[0][2].splitlines()[-1])
        assert (last["error"]["status"], last["error"]["detail"]) == (503, "the service is stopping")


def test_a_reader_who_takes_nothing_does_not_keep_it_from_ending(tmp_path: Path, toy_model: Path) -> None:
    with served(tmp_path, toy_model, grace_ms=1500) as live, contextlib.closing(open_stream(live)):
        live.process.terminate()
        assert live.process.wait(10) == 0


def test_it_can_be_stopped_while_a_worker_starts(tmp_path: Path, toy_model: Path) -> None:
    with served(tmp_path, toy_model, workers=2, all_workers=False) as live:  # the second is not there yet
        live.process.terminate()
        assert live.process.wait(10) == 0
