"""Errors as RFC 9457 problem details (``application/problem+json``)."""

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.dialects.errors import translate
from app.disconnect import ClientGoneError
from app.exchange import current, refused_for
from app.look import LookError
from app.refusals import EngineFaultError, EngineStoppedError, OverloadError

log = logging.getLogger("seedling")

MEDIA_TYPE = "application/problem+json"

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The type of a problem that draft-ietf-httpapi-ratelimit-headers names."""

GOT_MAX = 120
"""Longest part of a bad value that an error repeats, in characters."""


class Problem(BaseModel):
    """A problem as RFC 9457 describes it; addresses of another API's dialect add the member `error`."""

    type: str = Field(
        default="about:blank",
        description="What kind of problem it is: none beside its status, or the quota that was exceeded.",
    )
    title: str = Field(description="The status in words.", examples=["Unprocessable Entity"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(
        description="What was got and what was expected.",
        examples=["seed: a text seed must have 1…256 characters, got 0"],
    )
    request_id: str | None = Field(
        default=None,
        description="Which request it was: in `X-Request-Id` and in the service's log too.",
        examples=["6f1c02d9a8b37e45"],
    )


REASONS = {
    400: (
        "The request cannot be read, or asks for what is not there; the detail names what was expected.",
        "size: expected auto or a square such as 256x256, got '256x128'",
    ),
    401: (
        "A key is needed, and there is none, or one that is not good.",
        "expected a key, as Authorization: Bearer KEY or X-API-Key: KEY, got none",
    ),
    403: (
        "The signature of the address is wrong or has expired; or only operators may.",
        "the address was good until 2026-12-24T00:00:00Z",
    ),
    404: ("There is no such model or edition here.", "the models here are 'avatars', got 'flowers'"),
    406: (
        "`Accept` allows none of the forms that there are.",
        "Accept must allow one of image/png, application/zip, application/json, got 'text/html'",
    ),
    412: ("`If-Match` does not list the entity tag.", 'If-Match wants "abc", what is here has "xyz"'),
    413: (
        "The body is longer than one for as many pictures as may be asked for.",
        "a request for 64 pictures of this model has at most 225280 bytes, got 1000000",
    ),
    415: (
        "The body is not JSON, or does not say so.",
        "expected a body of the type application/json, got 'text/plain'",
    ),
    422: (
        "The request asks for what there is not; the detail says what was got and expected.",
        "count must be at most 64 on this server, got 65",
    ),
    429: (
        "There is no room in the queue, or the pictures would not be done in time; or a quota is spent.",
        "the queue holds 1020 pictures of at most 1024; there is no room for 16",
    ),
    503: (
        "The model is still being loaded, or cannot be; or the service is stopping.",
        "the service is stopping",
    ),
}
"""What each status means here, and an example of a detail."""

RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until there should be room, from the measured drain rate; or until a model "
        "should be loaded.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    }
}


def refusals(*statuses: int, path: str = "/") -> dict[int | str, dict[str, Any]]:
    """Returns what the API's description says of errors, in place of FastAPI's own form.

    Args:
        statuses: Those that a route may answer with, in ``REASONS``.
        path: Where the route is: dialects have a form of their own.
    """
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        why, detail = REASONS[status]
        example = _problem(path, status, detail)
        schema = {"$ref": "#/components/schemas/Problem"}
        found[status] = {"description": why, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}
        if status in {429, 503}:
            found[status]["headers"] = RETRY_AFTER
    return found


class LimitError(Exception):
    """A request that is well formed and asks for more than the settings allow.

    Args:
        name: The parameter.
        got: Its value.
        limit: The largest value allowed.
    """

    def __init__(self, name: str, got: int, limit: int) -> None:
        super().__init__(f"{name} must be at most {limit} on this server, got {got}")
        self.name = name


class QuotaError(Exception):
    """A request for more pictures than its caller may have now.

    Args:
        message: What is asked for, and what there is.
        policies: Names of the policies that it would break.
        retry_after_s: Seconds until it may be asked again.
    """

    def __init__(self, message: str, policies: Sequence[str], retry_after_s: int) -> None:
        super().__init__(message)
        self.policies = policies
        self.retry_after_s = retry_after_s


def install(app: FastAPI) -> None:
    """Makes every error of an application a problem document."""
    # Coroutines all, for Starlette would run plain functions in threads, which costs more than they do.
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(LimitError, _limit)
    app.add_exception_handler(QuotaError, _quota)
    app.add_exception_handler(LookError, _unfit)
    app.add_exception_handler(OverloadError, _overload)
    app.add_exception_handler(EngineStoppedError, _stopped)
    app.add_exception_handler(ClientGoneError, _gone)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _problem(path: str, status: int, detail: str, parameter: str | None = None) -> dict[str, Any]:
    """Returns the document of a problem, in the dialect of an address."""
    status, more = translate(path, status, detail, parameter)
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id())
    return problem.model_dump(exclude_none=True) | more


def request_id() -> str | None:
    """Returns the id of the request at hand, if there is one."""
    exchange = current.get()
    return None if exchange is None else exchange.request_id


def respond(
    path: str,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    parameter: str | None = None,
) -> JSONResponse:
    """Returns an error as an answer.

    Args:
        path: The address that was asked for: dialects have a form of their own.
        status: The HTTP status.
        detail: What was got and what was expected.
        headers: More headers.
        parameter: The parameter that is wrong.
    """
    problem = _problem(path, status, detail, parameter)
    return JSONResponse(problem, problem["status"], headers=headers, media_type=MEDIA_TYPE)


def _respond(
    request: Request,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    parameter: str | None = None,
) -> JSONResponse:
    return respond(request.scope["path"], status, detail, headers, parameter)


async def _limit(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LimitError)
    refused_for("limit")
    return _respond(request, 422, str(error), parameter=error.name)


async def _unfit(request: Request, error: Exception) -> JSONResponse:
    return _respond(request, 422, str(error), parameter="background")


async def _stopped(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, EngineFaultError):
        refused_for("fault")
        return _respond(request, 503, str(error), {"Retry-After": f"{error.retry_after_s:.0f}"})
    refused_for("stopping")
    return _respond(request, 503, str(error))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; 499 is what nginx logs for it


async def _overload(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OverloadError)
    refused_for(error.cause)
    return refuse(request.scope["path"], error)


async def _quota(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QuotaError)
    problem = _problem(request.scope["path"], 429, str(error))
    problem |= {"type": QUOTA_EXCEEDED, "violated-policies": error.policies}
    return JSONResponse(problem, 429, {"Retry-After": str(error.retry_after_s)}, MEDIA_TYPE)


def refuse(path: str, error: OverloadError) -> JSONResponse:
    """Returns the answer to a request that the engine has no room or no time for."""
    return respond(path, 429, str(error), {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    name = ".".join(str(part) for part in faults[0]["loc"][1:]) or None
    return _respond(request, 422, "; ".join(map(_describe, faults)), parameter=name)


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


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _respond(request, error.status_code, str(error.detail), error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    # This is written outside of everything that adds headers, and uvicorn closes the connection after it.
    headers = {"Connection": "close"} | ({"X-Request-Id": name} if (name := request_id()) else {})
    return _respond(request, 500, "the service failed at this request; its log says why", headers)


RESPONSES = refusals(404, 422, 429, 503)
"""What the API's description says of errors where pictures are."""

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "`If-None-Match` lists the entity tag: what the client has is what is here."},
    **refusals(412),
}
"""What it says of conditional requests."""
