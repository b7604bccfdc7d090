"""More than the service can do, and clients that do not wait, over HTTP."""

import operator
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import StartService
from scraped import families, total

from app.settings import Settings


@pytest.fixture(scope="module")
def small(start: StartService) -> Iterator[httpx.Client]:
    """The shipped model, which takes its time, behind a small queue."""
    with start(max_queue=16, max_count=16, max_steps=16, timeout_ms=30_000, cache_mb=0) as client:
        yield client


def assert_says_no(answer: httpx.Response, *words: str) -> None:
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    for word in words:
        assert word in answer.json()["detail"]


def test_every_answer_under_overload_is_a_picture_or_a_429(small: httpx.Client) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda seed: small.get(f"/images/{seed}.png"), range(200)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert_says_no(
        next(answer for answer in answers if answer.status_code == 429), "at most 16", "room for 1"
    )
    assert small.get("/images/0.png").status_code == 200


def test_a_request_for_many_counts_as_many(small: httpx.Client) -> None:
    with ThreadPoolExecutor(3) as pool:
        asked = [{"seed": 100 * k, "count": 16} for k in range(3)]
        answers = list(pool.map(lambda body: small.post("/generate", json=body), asked))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 1 <= len(refused) <= 2
    assert_says_no(refused[0], "there is no room for 16")


def test_what_could_not_be_served_in_time_is_refused_early(small: httpx.Client) -> None:
    started = time.monotonic()
    answer = small.post("/generate", json={"seed": 0, "count": 16}, headers={"X-Timeout-Ms": "1"})
    assert_says_no(answer, "ms")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("value", ["0", "-1", "soon"])
def test_a_bad_timeout_is_refused(small: httpx.Client, value: str) -> None:
    answer = small.get("/images/1.png", headers={"X-Timeout-Ms": value})
    assert answer.status_code == 422
    assert "x-timeout-ms" in answer.json()["detail"].lower()


def test_clients_that_leave_make_room(small: httpx.Client) -> None:
    host, port = small.base_url.host, small.base_url.port
    before = families(small)
    for burst in range(6):
        connections = [socket.create_connection((host, port)) for _ in range(16)]
        for k, connection in enumerate(connections):
            connection.sendall(f"GET /images/{1000 * burst + k}.png HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(0.02)
        for connection in connections:
            connection.close()
    deadline = time.monotonic() + 5
    while (answer := small.post("/generate", json={"seed": 0, "count": 15})).status_code == 429:
        assert time.monotonic() < deadline, "the places of those who left were not given up"
    assert answer.status_code == 200
    after = families(small)

    def more(outcome: str) -> float:
        became = (total(found, "seedling_pictures_total", outcome=outcome) for found in (before, after))
        return -operator.sub(*became)

    assert more("dropped") > 0
    assert more("grown") - 15 + more("dropped") <= 6 * 16


def test_health_and_the_cache_answer_while_the_queue_is_full(start: StartService) -> None:
    with start(max_queue=16, max_count=16, max_steps=16) as client, ThreadPoolExecutor(24) as pool:
        kept = client.get("/images/kept.png")
        load = [pool.submit(client.get, f"/images/{seed}.png") for seed in range(150)]
        time.sleep(0.1)
        assert client.get("/readyz").status_code == 200
        assert client.get("/images/kept.png").content == kept.content
        known = {"If-None-Match": client.head("/images/unseen.png").headers["etag"]}
        assert client.get("/images/unseen.png", headers=known).status_code == 304
        assert {answer.result().status_code for answer in load} == {200, 429}


def test_a_queue_too_small_for_a_full_request_is_refused_at_start(toy_model: Path) -> None:
    with pytest.raises(ValueError, match="at least 64, as max_count and max_steps ask, got 63"):
        Settings(model=toy_model, max_queue=63, max_count=64)
