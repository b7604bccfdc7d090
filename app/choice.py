"""The engine that a request is for; it is not stopped before the answer is out."""

import math

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.engine import Engine
from app.registry import ModelNotReadyError, Registry, UnknownModelError

_KEY = "seedling.engines"
"""Where a request notes the engines that it took; the first is the one that its address names."""


class Leases:
    """Gives back, when an answer is out or was given up, the engines that its request took.

    Plain ASGI: it must outlast answers that are sent as they are made.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        taken: list[Engine] = []
        scope[_KEY] = taken
        try:
            await self.app(scope, receive, send)
        finally:
            for engine in taken:
                engine.leases -= 1


def choose(request: Request) -> Engine:
    """Returns the engine that an address names: by its edition, by the model in its path or query, or none.

    Raises:
        HTTPException: 404 if there is no such model or edition, 503 if it is not ready.
    """
    registry: Registry = request.app.state.registry
    path = request.path_params
    name = path.get("model")
    if name is None and request.scope["query_string"]:
        name = request.query_params.get("model")
    if (edition := path.get("edition")) is not None:
        return _of_edition(registry, edition, name)
    return registry.default if name is None else find(registry, name)


def take(request: Request) -> Engine:
    """Returns the engine that an address names, the same for the whole of a request, and keeps it running.

    Raises:
        HTTPException: As ``choose``.
    """
    taken: list[Engine] = request.scope[_KEY]
    return taken[0] if taken else keep(request, choose(request))


def keep(request: Request, engine: Engine) -> Engine:
    """Returns the engine, which goes on running until the answer to the request is out."""
    request.scope[_KEY].append(engine)
    engine.leases += 1
    return engine


def find(registry: Registry, name: str) -> Engine:
    """Returns the engine of a model.

    Raises:
        HTTPException: 404 if there is no such model, 503 if it is not ready.
    """
    try:
        return registry.of_name(name)
    except UnknownModelError as error:
        raise HTTPException(404, str(error)) from None
    except ModelNotReadyError as error:
        wait = error.retry_after_s
        headers = None if wait is None else {"Retry-After": str(max(1, math.ceil(wait)))}
        raise HTTPException(503, str(error), headers) from None


def _of_edition(registry: Registry, edition: str, name: str | None) -> Engine:
    try:
        engine = registry.of_edition(edition)
    except UnknownModelError as error:
        raise HTTPException(404, str(error)) from None
    if name not in {None, engine.model.card.name}:
        raise HTTPException(404, f"the edition {edition} is of {engine.model.card.name!r}, got {name!r}")
    return engine
