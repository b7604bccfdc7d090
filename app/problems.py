"""Errors as RFC 9457 problem details (``application/problem+json``)."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.dialects.errors import translate
from app.exchange import current
from app.refusals import OverloadError

MEDIA_TYPE = "application/problem+json"


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


def document(path: str, status: int, detail: str, parameter: str | None = None) -> dict[str, Any]:
    """Returns the document of a problem, in the dialect of an address.

    Args:
        path: The address.
        status: The HTTP status.
        detail: What was got and what was expected.
        parameter: The parameter that is wrong.
    """
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
    problem = document(path, status, detail, parameter)
    return JSONResponse(problem, problem["status"], headers=headers, media_type=MEDIA_TYPE)


def refuse(path: str, error: OverloadError) -> JSONResponse:
    """Returns the answer to a request that the engine has no room or no time for."""
    return respond(path, 429, str(error), {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})
