"""Traces, as a collector gets them: a real receiver of OTLP over HTTP."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from live import Live, eventually, living
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from scraped import families, total

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass
class Collector:
    """What was sent."""

    address: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    def named(self, name: str, trace_id: str | None = None) -> list[Span]:
        """Returns the spans of a name, of one trace or of all."""
        return [span for span in self.spans if span.name == name and trace_id in {None, span.trace_id.hex()}]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that keeps what it gets."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                found.resources.append(
                    {pair.key: pair.value.string_value for pair in group.resource.attributes}
                )
                for scope in group.scope_spans:
                    found.spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture(scope="module")
def live(collector: Collector, toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service whose batches may have several pictures, on one lane, so that requests meet in them."""
    folder = tmp_path_factory.mktemp("traced")
    environment = {
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
    }
    settings = {"traces": collector.address, "batch_sizes": "1,4,16", "lanes": 1, "threads": 1}
    with living(folder, environment, model=toy_model, cache_mb=0, log="json", **settings) as live:
        yield live


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


def test_a_request_is_part_of_its_callers_trace_down_to_the_packing(live: Live, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "it-is-me"}
    assert live.get("/images/17.png", headers=headers).is_success
    eventually(lambda: len([span for span in collector.spans if span.trace_id.hex() == TRACE]) == 5)
    [request] = collector.named("GET /images/{seed}.{format}", TRACE)
    assert request.parent_span_id.hex() == PARENT
    assert request.kind == Span.SPAN_KIND_SERVER
    told = attributes(request)
    assert told["seedling.request_id"] == "it-is-me"
    assert told["http.response.status_code"] == 200
    parts = [collector.named(name, TRACE)[0] for name in ("queue", "grow", "encode")]
    [batch] = collector.named("batch", TRACE)
    for part in (*parts, batch):
        assert part.parent_span_id == request.span_id
        assert attributes(part) == {"seedling.pictures": 1}
        assert request.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano
    assert [link.span_id for link in parts[1].links] == [batch.span_id]
    assert [link.span_id for link in batch.links] == [request.span_id]
    queue, grow, encode = parts
    assert queue.end_time_unix_nano == pytest.approx(grow.start_time_unix_nano, abs=100_000)
    assert grow.end_time_unix_nano == pytest.approx(encode.start_time_unix_nano, abs=100_000)


def test_no_trace_holds_the_signature_of_an_address(live: Live, collector: Collector) -> None:
    secrets = {"X-API-Key": "seedling_web_s3cret", "Authorization": "Bearer seedling_ops_s3cret"}
    live.get("/images/18.png?key=web&expires=1&sig=s3cret", headers=secrets)
    eventually(lambda: any("url.query" in attributes(span) for span in collector.spans))
    queries = [attributes(span).get("url.query") for span in collector.spans]
    assert "key=web&expires=1&sig=REDACTED" in queries
    assert b"s3cret" not in b"".join(span.SerializeToString() for span in collector.spans)


def test_requests_that_were_grown_together_are_linked_by_their_batch(
    live: Live, collector: Collector
) -> None:
    before, known = (
        total(families(live.client), "seedling_pictures_total", outcome="grown"),
        len(collector.spans),
    )

    def ask(k: int) -> None:
        with httpx.Client(base_url=live.client.base_url, timeout=30) as own:
            answer = own.post(
                "/generate", json={"seed": 1000 * k, "count": 20}, headers={"Accept": "application/zip"}
            )
            assert answer.is_success

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(1, 33)))
    grown = total(families(live.client), "seedling_pictures_total", outcome="grown") - before
    assert grown == 32 * 20

    def requests() -> list[Span]:
        return [span for span in collector.spans[known:] if span.name == "POST /generate"]

    def pictures(name: str) -> int:
        return sum(
            int(str(attributes(span)["seedling.pictures"]))
            for span in collector.spans[known:]
            if span.name == name
        )

    eventually(lambda: len(requests()) == 32 and pictures("batch") == pictures("grow") == grown)
    ids = {request.span_id for request in requests()}
    batches = {span.span_id: span for span in collector.spans[known:] if span.name == "batch"}
    assert any(len(batch.links) > 1 for batch in batches.values())
    assert {link.span_id for batch in batches.values() for link in batch.links} == ids
    for part in collector.spans[known:]:
        if part.name == "grow":
            [link] = part.links
            assert part.parent_span_id in {it.span_id for it in batches[link.span_id].links}


def test_a_caller_that_records_nothing_is_not_recorded(live: Live, collector: Collector) -> None:
    other = TRACE[::-1]
    assert live.get("/images/18.png", headers={"traceparent": f"00-{other}-{PARENT}-00"}).is_success
    assert live.get("/images/19.webp", headers={"traceparent": f"00-{'1' * 32}-{PARENT}-01"}).is_success
    eventually(lambda: len(collector.named("encode", "1" * 32)) == 1)
    assert not [span for span in collector.spans if span.trace_id.hex() == other]


def test_the_service_says_who_it_is_and_leaves_out_probes(live: Live, collector: Collector) -> None:
    assert live.get("/livez").is_success
    assert live.get("/metrics").is_success
    assert live.get("/v1/models", headers={"traceparent": f"00-{'2' * 32}-{PARENT}-01"}).is_success
    eventually(lambda: len(collector.named("GET /v1/models", "2" * 32)) == 1)
    assert not {span.name for span in collector.spans} & {"GET /livez", "GET /readyz", "GET /metrics"}
    assert all(one["service.name"] == "seedling" for one in collector.resources)
    assert all(one["deployment.environment"] == "test" for one in collector.resources)


def test_a_collector_that_is_away_keeps_nobody(tmp_path: Path, toy_model: Path) -> None:
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    with living(tmp_path, environment, model=toy_model, traces="http://127.0.0.1:9", grace_ms=6000) as live:
        assert all(live.get(f"/images/{k}.png").is_success for k in range(20))


def test_without_the_setting_the_sdk_is_not_even_loaded(toy_model: Path) -> None:
    code = (
        "import sys; from app.main import create_app; create_app(); print('opentelemetry.sdk' in sys.modules)"
    )
    environment = os.environ | {"SEEDLING_MODEL": str(toy_model)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_without_the_extra_the_setting_says_what_it_takes(toy_model: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from app.__main__ import main; sys.exit(main())"
    )
    environment = os.environ | {"SEEDLING_MODEL": str(toy_model), "SEEDLING_TRACES": "http://localhost:4318"}
    done = subprocess.run(
        [sys.executable, "-c", code, "--port", "0"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        "error: SEEDLING_TRACES (--traces): it takes the extra otel (pip install 'seedling[otel]')"
        in done.stderr
    )
