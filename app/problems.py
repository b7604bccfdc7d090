"""Errors as RFC 9457 problem details (``application/problem+json``)."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.disconnect import ClientGoneError
from app.engine import EngineStoppedError, OverloadError

log = logging.getLogger("seedling")

GOT_MAX = 120
"""Longest part of a bad value that an error repeats, in characters."""


class Problem(BaseModel):
    """A problem as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


_PROBLEM = {"application/problem+json": {"schema": Problem.model_json_schema()}}

RESPONSES: dict[int | str, dict[str, Any]] = {
    422: {
        "description": "The request asks for what there is not; the detail says what was got and expected.",
        "content": _PROBLEM,
    },
    429: {
        "description": "There is no room in the queue, or the pictures would not be done in time.",
        "headers": {
            "Retry-After": {
                "description": "Seconds until there should be room, from the measured drain rate.",
                "schema": {"type": "integer", "minimum": 1},
            }
        },
        "content": _PROBLEM,
    },
    503: {"description": "The service is stopping.", "content": _PROBLEM},
}
"""What the API's description says of errors, in place of FastAPI's own form."""


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "`If-None-Match` lists the entity tag: what the client has is what is here."},
    412: {"description": "`If-Match` does not list the entity tag.", "content": _PROBLEM},
}
"""What the API's description says of conditional requests."""


class LimitError(Exception):
    """A request that is well formed and asks for more than the settings allow.

    Args:
        name: The parameter.
        got: Its value.
        limit: The largest value allowed.
    """

    def __init__(self, name: str, got: int, limit: int) -> None:
        super().__init__(f"{name} must be at most {limit} on this server, got {got}")


def install(app: FastAPI) -> None:
    """Makes every error of an application a problem document."""
    # Coroutines all, for Starlette would run plain functions in threads, which costs more than they do.
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(LimitError, _limit)
    app.add_exception_handler(OverloadError, _overload)
    app.add_exception_handler(EngineStoppedError, _stopped)
    app.add_exception_handler(ClientGoneError, _gone)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _respond(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type="application/problem+json")


async def _limit(_: Request, error: Exception) -> JSONResponse:
    return _respond(422, str(error))


async def _stopped(_: Request, error: Exception) -> JSONResponse:
    return _respond(503, str(error))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; 499 is what nginx logs for it


async def _overload(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OverloadError)
    return _respond(429, str(error), {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _respond(422, "; ".join(_describe(item) for item in error.errors()))


def _describe(item: dict[str, Any]) -> str:
    """Returns one validation error as a sentence: where, what was expected, what was got."""
    # Starlette names the source first ("body", "query", "path"); the rest is the parameter.
    place = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        return f"the body is not valid JSON: {item['ctx']['error']}"
    if "got" in message or item["type"] == "missing":
        return f"{place}: {message}"
    got = repr(item.get("input"))
    return f"{place}: {message}, got {got if len(got) <= GOT_MAX else got[:GOT_MAX] + '…'}"


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _respond(error.status_code, str(error.detail), error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _respond(500, "the service failed at this request; its log says why")
