"""Reads a query into one of the vocabulary's models, and describes it in the API's description.

FastAPI can do both. Its way takes as long again as all else that it does for a request, and most addresses of
pictures have no query at all.
"""

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.parameters import REPEATABLE, Vocabulary

Q = TypeVar("Q", bound=Vocabulary)


def read_query(kind: type[Q], request: Request) -> Q:
    """Returns what a query holds.

    Args:
        kind: What may be in it.
        request: The request.

    Raises:
        RequestValidationError: 422, if there is anything else in it, or a wrong value.
    """
    if not request.scope["query_string"]:
        nothing: Q = _read_nothing(kind)
        return nothing
    return read_pairs(kind, request.query_params.multi_items())


@functools.cache
def _read_nothing(kind: type[Q]) -> Q:
    return read_pairs(kind, ())


def read_pairs(kind: type[Q], pairs: Iterable[tuple[str, str]]) -> Q:
    """Returns what names and values hold; as ``read_query``."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in REPEATABLE:
            found.setdefault(name, []).append(value)
        elif name in found:
            message = f"expected one value, got {found[name]!r} and {value!r}"
            raise RequestValidationError([{"type": "twice", "loc": ("query", name), "msg": message}])
        else:
            found[name] = value
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise RequestValidationError(
            [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        ) from None


def describe_query(kind: type[Vocabulary]) -> dict[str, Any]:
    """Returns what a route adds to the API's description (OpenAPI 3.1) about its query."""
    schema = kind.model_json_schema()
    required = schema.get("required", [])
    return {
        "parameters": [_describe(name, name in required, it) for name, it in schema["properties"].items()]
    }


def _describe(name: str, required: bool, schema: dict[str, Any]) -> dict[str, Any]:  # noqa: FBT001 - a predicate
    described = {"name": name, "in": "query", "required": required, "schema": schema}
    if "description" in schema:
        described["description"] = schema.pop("description").replace("\n", " ")
    if name not in REPEATABLE:
        described["explode"] = False  # a list is one text, separated by commas
    return described
