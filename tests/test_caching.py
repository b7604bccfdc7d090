"""Entity tags, conditional requests, HEAD and the address that is for ever, over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import StartService

import app.conditional
from app.conditional import entity_tag, lists

PICTURE, PATH = "/images/alice.png", "/interpolate?from=alice&to=bob&steps=3"


@pytest.fixture(scope="module")
def uncached(start: StartService, toy_model: Path) -> Iterator[httpx.Client]:
    with start(model=toy_model, cache_mb=0) as client:
        yield client


@pytest.fixture(params=["cached", "uncached"])
def client(request: pytest.FixtureRequest) -> httpx.Client:
    """A service with a cache that is warm, and one without any."""
    if request.param == "uncached":
        found: httpx.Client = request.getfixturevalue("uncached")
    else:
        found = request.getfixturevalue("service")
        found.get(PICTURE), found.get(PATH)
    return found


def edition(client: httpx.Client) -> str:
    found: str = client.get("/v1/models").json()["data"][0]["edition"]
    return found


@pytest.mark.parametrize("address", [PICTURE, PATH])
def test_a_known_tag_is_answered_without_a_body(client: httpx.Client, address: str) -> None:
    full = client.get(address)
    tag = full.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = client.get(address, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag
        assert answer.headers["cache-control"] == full.headers["cache-control"]
        assert "content-type" not in answer.headers
    assert client.get(address, headers={"If-None-Match": '"other"'}).content == full.content


@pytest.mark.parametrize("address", [PICTURE, PATH])
def test_if_match_is_held_to_the_strong_tag(client: httpx.Client, address: str) -> None:
    tag = client.get(address).headers["etag"]
    assert client.get(address, headers={"If-Match": tag}).status_code == 200
    for other in ('"other"', f"W/{tag}"):
        answer = client.get(address, headers={"If-Match": other})
        assert answer.status_code == 412
        assert tag in answer.json()["detail"]


@pytest.mark.parametrize("address", [PICTURE, PATH])
def test_head_is_get_without_the_body(client: httpx.Client, address: str) -> None:
    full, head = client.get(address), client.head(address)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "cache-control", "content-type", "content-location", "seedling-seed"):
        assert head.headers[name] == full.headers[name]
    assert (
        head.headers.get("content-length", full.headers["content-length"]) == full.headers["content-length"]
    )
    tag = full.headers["etag"]
    assert client.head(address, headers={"If-None-Match": tag}).status_code == 304


def test_errors_of_head_and_conditional_requests_are_those_of_get(client: httpx.Client) -> None:
    assert client.head("/images/.png").status_code == 422
    assert client.get("/interpolate?from=1&to=2&steps=99", headers={"If-None-Match": "*"}).status_code == 422


def test_an_answer_names_its_address_for_ever(client: httpx.Client) -> None:
    for address in (PICTURE, PATH):
        passing = client.get(address)
        assert passing.headers["cache-control"] == app.conditional.FOR_A_WHILE
        lasting = client.get(passing.headers["content-location"])
        assert lasting.content == passing.content
        assert lasting.headers["etag"] == passing.headers["etag"]
        assert lasting.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "content-location" not in lasting.headers
        assert lasting.headers["seedling-model"] == client.get("/v1/models").json()["data"][0]["sha256"]


def test_the_address_of_another_model_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/models/0123456789abcdef-cpu-float32/images/1.png")
    assert answer.status_code == 404
    assert edition(client) in answer.json()["detail"]


def test_a_tag_tells_bytes_apart(client: httpx.Client) -> None:
    addresses = ["/images/1.png", "/images/2.png", *(f"{PATH}&format={kind}" for kind in ("apng", "webp"))]
    assert len({client.get(address).headers["etag"] for address in addresses}) == 4
    same = ["/images/7.png", "/images/%37.png", "/images/7.png?truncation=1.0&shape=square&model=toy"]
    assert len({client.get(address).headers["etag"] for address in same}) == 1


def test_another_packing_is_another_edition(
    client: httpx.Client, start: StartService, toy_model: Path
) -> None:
    with start(model=toy_model, png="small") as small:
        known, other = edition(client).split("-"), edition(small).split("-")
        assert known[:3] == other[:3]
        assert known[3] != other[3]
        assert small.get(PICTURE).headers["etag"] != client.get(PICTURE).headers["etag"]
        assert len(small.get(PICTURE).content) <= len(client.get(PICTURE).content)


def test_a_cached_answer_is_the_answer(service: httpx.Client, uncached: httpx.Client) -> None:
    for address in (PICTURE, PATH):
        answers = [service.get(address), service.get(address), uncached.get(address)]
        assert len({answer.content for answer in answers}) == 1
        seen = [
            {k: v for k, v in answer.headers.items() if k not in {"date", "x-request-id"}}
            for answer in answers
        ]
        assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("header", "weak", "strong"),
    [
        ('"a"', True, True),
        ('"b", "a"', True, True),
        ('W/"a"', True, False),
        ("*", True, True),
        ('"b"', False, False),
        ("a", False, False),
        ("", False, False),
    ],
)
def test_lists_of_tags(header: str, *, weak: bool, strong: bool) -> None:
    assert lists(header, '"a"', weak=True) == weak
    assert lists(header, '"a"', weak=False) == strong


def test_entity_tags_for_ever() -> None:
    assert entity_tag("edition", "/images/1.png") == entity_tag("edition", "/images/1.png")
    assert entity_tag("a", "b") != entity_tag("ab", "") != entity_tag("", "ab")
