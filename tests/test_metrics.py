"""What is told at /metrics is what happened."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import StartService
from live import eventually, living, make_model
from scraped import families, total, values

from app.tally import Histogram

PAGE = Path("docs/observability.md").read_text(encoding="utf-8")
IMAGES = "/images/{seed}.{format}"


@pytest.fixture(scope="module")
def client(start: StartService, toy_model: Path) -> Iterator[httpx.Client]:
    """A service that nobody else asks."""
    with start(model=toy_model, access_log=True) as client:
        yield client


def test_a_histogram_has_values_up_to_and_with_its_bounds() -> None:
    histogram = Histogram((1, 2))
    for value in (0, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


def test_the_sums_are_what_was_asked(client: httpx.Client) -> None:
    """Singles, sheets, a stream, a path, the same address again, and what is refused, from eight threads."""
    before = families(client)
    edition = client.get("/v1/models").json()["data"][0]["edition"]
    asks = [("GET", f"/images/{k}.png", {}) for k in range(40)]
    asks += [("GET", f"/models/{edition}/images/{k}.webp", {}) for k in range(100, 110)]
    asks += [("POST", "/generate", {"json": {"seed": 1000 * k, "count": 6}}) for k in range(1, 6)]
    stream = {"json": {"seed": 9000, "count": 50}, "headers": {"Accept": "application/x-ndjson"}}
    asks += [("POST", "/generate", stream), ("GET", "/interpolate?from=77001&to=77002&steps=5", {})]
    wrong = [("GET", "/images/1.gif", {}), ("GET", "/nowhere", {}), ("DELETE", "/generate", {})]
    wrong += [("POST", "/generate", {"json": {"count": 65}}), ("PROPFIND", "/generate", {})]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda ask: client.request(ask[0], ask[1], **ask[2]), asks + wrong))
    again = [client.get(f"/images/{k}.png") for k in range(40)]
    assert {answer.status_code for answer in answers[: len(asks)] + again} == {200}
    after = families(client)

    def more(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    asked = 40 + 10 + 5 * 6 + 50 + 5
    assert more("seedling_pictures_asked_total") == asked
    assert more("seedling_pictures_total", outcome="grown") == asked
    assert more("seedling_wait_seconds_count") == more("seedling_batch_pictures_sum") == asked
    assert more("seedling_engine_seconds_count") == more("seedling_batch_pictures_count")
    assert more("seedling_encode_seconds_count") == 40 + 10 + 5 + 50 + 1, "a sheet is packed once"
    assert more("seedling_cache_hits_total") == 40
    assert more("seedling_requests_total", route=IMAGES, status="200") == 80
    assert more("seedling_requests_total", route="/models/{edition}" + IMAGES, method="GET") == 10
    assert more("seedling_requests_total", route="/generate", method="POST", status="200") == 6
    assert more("seedling_requests_total", route="/generate", method="other", status="405") == 1
    assert more("seedling_request_seconds_count", route=IMAGES) == 81
    sent = sum(len(answer.content) for answer in (*answers[:40], *again))
    assert more("seedling_sent_bytes_total", route=IMAGES) == sent + len(answers[len(asks)].content)
    causes = ("invalid", "not_found", "method", "limit")
    assert {cause: more("seedling_rejections_total", cause=cause) for cause in causes} == {
        "invalid": 1,
        "not_found": 1,
        "method": 2,
        "limit": 1,
    }
    assert total(after, "seedling_queue_pictures") == total(after, "seedling_streams_open") == 0
    assert total(after, "seedling_requests_open") == 1, "this one"


def test_what_is_on_its_way_twice_is_counted_as_shared(client: httpx.Client) -> None:
    before = families(client)
    assert client.post("/generate", json={"latents": [[0.5] * 8] * 3}).is_success
    after = families(client)
    grown, shared = (
        total(after, "seedling_pictures_total", outcome=outcome)
        - total(before, "seedling_pictures_total", outcome=outcome)
        for outcome in ("grown", "shared")
    )
    assert (grown, shared) == (1, 2)


def test_refusals_of_a_flood_are_counted_wherever_they_were_said(start: StartService) -> None:
    with start(max_queue=16, max_count=16, max_steps=16) as client:

        def ask(k: int) -> int:
            model = (
                {"model": "avatars"} if k % 3 == 0 else {}
            )  # a refusal by the route; the others by the door
            return client.get(f"/images/{5000 + k}.png", params=model).status_code

        with ThreadPoolExecutor(60) as pool:
            statuses = Counter(pool.map(ask, range(300)))
        found = families(client)
        assert set(statuses) == {200, 429}
        for status, count in statuses.items():
            assert total(found, "seedling_requests_total", route=IMAGES, status=str(status)) == count
        assert total(found, "seedling_rejections_total") == statuses[429]
        assert total(found, "seedling_pictures_total", outcome="grown") == statuses[200]
        assert 0 < total(found, "seedling_request_seconds_count", route=IMAGES) < 300
        assert total(found, "seedling_connections") >= 1


def test_one_scrape_tells_of_all_workers_and_of_the_one_that_takes_a_dead_ones_place(
    tmp_path: Path, toy_model: Path
) -> None:
    with living(tmp_path, model=toy_model, workers=2, threads=2, cache_mb=0, access_log=True) as live:

        def ask(seed: int) -> None:
            with httpx.Client(base_url=live.client.base_url, timeout=30) as own:
                assert own.get(f"/images/{seed}.png").is_success

        def workers() -> float:
            return total(families(live.client), "seedling_workers")

        eventually(lambda: workers() == 2)
        for seed in range(60):
            ask(seed)
        found = families(live.client)
        assert total(found, "seedling_pictures_total", outcome="grown") == 60
        assert total(found, "seedling_requests_total", route=IMAGES) == 60
        assert all(total(found, "seedling_pictures_asked_total", worker=str(k)) > 0 for k in (0, 1))

        told = (tmp_path / "out").read_text(encoding="utf-8")
        line = (
            r"time=\S+Z method=GET path=/images/\d+\.png status=200 ms=[\d.]+ pictures=1 bytes=\d+ "
            r"gone=false client=127\.0\.0\.1 request_id=[0-9a-f]{16}"
        )
        assert len(re.findall(f"^{line}$", told, re.MULTILINE)) == 60
        children = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()
        assert len(children) == 2
        starts = _starts(live.client)
        os.kill(int(children[0]), signal.SIGKILL)
        live.client.close()
        live.client = httpx.Client(base_url=live.client.base_url, timeout=30)
        eventually(lambda: _workers(live.client) == 2 and _starts(live.client) != starts, 40)
        assert values(families(live.client), "seedling_pictures_asked_total", "worker") == {"0", "1"}
        live.client.close()


def _workers(client: httpx.Client) -> float:
    with contextlib.suppress(httpx.TransportError):
        return total(families(client), "seedling_workers")
    return 0


def _starts(client: httpx.Client) -> dict[str, float]:
    return {
        sample.labels["worker"]: sample.value
        for family in families(client)
        for sample in family.samples
        if sample.name == "process_start_time_seconds"
    }


def test_what_is_no_request_is_counted_too(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as line:
        line.sendall(b"nonsense\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400 ")
    assert total(families(client), "seedling_rejections_total", cause="malformed") == 1
    assert total(families(client), "seedling_requests_total", route="none", status="400") == 1


def test_a_reload_forgets_no_picture_and_tells_the_new_edition(tmp_path: Path, toy_model: Path) -> None:
    path = make_model(toy_model, tmp_path / "models" / "a.onnx", "a")
    with living(tmp_path / "run", model=path, watch=False) as live:
        live.get("/images/1.png")
        [edition] = values(families(live.client), "seedling_model_info", "edition")
        make_model(toy_model, path, "a", tone=2.0)
        live.hang_up()
        eventually(lambda: values(families(live.client), "seedling_model_info", "edition") != {edition})
        live.get("/images/2.png")
        path.write_bytes(b"nonsense")
        live.hang_up()
        eventually(lambda: live.model("a")["error"] is not None if "error" in live.model("a") else False)
        found = families(live.client)
        assert total(found, "seedling_pictures_total", outcome="grown") == 2
        assert total(found, "seedling_model_loads_total", outcome="ok") == 2
        assert total(found, "seedling_models", status="broken") == 1, "though the older one is served on"
        assert total(found, "seedling_workers_expected") == total(found, "seedling_workers") == 1


def test_the_page_lists_every_metric_as_it_is(client: httpx.Client) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|(.*?)\| (.*) \|$", PAGE, re.MULTILINE)
    told = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in families(client)
        if family.name.startswith("seedling_")
    }
    assert sorted(row[0] for row in rows) == sorted(told)
    for name, kind, labels, text in rows:
        family = told[name]
        assert (kind, text) == (family.type, family.documentation)
        listed = set(re.findall(r"`(\w+)`", labels))
        for sample in family.samples:
            assert set(sample.labels) - {"worker", "le"} == listed, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus is not installed")
def test_promtool_finds_nothing_to_say(client: httpx.Client) -> None:
    text = client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text.content, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=none", "text/plain; version=x", ",;="]
)
def test_an_accept_that_means_nothing_gets_the_old_format(client: httpx.Client, accept: str) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.is_success
    assert answer.headers["content-type"].startswith("text/plain")


def test_what_is_refused_for_a_clients_quota_has_a_cause_of_its_own(
    start: StartService, toy_model: Path
) -> None:
    with start(model=toy_model, quota_per_address="2/minute") as client:
        statuses = [client.get(f"/images/{k}.png").status_code for k in range(5)]
        assert statuses == [200, 200, 429, 429, 429]
        found = families(client)
        assert total(found, "seedling_rejections_total", cause="rate") == 3
        assert total(found, "seedling_rejections_total") == 3
        assert total(found, "seedling_pictures_asked_total") == 2
