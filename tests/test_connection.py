"""Clients that are slow, silent, huge or gone, each over a socket of its own: bounds, and honest answers."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live import Live, eventually, living
from peer import Peer, status_mb

MOST = 50
"""Connections that the service of these tests takes."""

NewPeer = Callable[..., Peer]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Iterator[Live]:
    """A service with narrow bounds."""
    bounds = {
        "max_connections": MOST,
        "max_head_bytes": 2048,
        "max_body_bytes": 4096,
        "max_unread_mb": 1,
        "read_timeout_ms": 700,
        "write_timeout_ms": 1500,
        "keep_alive_ms": 1000,
    }
    with living(tmp_path_factory.mktemp("strict") / "run", model=toy_model, **bounds) as live:
        # Each question on a connection of its own: one that was idle for a second is closed, maybe meanwhile.
        live.client.headers["Connection"] = "close"
        yield live


@pytest.fixture
def peer(strict: Live) -> Iterator[NewPeer]:
    """Makes connections, which are gone after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(contextlib.closing(Peer(strict.client, **options)))
    eventually(lambda: strict.get("/livez").is_success)


def still_serves(live: Live) -> bool:
    return live.get(f"/images/{time.monotonic_ns()}.png").status_code == 200


# --- What comes in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_that_is_too_long_is_431(strict: Live, peer: NewPeer, at_once: bool) -> None:
    caller = peer()
    caller.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
    if at_once:
        caller.send(b"X-Long: " + b"x" * 3000 + b"\r\n\r\n")
    else:
        with contextlib.suppress(OSError):  # it stops listening in the middle of it
            for _ in range(300):
                caller.send(b"X-A: " + b"x" * 20 + b"\r\n")
    assert caller.problem() == (431, "the head of a request has at most 2048 bytes, got more")
    assert still_serves(strict)


def test_a_header_without_an_end_is_431_too(peer: NewPeer) -> None:
    caller = peer()
    caller.send(b"GET /livez HTTP/1.1\r\nX-Long: ")
    with contextlib.suppress(OSError):
        for _ in range(100):
            caller.send(b"x" * 100)
    assert caller.problem()[0] == 431


def test_a_long_address_is_431(peer: NewPeer) -> None:
    caller = peer()
    caller.ask("/images/7.png?with=" + "a" * 3000)
    assert caller.problem()[0] == 431


def test_a_body_that_says_it_is_too_long_is_413_before_it_is_sent(strict: Live, peer: NewPeer) -> None:
    caller = peer()
    caller.ask("/generate", "Content-Length: 5000", "Content-Type: application/json", method="POST")
    assert caller.problem() == (
        413,
        "the body of a request has at most 4096 bytes on this server, got 5000 or more",
    )
    assert still_serves(strict)


def test_a_body_that_turns_out_too_long_is_413(strict: Live, peer: NewPeer) -> None:
    caller = peer()
    caller.ask("/generate", "Transfer-Encoding: chunked", "Content-Type: application/json", method="POST")
    with contextlib.suppress(OSError):
        for _ in range(200):
            caller.send(b"64\r\n" + b" " * 100 + b"\r\n")
    assert caller.problem()[0] == 413
    assert still_serves(strict)


def test_a_body_at_the_bound_is_taken(peer: NewPeer) -> None:
    caller = peer()
    caller.ask("/generate", body=b'{"seed": 1}'.ljust(4096))
    assert caller.answer()[0] == 200


def test_who_waits_to_be_asked_for_the_body_is_asked(peer: NewPeer) -> None:
    caller = peer()
    caller.send(
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n"
    )
    assert caller.stream.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert caller.stream.readline() == b"\r\n"
    caller.send(b'{"seed": 1}')
    assert caller.answer()[0] == 200


def test_requests_that_do_not_wait_for_answers_are_answered_in_turn_up_to_a_bound(
    strict: Live, peer: NewPeer
) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    caller = peer()
    caller.send(50 * request)
    assert [caller.answer()[0] for _ in range(50)] == [200] * 50
    rude = peer()
    with contextlib.suppress(OSError):
        rude.send(60_000 * request)
    answered = b""
    with contextlib.suppress(OSError):
        while piece := rude.socket.recv(65_536):
            answered += piece
    assert answered.count(b"HTTP/1.1 200") < 1000, "it was not cut"
    assert still_serves(strict)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.1\r\nX-Long: " + b"x" * 3000,
        b"POST /generate HTTP/1.1\r\nContent-Length: 99999999",
    ],
)
def test_a_refusal_is_named_and_counted_once(strict: Live, peer: NewPeer, request_: bytes) -> None:
    def refusals() -> float:
        found = re.findall(
            r'^seedling_rejections_total\{.*"too_large".*\} (\S+)', strict.get("/metrics").text, re.MULTILINE
        )
        return sum(map(float, found))

    before = refusals()
    caller = peer()
    caller.send(request_ + b"\r\nX-Request-Id: mine\r\n\r\n")
    _, headers, body = caller.answer()
    assert headers["x-request-id"] == json.loads(body)["request_id"] == "mine"
    assert refusals() == before + 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", None])
@pytest.mark.parametrize("path", ["/generate", "/v1/images/generations"])
def test_a_body_of_another_type_is_415(strict: Live, path: str, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = strict.client.post(path, content=b'{"seed": 1, "prompt": "1"}', headers=headers)
    assert answer.status_code == 415
    assert "expected a body of the type application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
def test_json_may_be_called_by_its_other_names(strict: Live, kind: str) -> None:
    answer = strict.client.post("/generate", content=b'{"seed": 1}', headers={"content-type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"hello\r\n\r\n"])
def test_what_is_not_http_is_400(peer: NewPeer, junk: bytes) -> None:
    caller = peer()
    caller.send(junk)
    assert caller.problem() == (400, "this is not HTTP/1.1")


# --- Slow senders -----------------------------------------------------------------------------------


def drip(caller: Peer, data: bytes) -> None:
    """Sends a byte at a time until the other side has had enough."""
    with contextlib.suppress(OSError):
        for k in range(len(data)):
            caller.send(data[k : k + 1])
            time.sleep(0.05)


def test_a_head_that_comes_too_slowly_is_408(strict: Live, peer: NewPeer) -> None:
    caller = peer()
    dripping = threading.Thread(target=drip, args=(caller, b"GET /livez HTTP/1.1\r\nX-A: " + b"b" * 100))
    dripping.start()
    assert still_serves(strict)
    assert caller.problem() == (408, "the head of the request was not complete after 700 ms")
    dripping.join()


def test_a_second_head_that_comes_too_slowly_is_408_too(peer: NewPeer) -> None:
    caller = peer()
    caller.ask("/livez")
    assert caller.answer()[0] == 200
    caller.send(b"GET /li")
    assert caller.problem()[0] == 408


@pytest.mark.parametrize("header", ["Content-Length: 200", "Transfer-Encoding: chunked"])
def test_a_body_that_comes_too_slowly_is_408(peer: NewPeer, header: str) -> None:
    caller = peer()
    caller.ask("/generate", header, "Content-Type: application/json", method="POST")
    drip(caller, b'50\r\n{"seed": ' if "chunked" in header else b'{"seed": ')
    assert caller.problem() == (408, "the body of the request was not complete after 700 ms")


def test_who_never_asks_is_closed(peer: NewPeer) -> None:
    assert all(caller.ended() for caller in [peer() for _ in range(10)])


def test_who_does_not_ask_again_is_closed(peer: NewPeer) -> None:
    caller = peer()
    caller.ask("/livez")
    assert caller.answer()[0] == 200
    assert caller.ended()


def test_a_body_that_comes_after_its_answer_is_no_reason_to_wait_for_ever(peer: NewPeer) -> None:
    caller = peer()
    caller.send(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
    assert caller.answer()[0] == 404
    caller.send(b"x")
    assert caller.ended()


# --- Slow readers -----------------------------------------------------------------------------------


def ask_for_much(caller: Peer) -> None:
    """Asks for some MB: a stream of thousands of pictures."""
    caller.ask(
        "/generate", "Accept: application/x-ndjson", body=json.dumps({"seed": 1, "count": 10_000}).encode()
    )


def test_a_reader_who_takes_nothing_is_cut_and_costs_little(strict: Live, peer: NewPeer) -> None:
    before = status_mb(strict.process.pid)
    callers = [peer(receive_bytes=4096) for _ in range(20)]
    for caller in callers:
        ask_for_much(caller)
    time.sleep(1)
    assert still_serves(strict)
    assert status_mb(strict.process.pid) - before < 60  # 20 of a window of 64 KiB, and what goes on meanwhile
    eventually(lambda: all(is_cut(caller) for caller in callers), 15)


def is_cut(caller: Peer) -> bool:
    """Tells whether the other side has aborted a connection; reads nothing of it."""
    try:
        caller.send(b"\n")
    except OSError:
        return True
    return False


def test_a_reader_who_takes_little_but_takes_is_not_cut(strict: Live, peer: NewPeer) -> None:
    caller = peer(receive_bytes=4096)
    caller.ask(
        "/generate", "Accept: application/x-ndjson", body=json.dumps({"seed": 1, "count": 10_000}).encode()
    )  # more than the system keeps
    for _ in range(30):  # 3 s, twice the time after which one who takes nothing is cut
        caller.stream.read1(20_000)
        time.sleep(0.1)
    rest = b""
    while chunk := caller.stream.read1(65536):
        rest = rest[-100:] + chunk
        if rest.endswith(b"0\r\n\r\n"):
            break
    assert rest.endswith(b"0\r\n\r\n")
    assert still_serves(strict)


def test_answers_that_nobody_reads_are_kept_up_to_a_bound(tmp_path: Path, toy_model: Path) -> None:
    """Big answers, made whole before they are sent: beyond the bound those who stopped first are cut."""
    body = json.dumps({"seed": 1, "count": 16, "size": 1024}).encode()  # more than the system keeps
    patient = dict.fromkeys(("read_timeout_ms", "write_timeout_ms", "keep_alive_ms"), 60_000)
    with (
        living(tmp_path / "run", model=toy_model, max_unread_mb=1, **patient) as live,
        contextlib.ExitStack() as stack,
    ):
        callers = [
            stack.enter_context(contextlib.closing(Peer(live.client, receive_bytes=4096))) for _ in range(8)
        ]
        for caller in callers:
            caller.ask("/generate", "Accept: application/zip", body=body)
        eventually(lambda: all(is_cut(caller) for caller in callers), 30)
        assert still_serves(live)


# --- Clients that leave -----------------------------------------------------------------------------


def test_clients_may_leave_at_every_stage(strict: Live, peer: NewPeer) -> None:
    stages: list[tuple[bytes, float]] = [
        (b"", 0.0),
        (b"GET /images/1", 0.0),
        (b"GET /images/1.png HTTP/1.1\r\nHost", 0.0),
        (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{", 0.0),
        *((request(1000 + k), wait) for k, wait in enumerate((0.0, 0.001, 0.005, 0.02, 0.05))),
    ]
    for data, wait in stages * 3:
        for abrupt in (False, True):
            caller = peer()
            caller.send(data)
            time.sleep(wait)
            if abrupt:  # a reset instead of an end
                caller.socket.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")
            caller.close()
    for accept in ("application/x-ndjson", "text/event-stream"):
        caller = peer()
        caller.ask("/generate", f"Accept: {accept}", body=b'{"seed": 5, "count": 10000}')
        assert caller.stream.read(1000)
        caller.close()
    eventually(lambda: strict.client.post("/generate", json={"seed": 0, "count": 64}).is_success)
    assert strict.log.count("Traceback") == 0


def request(seed: int) -> bytes:
    body = json.dumps({"seed": seed, "count": 64}).encode()
    return b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + (
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


# --- Many -------------------------------------------------------------------------------------------


def test_beyond_the_most_connections_it_says_503_but_for_its_health(tmp_path: Path, toy_model: Path) -> None:
    with (
        living(tmp_path / "run", model=toy_model, max_connections=MOST) as live,
        contextlib.ExitStack() as stack,
    ):
        live.client.headers["Connection"] = "close"
        idle, (late, nurse) = (
            [stack.enter_context(contextlib.closing(Peer(live.client))) for _ in range(count)]
            for count in (MOST, 2)
        )
        late.ask("/images/1.png")
        assert late.problem() == (503, f"this server has its most connections, {MOST}")
        nurse.ask("/livez")
        assert nurse.answer()[2] == b"ok"
        for caller in idle:
            caller.close()
        eventually(lambda: still_serves(live))


def test_a_crowd_that_wants_the_most_gets_pictures_or_429_and_is_forgotten(
    tmp_path: Path, toy_model: Path
) -> None:
    with living(tmp_path / "run", model=toy_model, max_queue=256, cache_mb=0) as live:
        assert live.client.post("/generate", json={"count": 64}).is_success
        before = status_mb(live.process.pid)

        def ask(k: int) -> int:
            with contextlib.closing(Peer(live.client)) as caller:
                caller.ask("/generate", body=json.dumps({"seed": 64 * k, "count": 64}).encode())
                return caller.answer()[0]

        with ThreadPoolExecutor(100) as crowd:
            statuses = list(crowd.map(ask, range(1000)))
        assert set(statuses) == {200, 429}
        assert status_mb(live.process.pid, "VmHWM") - before < 150
        eventually(lambda: live.client.post("/generate", json={"seed": 5, "count": 64}).is_success)
