"""What ``/openapi.json`` says: the routes' own description, with readable names and one form of errors."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.parameters import GenerateResponse
from app.problems import Problem

TAGS = [
    {"name": "pictures", "description": "Pictures of seeds, places between them, and paths over them."},
    {"name": "models", "description": "What is served."},
    {"name": "dialects", "description": "The same pictures for programs that speak another API."},
    {"name": "operations", "description": "For load balancers and operators."},
]

_PART = re.compile(r"{(\w+)}")

PATH_PARTS = {
    name: {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }
    for name, description, example in (
        ("edition", "What decides the bytes, as `/v1/models` tells it.", "914c84c26496-cpu-float32-8236d630"),
        ("model", "Name of a model.", "avatars"),
    )
}
"""Parts of a path that choose the engine, before any function is called."""


def name_operation(route: APIRoute) -> str:
    """Returns the name of an operation: the function's; under an edition it is another operation."""
    return f"{route.name}_of_edition" if "{edition}" in route.path_format else route.name


def describe(app: FastAPI) -> None:
    """Makes an application describe itself, once somebody asks."""

    # FastAPI's documented way to extend it is to put another function in its place.
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                    tags=TAGS,
                    license_info={"name": "MIT", "identifier": "MIT"},
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    """Adds what FastAPI cannot know: the form of errors, and parts of a path that no function takes."""
    schema["servers"] = [{"url": "/", "description": "Where this document is."}]
    schema["security"] = []  # nothing here asks who one is
    schemas = schema["components"]["schemas"]
    for model in (Problem, GenerateResponse):  # what responses refer to that no function returns
        found = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= found.pop("$defs", {}) | {model.__name__: found}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            known = {one["name"] for one in operation.setdefault("parameters", [])}
            operation["parameters"] += [
                PATH_PARTS[name] for name in _PART.findall(path) if name in PATH_PARTS and name not in known
            ]
    return schema
