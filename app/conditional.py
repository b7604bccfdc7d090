"""Entity tags, conditional requests and the cache: what needs no engine is answered before it is asked.

Source: RFC 9110 (sections 8.8.3, 9.3.2 and 13), RFC 9111, and RFC 8246 for ``immutable``.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from app.cache import Answer, AnswerCache
from app.choice import choose, keep

if TYPE_CHECKING:
    from app.engine import Engine
    from app.settings import Settings

FOREVER = "public, max-age=31536000, immutable"
"""For an address that names its model: what is there never changes."""

FOR_A_WHILE = "public, max-age=300, stale-while-revalidate=86400"
"""For an address without a model: the operator may serve another one tomorrow."""

MILLISECONDS = re.compile(rb"[1-9][0-9]{0,8}")
"""``X-Timeout-Ms`` as it is usually written."""

_TAG = re.compile(r'(W/)?"([^"]*)"')

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def entity_tag(*parts: object) -> str:
    """Returns the strong entity tag of an answer whose bytes are decided by the parts, quotes included."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return f'"{base64.urlsafe_b64encode(digest[:15]).decode()}"'


def lists(header: str, tag: str, *, weak: bool) -> bool:
    """Tells whether ``If-Match`` or ``If-None-Match`` lists a strong tag; weakly compared, ``W/`` counts."""
    if header.strip() == "*":
        return True
    return any(f'"{name}"' == tag and (weak or not mark) for mark, name in _TAG.findall(header))


def answer_early(request: Request, headers: Mapping[str, str]) -> Response | None:
    """Answers what needs no body: a condition that decides the request, or HEAD.

    Args:
        request: The request.
        headers: Those of the full answer, ``ETag`` among them.

    Returns:
        The answer, or None if the request wants the body.

    Raises:
        HTTPException: 412 if ``If-Match`` does not list the tag.
    """
    tag = headers["etag"]
    wanted, known = request.headers.get("if-match"), request.headers.get("if-none-match")
    if wanted is not None and not lists(wanted, tag, weak=False):
        raise HTTPException(412, f"If-Match wants {wanted}, what is here has {tag}")
    bare = {name: value for name, value in headers.items() if name not in {"content-length", "content-type"}}
    if known is not None and lists(known, tag, weak=True):
        return Response(status_code=304, headers=bare)
    if request.method == "HEAD":
        response = Response(headers=dict(headers))
        if "content-length" not in headers:  # the length is not known before the picture is
            del response.headers["content-length"]
        return response
    return None


def peek_timeout_s(request: Request) -> float:
    """Returns how long a request may take, in seconds; a bad header, refused later, sets no limit."""
    settings: Settings = request.app.state.settings
    asked = request.headers.get("x-timeout-ms", "").encode("latin-1")
    return settings.timeout_s(int(asked) if MILLISECONDS.fullmatch(asked) else None)


def kept_at(engine: "Engine", url: bytes) -> bytes:
    """Returns the key of an answer in the cache.

    By edition, so that no answer outlives its model: an address alone may be another's tomorrow.
    """
    return b"%b %b" % (engine.edition.encode(), url)


async def answer_kept(request: Request, handler: Handler) -> Response:
    """Answers a GET or HEAD from the cache, or has it answered and keeps that.

    An answer is kept by edition and address if it is a 200 with an entity tag. A request that is not in
    the cache and for which there is no room or no time is refused here, where that costs the least.

    Args:
        request: The request.
        handler: Makes the answer.
    """
    cache: AnswerCache = request.app.state.cache
    engine = choose(request)
    query = request.scope["query_string"]
    address = kept_at(engine, request.scope["raw_path"] + (b"?" + query if query else b""))
    answer = cache.get(address)
    if answer is not None:
        return answer_early(request, answer.headers) or Response(answer.body, headers=answer.headers)
    keep(request, engine)
    if request.method == "GET" and "if-none-match" not in request.headers:
        engine.check(1, peek_timeout_s(request))
    response = await handler(request)
    if request.method == "GET" and response.status_code == 200 and "etag" in response.headers:
        cache.put(address, Answer(dict(response.headers), bytes(response.body)))
    return response


class CachedRoute(APIRoute):
    """A GET route whose answers are kept, and served before FastAPI reads parameters."""

    def get_route_handler(self) -> Handler:
        """Wraps the handler that FastAPI makes of the endpoint."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await answer_kept(request, handler)

        return handle
