"""Makes every error of the application a problem document."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from app.disconnect import ClientGoneError
from app.exchange import refused_for
from app.look import LookError
from app.problems import MEDIA_TYPE, LimitError, QuotaError, document, refuse, request_id, respond
from app.refusals import EngineFaultError, EngineStoppedError, OverloadError

log = logging.getLogger("seedling")

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The type of a problem that draft-ietf-httpapi-ratelimit-headers names."""

GOT_MAX = 120
"""Longest part of a bad value that an error repeats, in characters."""


def answer_errors(app: FastAPI) -> None:
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
    problem = document(request.scope["path"], 429, str(error))
    problem |= {"type": QUOTA_EXCEEDED, "violated-policies": error.policies}
    return JSONResponse(problem, 429, {"Retry-After": str(error.retry_after_s)}, MEDIA_TYPE)


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
