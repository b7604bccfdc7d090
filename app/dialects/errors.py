"""How the dialects say no: in the members of a problem document that their clients look for."""

from http import HTTPStatus
from typing import Any

OPENAI_CODES = {400: "invalid_value", 404: "not_found", 429: "rate_limit_exceeded"}
"""What OpenAI's errors have as ``code``; null for the rest."""


def translate(path: str, status: int, detail: str, parameter: str | None) -> tuple[int, dict[str, Any]]:
    """Says an error as the dialect of an address does.

    Args:
        path: The address.
        status: HTTP status.
        detail: What is wrong.
        parameter: The parameter that is wrong, if it is one.

    Returns:
        The status, which for a bad request is 400 in the dialects, and what the problem has beside its own
        members: nothing outside the dialects.
    """
    if not path.startswith(("/v1/", "/v2")):
        return status, {}
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    if path.startswith("/v2"):
        return status, {"error": detail}
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    code = OPENAI_CODES.get(status)
    return status, {"error": {"message": detail, "type": kind, "param": parameter, "code": code}}
