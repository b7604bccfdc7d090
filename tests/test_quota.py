"""Quotas: counted in pictures, by key and by address, told in standard headers."""

import itertools
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import StartService
from live import make_key

from app.counters import MAX_COUNTERS, Counters
from app.quota import normalise
from app.settings import Settings

QUOTA = 200


def left(answer: httpx.Response) -> dict[str, int]:
    """Returns the pictures that are left, by the policy's name."""
    found = re.findall(r'"([a-z0-9-]+)";r=(\d+);t=\d+', answer.headers["ratelimit"])
    return {name: int(count) for name, count in found}


@pytest.fixture(scope="module")
def limited(toy_model: Path, start: StartService) -> Iterator[httpx.Client]:
    """A service that trusts us to say for whom we ask."""
    with start(
        model=toy_model, quota_per_address=f"{QUOTA}/hour", trusted_proxies="127.0.0.1", max_count=250
    ) as client:
        yield client


Ask = Callable[..., httpx.Response]


ADDRESSES = (f"10.0.{k // 250}.{k % 250}" for k in itertools.count())


@pytest.fixture
def ask(limited: httpx.Client) -> Ask:
    """Asks for an address of this test's own."""
    address = next(ADDRESSES)

    def send(path: str, method: str = "GET", **options: object) -> httpx.Response:
        headers = {"X-Forwarded-For": address} | options.pop("headers", {})
        return limited.request(method, path, headers=headers, **options)

    return send


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("/images/1.png", None, 1),
        ("/interpolate?from=1&to=2&steps=9", None, 9),
        ("/models/toy/sheet.png", None, 0),  # there is no such edition
        ("/v1/models/toy/sheet.png", None, 64),
        ("/generate", {"count": 64}, 64),
        ("/generate", {"latents": [[0.0] * 8] * 3}, 3),
        ("/v1/images/generations", {"prompt": "a", "n": 5, "response_format": "b64_json"}, 5),
        ("/v1/images/generations", {"prompt": "a", "n": 5}, 0),  # addresses, no pictures
        (
            "/v2/models/toy/infer",
            {"inputs": [{"name": "seed", "datatype": "UINT64", "shape": [4], "data": [1, 2, 3, 4]}]},
            4,
        ),
        (
            "/v2/models/toy/infer",
            {
                "inputs": [{"name": "seed", "datatype": "UINT64", "shape": [2], "data": [1, 2]}],
                "outputs": [{"name": "images"}, {"name": "png", "parameters": {"binary_data": True}}],
            },
            4,  # both are grown
        ),
        (
            "/v2/models/toy/infer",
            {
                "inputs": [{"name": "seed", "datatype": "UINT64", "shape": [1], "data": [1]}],
                "outputs": [{"name": "images"}, {"name": "jpg"}],
            },
            0,  # refused before anything is grown
        ),
        ("/v1/models", None, 0),
        ("/images/1.png?size=0", None, 0),
        ("/generate", {"count": 251}, 0),
    ],
)
def test_a_request_costs_its_pictures(ask: Ask, path: str, body: object, cost: int) -> None:
    method = "GET" if body is None else "POST"
    answer = ask(path, method, json=body)
    assert left(answer) == {"address-3600s": QUOTA - cost}, answer.text
    assert answer.headers["ratelimit-policy"] == f'"address-3600s";q={QUOTA};w=3600;qu="pictures"'


def test_a_stream_costs_its_pictures(ask: Ask) -> None:
    answer = ask("/generate", "POST", json={"count": 100}, headers={"Accept": "application/x-ndjson"})
    assert len(answer.text.splitlines()) == 100
    assert left(answer) == {"address-3600s": QUOTA - 100}


def test_what_needs_no_engine_costs_nothing(ask: Ask) -> None:
    first = ask("/images/cheap.png")
    again = [
        ask("/images/cheap.png"),
        ask("/images/cheap.png", headers={"If-None-Match": first.headers["etag"]}),
        ask("/images/new.png", headers={"If-None-Match": "*"}),
        ask("/images/other.png", "HEAD"),
    ]
    assert [answer.status_code for answer in again] == [200, 304, 304, 200]
    assert {left(answer)["address-3600s"] for answer in [first, *again]} == {QUOTA - 1}


def test_what_is_beyond_is_refused_with_the_time_to_come_back(ask: Ask) -> None:
    assert ask("/generate", "POST", json={"count": 190}).status_code == 200
    answer = ask("/generate", "POST", json={"count": 11})
    assert answer.status_code == 429
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    problem = answer.json()
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["violated-policies"] == ["address-3600s"]
    assert re.fullmatch(
        r"the quota 'address-3600s' has 10 pictures left for \d+ s, got 11", problem["detail"]
    )
    assert left(answer) == {"address-3600s": 10}
    assert ask("/generate", "POST", json={"count": 10}).status_code == 200
    assert ask("/images/one-more.png").status_code == 429
    assert ask("/livez").status_code == 200


def test_what_can_never_be_is_not_told_to_come_back(ask: Ask) -> None:
    answer = ask("/generate", "POST", json={"count": QUOTA + 1})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "the number of pictures must be at most 200 on this server, got 201"
    assert left(answer) == {"address-3600s": QUOTA}


def test_each_address_has_its_own(limited: httpx.Client) -> None:
    def of(address: str) -> int:
        answer = limited.get(f"/images/{address}.png", headers={"X-Forwarded-For": address})
        return left(answer)["address-3600s"]

    assert [of("192.0.2.1"), of("192.0.2.2"), of("192.0.2.1, 192.0.2.3")] == [QUOTA - 1] * 3
    assert [of("2001:db8::1"), of("2001:db8::ffff"), of("2001:db8:0:1::1")] == [
        QUOTA - 1,
        QUOTA - 2,
        QUOTA - 1,
    ]


def test_a_proxy_counts_only_if_it_is_trusted_and_keys_have_quotas_of_their_own(
    toy_model: Path, start: StartService, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    keys = [make_key(file, "new", "a"), make_key(file, "new", "b"), make_key(file, "new", "a")]
    settings = {"quota_per_key": "5/minute;20/day", "quota_per_address": "8/hour", "keys": file}
    with start(model=toy_model, trusted_proxies="203.0.113.0/24", **settings) as client:

        def grow(key: str, count: int) -> httpx.Response:
            headers = {"X-API-Key": key, "X-Forwarded-For": key[-12:]}
            return client.post("/generate", json={"count": count}, headers=headers)

        assert left(grow(keys[0], 4)) == {"key-60s": 1, "key-86400s": 16, "address-3600s": 4}
        assert grow(keys[2], 2).json()["violated-policies"] == ["key-60s"]  # one name, one quota
        answer = grow(keys[1], 5)
        assert answer.json()["violated-policies"] == ["address-3600s"]
        assert left(answer) == {"key-60s": 5, "key-86400s": 20, "address-3600s": 4}
        assert left(grow(keys[1], 4))["address-3600s"] == 0
        assert "ratelimit" not in client.get("/images/1.png").headers  # who asks is not known


def test_what_the_engine_has_no_time_for_costs_nothing(ask: Ask) -> None:
    for _ in range(3):
        answer = ask("/generate", "POST", json={"count": 64}, headers={"X-Timeout-Ms": "1"})
        assert answer.status_code == 429
        assert left(answer) == {"address-3600s": QUOTA}
        assert "violated-policies" not in answer.json()


def test_a_stream_that_is_refused_costs_nothing(start: StartService) -> None:
    with start(quota_per_address=f"{QUOTA}/hour", trusted_proxies="127.0.0.1", batch_sizes="[1,4]") as client:
        [model] = client.get("/v1/models").json()["data"]
        enough_for_two = math.ceil(1000 * 1.1 * 2 / model["layout"]["pictures_per_s"])
        headers = {"X-Timeout-Ms": str(enough_for_two), "Accept": "application/x-ndjson"}
        answer = client.post(
            "/generate", json={"count": 100}, headers=headers | {"X-Forwarded-For": "10.9.9.9"}
        )
        assert answer.status_code == 429, "its first batch is of four"
        assert left(answer) == {"address-3600s": QUOTA}


def test_ipv6_counts_by_network_and_ipv4_in_it_as_ipv4() -> None:
    assert normalise("::ffff:192.0.2.1") == normalise("192.0.2.1") == "192.0.2.1"
    assert normalise("2001:db8::1") == "2001:db8::/64"
    assert normalise("/run/socket") == "/run/socket"


def test_counters_are_bounded_and_forget_the_oldest() -> None:
    counters = Counters()
    for k in range(MAX_COUNTERS + 10):
        counters.incr(str(k), 1000, 2)
    assert counters.get("9") == 0
    assert counters.get("10") == counters.get(str(MAX_COUNTERS + 9)) == 2
    assert counters.reset() == MAX_COUNTERS


def test_a_count_ends_with_its_time() -> None:
    counters = Counters()
    counters._counts["a"] = 5, time.monotonic()
    assert counters.get("a") == 0
    assert counters.incr("b", 1000) == 1
    assert counters.incr("b", 1000, 3) == 4
    assert counters.reset() == 1  # what had ended is gone


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("quota_per_key", "many", "expected such as 600/minute"),
        ("quota_per_address", "5", "expected such as 600/minute"),
        ("trusted_proxies", "example.org", "one is 'example.org'"),
        ("cors_origins", "example.org", "expected sites such as https://example.org"),
        ("cors_origins", "https://example.org/", "expected sites such as https://example.org"),
    ],
)
def test_a_wrong_setting_is_told(name: str, value: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings.model_validate({name: value})
