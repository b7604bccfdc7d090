"""nginx with the configuration that ships, in front of a service: what it keeps, what it never does."""

import base64
import hmac
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from live import eventually, make_model

from bench.front import CONFIGURATION, Front, ask_together, configure, main, write_paths
from bench.server import Server, ServerError, seedling

pytestmark = pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="nginx is not installed: apt-get install nginx-light",
)

Guarded = tuple[Front, str, str]
"""A cache, a key, and a secret to sign addresses with."""

VALID_UNTIL = 8
"""Where a file of nginx's cache has the time until which it is fresh, and after it those until which it may
be served while it is looked at, and when that fails: three numbers of 64 bits, seconds since 1970."""


@pytest.fixture(scope="module")
def origin() -> Iterator[Server]:
    """The shipped model, which takes its time."""
    with seedling({"SEEDLING_CACHE_MB": "0", "SEEDLING_DRAIN_MS": "0"}) as service:
        yield service


@pytest.fixture(scope="module")
def front(origin: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A cache in front of it."""
    with Front(f"{origin.host}:{origin.port}", tmp_path_factory.mktemp("front")) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def client(front: Front) -> Iterator[httpx.Client]:
    """A caller of nginx."""
    with httpx.Client(base_url=front.url, timeout=30) as caller:
        yield caller


def did(answer: httpx.Response) -> str:
    """Returns what the cache did for an answer."""
    return answer.headers.get("cache-status", "nothing")


def age(front: Front, seconds: int) -> None:
    """Makes all that nginx keeps so much older."""
    for file in (front.folder / "cache").rglob("*"):
        if file.is_file():
            content = bytearray(file.read_bytes())
            times = [until - seconds for until in struct.unpack_from("3q", content, VALID_UNTIL)]
            struct.pack_into("3q", content, VALID_UNTIL, *times)
            file.write_bytes(content)


def test_a_picture_is_grown_once_and_then_kept(front: Front, client: httpx.Client, origin: Server) -> None:
    first, second = client.get("/images/alice.png"), client.get("/images/alice.png")
    assert (did(first), did(second)) == ("nginx; fwd=miss", "nginx; hit")
    assert first.content == second.content == origin.get("/images/alice.png")
    assert second.headers["etag"] == first.headers["etag"]
    assert second.headers["cache-control"] == first.headers["cache-control"]
    eventually(lambda: front.log()[-1]["origin"] == "")  # written after the answer


def test_who_has_the_picture_is_told_so_by_the_cache(front: Front, client: httpx.Client) -> None:
    tag = client.get("/images/bob.png").headers["etag"]
    answer = client.get("/images/bob.png", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    eventually(lambda: front.log()[-1]["origin"] == "")  # written after the answer
    assert client.head("/images/bob.png").headers["etag"] == tag
    assert client.get("/images/bob.png", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_crowd_that_wants_one_new_picture_comes_through_once(front: Front, origin: Server) -> None:
    assert ask_together(front, "/images/everybody.png") == 1
    assert front.get("/images/everybody.png") == origin.get("/images/everybody.png")


def test_an_address_with_an_edition_stays_immutable_and_is_kept(client: httpx.Client) -> None:
    address = client.get("/images/carol.png").headers["content-location"]
    assert did(client.get(address)) == "nginx; fwd=miss"
    kept = client.get(address)
    assert did(kept) == "nginx; hit"
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("/images/dave.gif", {}, 422),
        ("/models/0000000000000000/images/dave.png", {}, 404),
        ("/images/dave.png", {"X-Timeout-Ms": "soon"}, 422),
        ("/images/erin.png", {"X-Timeout-Ms": "1"}, 429),
    ],
)
def test_no_error_is_kept(client: httpx.Client, address: str, headers: dict[str, str], status: int) -> None:
    """The last two show that the time a caller would wait comes through."""
    for _ in range(2):
        answer = client.get(address, headers=headers)
        assert (answer.status_code, did(answer)) == (status, "nothing")
        assert answer.headers["content-type"] == "application/problem+json"
    if "X-Timeout-Ms" in headers:
        answer = client.get(address)
        assert (answer.status_code, did(answer)) == (200, "nginx; fwd=miss")


def test_nothing_but_pictures_is_kept(front: Front, client: httpx.Client) -> None:
    for _ in range(2):
        assert client.post("/generate", json={"seed": 1}).status_code == 200
        eventually(lambda: front.log()[-1]["origin"] == "200")  # written after the answer
    for address in ("/", "/readyz", "/v1/models", "/openapi.json"):
        for _ in range(2):
            assert client.get(address).status_code == 200
            eventually(lambda: front.log()[-1]["origin"] == "200")  # written after the answer


def test_what_is_accepted_decides_an_answer_that_is_not_kept(client: httpx.Client) -> None:
    kinds = ("image/png", "application/zip", "application/json")
    for kind in kinds:
        answer = client.post("/generate", json={"seed": 1, "count": 2}, headers={"Accept": kind})
        assert answer.headers["content-type"] == kind
        assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_what_a_key_bought_is_neither_kept_nor_given_to_others(client: httpx.Client, header: str) -> None:
    key = {header: "Bearer secret"}
    address = f"/images/mine-{header}.png"
    for _ in range(2):
        assert did(client.get(address, headers=key)) == "nginx; fwd=bypass"
    assert did(client.get(address)) == "nginx; fwd=miss"
    assert did(client.get(address, headers=key)) == "nginx; fwd=bypass"


@pytest.fixture(scope="module")
def guarded(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A cache before a service that asks for keys, and counts."""
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "keys"
    made = [sys.executable, "-m", "app.keys"]
    key, secret = (
        subprocess.run([*made, *words, "--file", file], capture_output=True, text=True, check=True).stdout
        for words in (["new", "anna"], ["sign", "site"])
    )
    settings = {"SEEDLING_KEYS": str(file), "SEEDLING_QUOTA_PER_KEY": "1000/minute"}
    settings |= {"SEEDLING_MODEL": str(toy_model), "SEEDLING_DRAIN_MS": "0"}
    with seedling(settings) as service, Front(f"{service.host}:{service.port}", folder) as nginx:
        yield nginx, key.strip(), secret.strip()


def test_a_cache_before_keys_answers_nobody_without_one(guarded: Guarded) -> None:
    nginx, key, _ = guarded
    with httpx.Client(base_url=nginx.url, headers={"Authorization": f"Bearer {key}"}) as anna:
        for _ in range(2):
            answer = anna.get("/images/alice.png")
            assert (answer.status_code, did(answer)) == (200, "nginx; fwd=bypass")
            assert answer.headers["cache-control"].startswith("private, ")
            assert "ratelimit" in answer.headers
    for _ in range(2):
        assert httpx.get(f"{nginx.url}/images/alice.png").status_code == 401


def sign(address: str, secret: str, until: int) -> str:
    """Returns an address with a permission that ends at a second; that of ``seedling.signing`` at a day."""
    told = f"{address}&key=site&expires={until}"
    digest = hmac.digest(secret.encode(), told.encode(), "sha256")
    return f"{told}&sig={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def test_a_signed_address_is_kept_as_long_as_it_is_good(guarded: Guarded) -> None:
    """Then it is refused at once, and not served while it is looked at as other pictures are."""
    nginx, _, secret = guarded
    address = nginx.url + sign("/images/alice.png?size=64", secret, int(time.time()) + 4)
    first, second = httpx.get(address), httpx.get(address)
    assert (did(first), did(second)) == ("nginx; fwd=miss", "nginx; hit")
    for header in ("ratelimit", "ratelimit-policy"):
        assert header in first.headers
        assert header not in second.headers, "what the first may still ask for is nothing to the second"
    forged = httpx.get(address.replace("size=64", "size=65"))
    assert (forged.status_code, did(forged)) == (403, "nothing")
    eventually(lambda: httpx.get(address).status_code == 403)
    assert "nginx; hit; detail=stale" not in {did(httpx.get(address)) for _ in range(3)}


def test_a_picture_that_is_due_is_looked_at_without_growing_it(front: Front, client: httpx.Client) -> None:
    """While it is looked at it is served as it is: nobody waits."""
    client.get("/images/grace.png")
    age(front, 600)
    assert did(client.get("/images/grace.png")) == "nginx; hit; detail=stale"
    eventually(lambda: did(client.get("/images/grace.png")) == "nginx; hit")
    assert "304" in {line["origin"] for line in front.log()}


def test_numbers_are_for_the_operator(front: Front, client: httpx.Client) -> None:
    for address in ("/metrics", "/admin", "/admin/models"):
        assert client.get(address).status_code == 404
        eventually(lambda: front.log()[-1]["origin"] == "")  # written after the answer
    assert httpx.get(f"http://127.0.0.1:{front.status_port}/livez").text == "ok"
    assert "Active connections" in httpx.get(f"http://127.0.0.1:{front.status_port}/status").text


def test_the_log_names_nobody(front: Front, client: httpx.Client) -> None:
    names = ["my-request", "my-second"]
    for name in names:
        answer = client.get("/images/heidi@example.com.png", headers={"X-Request-Id": name})
        assert answer.headers.get_list("x-request-id") == [name]
    eventually(lambda: [line["request"] for line in front.log()[-2:]] == names)  # written after the answer
    assert "heidi" not in (front.folder / "access.log").read_text(encoding="utf-8")
    assert "heidi" not in (front.folder / "error.log").read_text(encoding="utf-8")


def test_pictures_stream_through_as_they_are_grown(front: Front) -> None:
    """The first comes while the others are still to be grown."""
    connection = HTTPConnection(front.host, front.port, timeout=30)
    body = '{"seed": 0, "count": 60}'
    headers = {"Content-Type": "application/json", "Accept": "application/x-ndjson"}
    connection.request("POST", "/generate", body, headers)
    began = time.monotonic()
    answer = connection.getresponse()
    answer.readline()
    first = time.monotonic() - began
    answer.read()
    whole = time.monotonic() - began
    connection.close()
    assert answer.status == 200
    assert first < whole / 2


def test_without_the_service_what_is_there_is_still_served(toy_model: Path, tmp_path: Path) -> None:
    with (
        seedling({"SEEDLING_MODEL": str(toy_model), "SEEDLING_DRAIN_MS": "0"}) as service,
        Front(f"{service.host}:{service.port}", tmp_path) as front,
    ):
        kept = front.get("/images/ivan.png")
        service.stop()
        with httpx.Client(base_url=front.url) as client, ThreadPoolExecutor(8) as pool:
            age(front, 10**6)  # neither fresh nor within the day that an answer may be stale
            answers = list(pool.map(client.get, ["/images/ivan.png"] * 40))
            assert {(answer.status_code, answer.content) for answer in answers} == {(200, kept)}
            assert {did(answer) for answer in answers} == {"nginx; hit; detail=stale"}
            unseen = [client.get(f"/images/judy.png{query}") for query in ("", "?key=web&sig=abc")]
        assert "judy" not in (tmp_path / "error.log").read_text(encoding="utf-8")
    for answer in unseen:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["title"] == "Service Unavailable"


def test_what_the_service_refuses_by_now_is_not_served_for_ever(toy_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    make_model(toy_model, folder / "cats.onnx", "cats")
    dogs = make_model(toy_model, folder / "dogs.onnx", "dogs", 0.5)
    own = {"SEEDLING_MODEL": str(folder), "SEEDLING_DEFAULT": "cats", "SEEDLING_DRAIN_MS": "0"}
    address = "/images/ivan.png?model=dogs"
    with seedling(own) as service, Front(f"{service.host}:{service.port}", tmp_path) as front:
        direct = httpx.Client(base_url=f"http://{service.host}:{service.port}")
        eventually(lambda: direct.get(address).is_success)
        front.get(address)
        dogs.unlink()
        eventually(lambda: direct.get(address).status_code == 404)
        age(front, 10**6)
        assert httpx.get(f"{front.url}{address}").status_code == 404
        direct.close()


def test_addresses_begin_as_the_caller_sees_them(tmp_path: Path) -> None:
    own = {"SEEDLING_TRUSTED_PROXIES": "127.0.0.1", "SEEDLING_DRAIN_MS": "0"}
    with seedling(own) as service, Front(f"{service.host}:{service.port}", tmp_path) as front:
        for scheme, before in (("http", {}), ("https", {"X-Forwarded-Proto": "https"})):
            answer = httpx.post(f"{front.url}/v1/images/generations", json={"prompt": "a"}, headers=before)
            assert answer.json()["data"][0]["url"].startswith(f"{scheme}://")


def test_the_places_of_a_configuration_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "server 127.0.0.1:1;" in configure("127.0.0.1:1", 2, 3)
    other = tmp_path / "nginx.conf"
    other.write_text(CONFIGURATION.read_text(encoding="utf-8").replace("8080", "80"), encoding="utf-8")
    monkeypatch.setattr("bench.front.CONFIGURATION", other)
    with pytest.raises(ServerError, match=r"listen 8080;' 0 times, expected once"):
        configure("127.0.0.1:1", 2, 3)


def test_names_are_asked_for_by_zipfs_law(tmp_path: Path) -> None:
    write_paths(tmp_path / "paths", names=100, exponent=1.0, requests=20_000)
    lines = (tmp_path / "paths").read_text(encoding="ascii").splitlines()
    assert len(lines) == 20_000
    ratio = lines.count("/images/person-0.png") / lines.count("/images/person-9.png")
    assert 8 < ratio < 12.5


@pytest.mark.usefixtures("wrk")
def test_the_bench_measures_the_cache(
    toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(toy_model), "--seconds", "1", "--requests", "5000"]
    assert main([*words, "--json", str(tmp_path / "front.json")]) == 0
    assert "for one new picture: 1 came to the service" in capsys.readouterr().out
