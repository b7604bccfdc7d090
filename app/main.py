"""The application: ``create_app`` for servers and tests, ``python -m app`` to run it."""

import logging
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from app import images, interpolate, operations, problems
from app.engine import Engine
from app.settings import Settings

log = logging.getLogger("seedling")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Builds the service, its model loaded.

    The model is loaded here and not in a lifespan: a service that cannot serve must fail before it
    listens.

    Args:
        settings: What the operator set; read from the environment when missing.

    Raises:
        ModelFileError: If the model file cannot be served.
        ProviderError: If the execution provider that was asked for cannot be had.
    """
    settings = settings or Settings()
    app = FastAPI(
        title="Seedling",
        description="Grows images from seeds. The same seed gives the same bytes.",
        version="0.1.0",
    )
    app.state.settings = settings
    app.state.engine = engine = Engine(settings.model, settings.provider, settings.threads)
    problems.install(app)
    for router in (images.router, interpolate.router):
        app.include_router(router, responses=problems.RESPONSES)
    app.include_router(operations.router)

    page = files("app").joinpath("index.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> str:
        return page

    spec = engine.card.spec
    log.info(
        "model %s, %d×%d, sha256 %s…, on %s",
        engine.card.name,
        spec.img_resolution,
        spec.img_resolution,
        engine.sha256[:12],
        engine.provider,
    )
    return app
