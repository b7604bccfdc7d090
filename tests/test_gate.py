"""The door refuses as the routes do, and keeps connections in order."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from conftest import StartService

KEPT = "/images/kept.png"
"""An address whose answer is in the cache."""

BUSY = 40
"""Connections that keep a queue of 16 full."""


@pytest.fixture(scope="module")
def small(start: StartService) -> Iterator[httpx.Client]:
    """The shipped model, which takes its time, behind a small queue."""
    with start(max_queue=16, max_count=16, max_steps=16) as client:
        assert client.get(KEPT).status_code == 200
        yield client


class Caller:
    """A connection that is used by hand."""

    def __init__(self, client: httpx.Client) -> None:
        self.socket = socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)
        self.stream = self.socket.makefile("rb")

    def ask(self, path: str, *headers: str) -> None:
        """Sends a request."""
        self.socket.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Reads one answer: status, headers, body."""
        status = int(self.stream.readline().split()[1])
        lines = iter(lambda: self.stream.readline().decode().strip(), "")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return status, headers, self.stream.read(int(headers["content-length"]))

    def close(self) -> None:
        """Ends the connection."""
        self.stream.close()
        self.socket.close()


Crowd = Callable[[], list[Caller]]


@pytest.fixture
def crowd(small: httpx.Client) -> Iterator[Crowd]:
    """Connects many callers, which are gone after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda: [stack.enter_context(contextlib.closing(Caller(small))) for _ in range(BUSY)]


def flood(callers: list[Caller], first: int) -> list[Caller]:
    """Sends a request by each of them at once."""
    for k, caller in enumerate(callers):
        caller.ask(f"/images/{first + k}.png")
    return callers


def test_of_requests_that_come_together_only_those_with_room_go_in(crowd: Crowd) -> None:
    statuses = [caller.answer()[0] for caller in flood(crowd(), 0)]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 16


def test_a_refusal_at_the_door_is_the_routes_refusal(small: httpx.Client) -> None:
    named = {"X-Timeout-Ms": "1", "X-Request-Id": "who/42"}
    by_route = small.get("/images/999999.png", params={"model": "avatars"}, headers=named)
    with contextlib.closing(Caller(small)) as caller:
        caller.ask("/images/999999.png", "X-Timeout-Ms: 1", "X-Request-Id: who/42")
        by_door = caller.answer()
    assert by_route.status_code == 429
    status, headers, body = by_door
    assert status == 429
    assert headers["x-request-id"] == by_route.headers["x-request-id"] == "who/42"
    assert set(headers) | {"date"} == set(by_route.headers) | {"date"}
    assert headers["content-type"] == by_route.headers["content-type"] == "application/problem+json"
    digits = re.compile(rb"\d+")
    assert digits.sub(b"N", body) == digits.sub(b"N", by_route.content)


def test_a_refused_connection_can_ask_again(small: httpx.Client, crowd: Crowd) -> None:
    refused = next(caller for caller in flood(crowd(), 2000) if caller.answer()[0] == 429)
    deadline = time.monotonic() + 10
    status = 429
    while status == 429:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        refused.ask("/images/3000.png")
        status, _, body = refused.answer()
    assert status == 200
    assert body == small.get("/images/3000.png").content


def test_answers_come_in_the_order_of_the_requests(crowd: Crowd) -> None:
    """A second request of a connection waits for the answer to the first, refused or not."""
    callers = flood(crowd(), 4000)
    for caller in callers:
        caller.ask("/livez")
    for caller in callers:
        assert caller.answer()[0] in {200, 429}
        status, _, body = caller.answer()
        assert (status, body) == (200, b"ok")


def test_refusals_that_came_together_do_not_cut_a_later_answer(start: StartService) -> None:
    with start(keep_alive_ms=1000) as client, contextlib.closing(Caller(client)) as caller:
        head = "GET /images/{}.png HTTP/1.1\r\nHost: x\r\nX-Timeout-Ms: 1\r\n\r\n"
        caller.socket.sendall((head.format(1) + head.format(2)).encode())
        assert [caller.answer()[0] for _ in range(2)] == [429, 429]
        time.sleep(0.5)
        body = b'{"seed": 1, "count": 400}'
        caller.socket.sendall(
            b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Accept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert caller.stream.read().endswith(b"0\r\n\r\n")


def test_a_connection_that_is_to_be_closed_is_closed(crowd: Crowd) -> None:
    last, *others = crowd()
    flood(others, 5000)
    last.ask("/images/5999.png", "Connection: close")
    status, headers, _ = last.answer()
    assert status in {200, 429}
    assert headers["connection"] == "close"
    assert last.stream.read() == b""


def test_what_needs_no_engine_passes_the_door(small: httpx.Client, crowd: Crowd) -> None:
    callers = flood(crowd(), 6000)
    kept = small.get(KEPT)
    known = small.get("/images/kept.png?size=64", headers={"If-None-Match": "*"})
    assert kept.status_code == 200
    assert known.status_code == 304
    assert 429 in {caller.answer()[0] for caller in callers}
