"""The application: ``create_app`` for servers and tests, ``python -m app`` to run it."""

import contextlib
import gc
import logging
from collections.abc import AsyncIterator
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from app import images, interpolate, operations, problems
from app.cache import AnswerCache
from app.engine import Engine
from app.model import load
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
    model = load(settings)
    engine = Engine(model, max_queue=settings.max_queue, effort=settings.png, cpus=settings.cpus)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        gc.collect()
        gc.freeze()  # what is here stays: later collections need not look at it
        yield
        await engine.stop()

    app = FastAPI(
        title="Seedling",
        description="Grows images from seeds. The same seed gives the same bytes.",
        version="0.1.0",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.engine = engine
    app.state.cache = AnswerCache(settings.cache_mb * 1_000_000)
    problems.install(app)
    for prefix in ("", "/models/{edition}"):
        for router in (images.addresses, interpolate.addresses):
            app.include_router(router, prefix=prefix, responses=problems.RESPONSES)
    app.include_router(images.router, responses=problems.RESPONSES)
    app.include_router(operations.router)

    page = files("app").joinpath("index.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> str:
        return page

    log.info(
        "model %s, sha256 %s…, on %s in %s: %d lanes of %d threads, %.0f pictures/s",
        model.card.name,
        model.sha256[:12],
        model.provider,
        model.precision,
        model.layout.lanes,
        model.layout.threads,
        model.layout.pictures_per_s,
    )
    return app
