"""What ``/openapi.json`` says: the routes' own description, with readable names and one form of errors."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import Route

from app.browsers import reference_policy
from app.guard import ADMIN, is_open
from app.links import add_links
from app.parameters import GenerateResponse
from app.problems import Problem
from app.statuses import refusals

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
        ("edition", "What decides the bytes, as `/v1/models` tells it.", "1c571f8a2ada-cpu-float32-463a5f87"),
        ("model", "Name of a model.", "avatars"),
    )
}
"""Parts of a path that choose the engine, before any function is called."""


def name_operation(route: APIRoute) -> str:
    """Returns the name of an operation: the function's; under an edition it is another operation."""
    return f"{route.name}_of_edition" if "{edition}" in route.path_format else route.name


SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key."},
    "signature": {
        "type": "apiKey",
        "in": "query",
        "name": "sig",
        "description": "Of a GET, behind `key` and `expires`: HMAC-SHA256 of the address before it.",
    },
}
"""How a request shows that it may be made, where keys are needed."""

FILES = "static-offline-docs"
"""Where fastapi-offline serves the files of the pages below."""


def add_pages(app: FastAPI) -> None:
    """Adds the pages that show the description, at ``/docs`` and ``/redoc``."""
    icon = f"{FILES}/favicon.png"
    swagger = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=icon,
    )
    redoc = get_redoc_html(
        openapi_url="openapi.json",
        title=app.title,
        redoc_js_url=f"{FILES}/redoc.standalone.js",
        redoc_favicon_url=icon,
        with_google_fonts=False,
    )
    for path, page in (("/docs", swagger), ("/redoc", redoc)):
        page.headers["content-security-policy"] = reference_policy(bytes(page.body))
        app.router.routes.append(Route(path, page, include_in_schema=False))


def describe(app: FastAPI, *, guarded: bool) -> None:
    """Makes an application describe itself, once somebody asks.

    Args:
        app: The application.
        guarded: Whether requests need a key.
    """

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
                ),
                guarded=guarded,
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, Any], *, guarded: bool) -> dict[str, Any]:
    """Adds what FastAPI cannot know: the form of errors, and parts of a path that no function takes."""
    schema["servers"] = [{"url": "/", "description": "Where this document is."}]
    schema["security"] = []
    if guarded:
        _guard(schema)
    schemas = schema["components"]["schemas"]
    for model in (Problem, GenerateResponse):  # what responses refer to that no function returns
        found = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= found.pop("$defs", {}) | {model.__name__: found}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    add_links(schema)
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            known = {one["name"] for one in operation.setdefault("parameters", [])}
            operation["parameters"] += [
                PATH_PARTS[name] for name in _PART.findall(path) if name in PATH_PARTS and name not in known
            ]
    return schema


def _guard(schema: dict[str, Any]) -> None:
    """Says of every operation but those that are open to anyone that it needs a key."""
    schema["components"]["securitySchemes"] = SCHEMES
    schema["security"] = [{"bearer": []}, {"header": []}]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if is_open(path):
                operation["security"] = []
                continue
            operation["responses"] |= {
                str(status): it for status, it in refusals(401, 403, path=path).items()
            }
            if method == "get" and not ADMIN.fullmatch(path):
                operation["security"] = [*schema["security"], {"signature": []}]
