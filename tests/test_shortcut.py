"""The plainest address of a picture: what reads it by hand answers as FastAPI does."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from scraped import families, total
from starlette.routing import Match

from app.shortcut import PlainPicture

if TYPE_CHECKING:
    from conftest import StartService

LONG_WAY = {"X-Timeout-Ms": "02000"}
"""A number that is not in its usual form is left to FastAPI, and is the same number."""


@pytest.fixture(scope="module")
def forgetful(start: "StartService", toy_model: Path) -> Iterator[httpx.Client]:
    """A service that keeps no answers, so that each is made anew."""
    with start(model=toy_model, cache_mb=0) as client:
        yield client


def matches(path: str, method: str = "GET", query: bytes = b"", **headers: bytes) -> bool:
    sent = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": sent}
    return PlainPicture().matches(scope)[0] == Match.FULL


def test_only_what_is_plain_is_read_by_hand() -> None:
    assert matches("/images/0.png")
    assert matches("/images/9999999999999999999.png", x_timeout_ms=b"2000")
    assert not matches("/images/18446744073709551616.png")
    assert not matches("/images/alice.png")
    assert not matches("/images/007.png")  # a name
    assert not matches("/images/١.png")
    assert not matches("/images/1.webp")
    assert not matches("/images/1.png/")
    assert not matches("/models/e/images/1.png")
    assert not matches("/images/1.png", query=b"size=64")
    assert not matches("/images/1.png", method="HEAD")
    assert not matches("/images/1.png", x_timeout_ms=b"soon")
    assert not matches("/images/1.png", x_timeout_ms=LONG_WAY["X-Timeout-Ms"].encode())


@pytest.mark.parametrize("path", ["/images/7.png", "/images/007.png", "/images/9999999999999999999.png"])
@pytest.mark.parametrize(
    "headers", [{}, {"If-None-Match": "*"}, {"If-Match": '"another"'}, {"Range": "bytes=0-9"}]
)
def test_both_ways_give_one_answer(forgetful: httpx.Client, path: str, headers: dict[str, str]) -> None:
    by_hand, by_fastapi = (forgetful.get(path, headers=headers | more) for more in ({}, LONG_WAY))
    assert (
        by_hand.status_code
        == by_fastapi.status_code
        == {"If-None-Match": 304, "If-Match": 412}.get(next(iter(headers), ""), 200)
    )
    if by_hand.is_success:
        assert by_hand.content == by_fastapi.content
    own = {"date", "x-request-id", "content-length"} if by_hand.is_error else {"date", "x-request-id"}
    first, second = (
        {name: value for name, value in answer.headers.items() if name not in own}
        for answer in (by_hand, by_fastapi)
    )
    assert first == second


def test_both_ways_are_counted_alike(forgetful: httpx.Client) -> None:
    def count() -> float:
        labels = {"route": "/images/{seed}.{format}", "method": "GET", "status": "200"}
        return total(families(forgetful), "seedling_requests_total", **labels)

    before = count()
    for headers in ({}, LONG_WAY):
        forgetful.get("/images/2.png", headers=headers).raise_for_status()
    assert count() == before + 2
