"""What each status means here, for the API's description."""

from typing import Any

from app.problems import MEDIA_TYPE, document

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
        example = document(path, status, detail)
        schema = {"$ref": "#/components/schemas/Problem"}
        found[status] = {"description": why, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}
        if status in {429, 503}:
            found[status]["headers"] = RETRY_AFTER
    return found


RESPONSES = refusals(404, 422, 429, 503)
"""What the API's description says of errors where pictures are."""

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "`If-None-Match` lists the entity tag: what the client has is what is here."},
    **refusals(412),
}
"""What it says of conditional requests."""
