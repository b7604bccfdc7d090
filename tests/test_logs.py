"""What the service writes of requests: ids that go everywhere, lines for people and machines."""

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import free_port
from live import Live, eventually, living
from scraped import families, total

from app.access_log import ROOM, AccessLog
from app.exchange import Exchange, identify

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NEW = re.compile(r"[0-9a-f]{16}")


@pytest.fixture(scope="module")
def told(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Path]]:
    """A service that tells machines of everything, and where its access log is."""
    folder = tmp_path_factory.mktemp("told")
    with living(folder, model=toy_model, log="json", access_log=True, max_stream=10_000) as live:
        yield live, folder / "out"


def lines(file: Path, **wanted: object) -> list[dict[str, Any]]:
    """Returns the lines of an access log that have the members."""
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if wanted.items() <= line.items()]


def line(file: Path, **wanted: object) -> dict[str, Any]:
    """Waits for the one line that has the members."""
    eventually(lambda: bool(lines(file, **wanted)))
    [found] = lines(file, **wanted)
    return found


@pytest.mark.parametrize(
    "name", ["a", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "Root=1-67891233-abcdef/012:x+y@z_.", "x" * 128]
)
def test_a_sane_id_is_kept(told: tuple[Live, Path], name: str) -> None:
    assert told[0].get("/livez", headers={"X-Request-Id": name}).headers["x-request-id"] == name


@pytest.mark.parametrize("name", [b"", b"x" * 129, b"a b", b'"', b"\xc3\xa9", b"a;b", b"<script>", b"%0a"])
def test_any_other_is_exchanged_for_a_new_one(told: tuple[Live, Path], name: bytes) -> None:
    answer = told[0].get("/livez", headers=[(b"X-Request-Id", name)])
    assert NEW.fullmatch(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (TRACEPARENT, TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-00-more", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-00f067aa0ba902b7", ""),
    ],
)
def test_the_trace_of_a_caller_is_taken_as_w3c_has_it(traceparent: str, trace_id: str) -> None:
    assert identify([(b"traceparent", traceparent.encode())])[1] == trace_id


def test_a_request_has_one_line_with_all_of_it(told: tuple[Live, Path]) -> None:
    live, out = told
    headers = {"X-Request-Id": "one-line", "traceparent": TRACEPARENT, "Accept": "application/zip"}
    answer = live.client.post(
        "/generate", params={"k": "secret"}, json={"seed": 5, "count": 3}, headers=headers
    )
    assert answer.status_code == 200
    found = line(out, request_id="one-line")
    assert found.pop("ms") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "method": "POST",
        "path": "/generate",
        "status": 200,
        "pictures": 3,
        "bytes": len(answer.content),
        "gone": False,
        "client": "127.0.0.1",
        "request_id": "one-line",
        "trace_id": TRACE,
    }


def test_a_path_cannot_write_lines_of_its_own(told: tuple[Live, Path]) -> None:
    live, out = told
    live.get("/images/%0aHTTP%20%22%c3%a9.png", headers={"X-Request-Id": "sly"})
    assert line(out, request_id="sly")["path"] == "/images/%0aHTTP%20%22%c3%a9.png"


def test_an_error_has_the_id_in_its_document_and_its_dialects(told: tuple[Live, Path]) -> None:
    live, out = told
    for path in ("/images/x.gif", "/v1/models/nowhere", "/v2/models/nowhere"):
        answer = live.get(path)
        name = answer.headers["x-request-id"]
        assert answer.json()["request_id"] == name
        assert line(out, request_id=name)["status"] == answer.status_code


def test_a_client_that_goes_away_is_told_of(told: tuple[Live, Path]) -> None:
    live, out = told
    body = b'{"seed": 1, "count": 10000}'
    with socket.create_connection((live.client.base_url.host, live.client.base_url.port)) as caller:
        head = b"POST /generate HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\nAccept: application/x-ndjson\r\n"
        head += b"Content-Type: application/json\r\n"
        caller.sendall(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")
    assert line(out, request_id="left")["gone"] is True


def test_a_client_that_does_not_wait_for_the_first_byte_is_told_of(told: tuple[Live, Path]) -> None:
    live, out = told
    before = total(families(live.client), "seedling_pictures_total", outcome="dropped")
    body = b'{"count": 64}'
    callers = [
        socket.create_connection((live.client.base_url.host, live.client.base_url.port)) for _ in range(12)
    ]
    for k, caller in enumerate(callers):
        head = f"POST /generate HTTP/1.1\r\nHost: x\r\nX-Request-Id: early{k}\r\nAccept: application/zip\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
    for caller in callers:
        caller.close()
    eventually(lambda: all(lines(out, request_id=f"early{k}") for k in range(12)))
    left = [one for k in range(12) for one in lines(out, request_id=f"early{k}") if one["gone"]]
    assert left
    assert {one["status"] for one in left} == {499}
    assert total(families(live.client), "seedling_pictures_total", outcome="dropped") > before


def test_every_line_of_the_log_is_json(told: tuple[Live, Path]) -> None:
    found = [json.loads(text) for text in told[0].log.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(found[0])
    assert any("SEEDLING_LOG=json" in one["message"] for one in found)


FAILING = """
import sys
import app.server
from app.__main__ import main

create_app = app.server.create_app

def create_failing_app(*arguments):
    application = create_app(*arguments)

    @application.get("/fail")
    async def fail():
        raise RuntimeError("as it was told")

    return application

app.server.create_app = create_failing_app
sys.exit(main())
"""
"""The service with an address that fails."""


def test_a_failure_is_told_with_the_id_that_the_client_has(tmp_path: Path, toy_model: Path) -> None:
    settings = {"SEEDLING_MODEL": str(toy_model), "SEEDLING_LOG": "json", "SEEDLING_DRAIN_MS": "0"}
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", FAILING, "--port", str(port)], env=os.environ | settings, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            eventually(lambda: answers(client, "/readyz"), 60)
            answer = client.get("/fail", headers={"traceparent": TRACEPARENT})
            assert answer.status_code == 500
            name = answer.headers["x-request-id"]
            assert answer.json()["request_id"] == name
            assert "as it was told" not in answer.text
            found = families(client)
            assert total(found, "seedling_requests_total", route="/fail", status="500") == 1
    finally:
        process.terminate()
        process.wait(timeout=20)
    told = [json.loads(text) for text in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    [failure] = [one for one in told if one["message"] == "GET /fail failed"]
    assert failure["request_id"] == name
    assert failure["trace_id"] == TRACE
    assert failure["level"] == "error"
    assert "RuntimeError: as it was told" in failure["exception"]


def answers(client: httpx.Client, address: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get(address).is_success
    return False


def test_refusals_at_the_door_are_named_and_sampled(tmp_path: Path) -> None:
    with living(tmp_path, log="json", access_log=True, max_queue=16, max_count=16, max_steps=16) as live:
        callers = [
            socket.create_connection((live.client.base_url.host, live.client.base_url.port))
            for _ in range(60)
        ]
        for k, caller in enumerate(callers):
            head = f"GET /images/{k}.png HTTP/1.1\r\nHost: x\r\nX-Request-Id: n{k}\r\n"
            head += f"traceparent: {TRACEPARENT}\r\n\r\n"
            caller.sendall(head.encode())
        heads = [caller.recv(4000).partition(b"\r\n\r\n") for caller in callers]
        refused = [k for k, (head, _, _) in enumerate(heads) if b" 429 " in head]
        assert refused
        for k in refused:
            head, _, body = heads[k]
            assert f"x-request-id: n{k}\r\n" in head.decode() + "\r\n"
            assert json.loads(body)["request_id"] == f"n{k}"
            assert int(re.findall(rb"content-length: (\d+)", head)[0]) == len(body)
        for caller in callers:
            caller.close()
        out = tmp_path / "out"
        eventually(lambda: bool(lines(out, status=429)))
        assert 1 <= len(lines(out, status=429)) < len(refused)
        assert lines(out, status=429)[0]["trace_id"] == TRACE


class Stuck(io.StringIO):
    """A pipe that nobody reads, until somebody does."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def write(self, text: str) -> int:
        """Waits until it is read."""
        self.open.wait()
        return super().write(text)


def test_a_pipe_that_is_not_read_keeps_no_service_from_its_end(toy_model: Path) -> None:
    port = free_port()
    own = {"SEEDLING_MODEL": str(toy_model), "SEEDLING_ACCESS_LOG": "true", "SEEDLING_DRAIN_MS": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "--port", str(port)], env=os.environ | own, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return client.get("/readyz").is_success
            return False

        eventually(ready)
        for _ in range(1000):  # more than a pipe holds
            client.get("/livez")
        process.terminate()
        assert process.wait(10) == 0


def test_a_pipe_that_is_not_read_costs_lines_and_keeps_nobody() -> None:
    pipe = Stuck()
    log = AccessLog("json", pipe)
    log.start()
    for _ in range(ROOM + 100):
        log.note("GET", b"/", Exchange("id", "", status=200), 0.001, None)
    assert 99 <= log.dropped <= 100, "the thread has one in its hand"
    pipe.open.set()
    log.stop()
    assert len(pipe.getvalue().splitlines()) + log.dropped == ROOM + 100
