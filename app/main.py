"""The application: ``create_app`` for servers and tests, ``python -m app`` to run it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import admin, catalogue, generate, images, interpolate, metrics, operations, pages, verify
from app.access_log import AccessLog
from app.browsers import OtherOrigins
from app.cache import AnswerCache
from app.choice import Leases
from app.dialects import inference, openai
from app.exception_handlers import answer_errors
from app.guard import Guard
from app.keyring import Keyring
from app.lull import Lull
from app.model import OpenFile, open_file
from app.observer import Observer
from app.reference import add_pages, describe, name_operation
from app.registry import Registry
from app.settings import Settings
from app.shortcut import PlainPicture
from app.siblings import Siblings
from app.statuses import RESPONSES
from app.tally import HttpTally
from app.tracing import OFF, Tracing
from app.watch import kept_up

VERSION = "0.1.0"


def create_app(settings: Settings | None = None, open_file: OpenFile = open_file) -> FastAPI:
    """Builds the service, its default model loaded.

    That model is loaded here and not in a lifespan: a service that cannot serve must fail before it
    listens.

    Args:
        settings: What the operator set; read from the environment when missing.
        open_file: What opens model files.

    Raises:
        KeyFileError: If the file of keys cannot be read.
        ModelFileError: If there is no model that can be served.
        ProviderError: If the execution provider that was asked for cannot be had.
        TracingError: If traces cannot be sent where they should be.
    """
    settings = settings or Settings()
    keyring = Keyring(Path(settings.keys)) if settings.keys else None
    siblings = Siblings(settings.workers)
    tracing = Tracing(settings.traces, VERSION, siblings.place) if settings.traces else None
    registry = Registry(settings, tracing, open_file)
    tally = HttpTally()
    access_log = AccessLog(settings.log) if settings.access_log else None

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        registry.start()
        if access_log is not None:
            access_log.start()
        async with kept_up(registry, settings), siblings.told(lambda: metrics.tell(app)):
            yield
        await registry.stop()
        if tracing is not None:
            await tracing.stop()
        if access_log is not None:
            access_log.stop()

    app = FastAPIOffline(
        docs_url=None,
        redoc_url=None,
        title="Seedling",
        description="Grows images from seeds. The same seed gives the same bytes.",
        version=VERSION,
        telemetry=tracing.telemetry if tracing is not None else OFF,
        lifespan=lifespan,
        generate_unique_id_function=name_operation,
    )
    app.state.settings = settings
    app.state.registry = registry
    app.state.cache = AnswerCache(settings.cache_mb * 1_000_000)
    app.state.lull = Lull()
    app.state.siblings = siblings
    app.state.tally = tally
    app.state.access_log = access_log
    app.add_middleware(Leases)
    _protect(app, settings, keyring)
    app.add_middleware(
        Observer, tally=tally, access_log=access_log, traced=tracing is not None
    )  # outside of all others
    answer_errors(app)
    app.router.routes.append(PlainPicture())
    for prefix in ("", "/models/{edition}"):
        for router in (images.addresses, interpolate.addresses):
            app.include_router(router, prefix=prefix, responses=RESPONSES)
    for part in (generate, verify, openai, inference):
        app.include_router(part.router, responses=RESPONSES)
    app.include_router(operations.router)
    app.include_router(metrics.router)
    if settings.keys:
        app.include_router(admin.router)
    for prefix in ("/v1/models/{model:path}", "/models/{edition}"):
        app.include_router(catalogue.addresses, prefix=prefix, responses=RESPONSES)
    app.include_router(catalogue.router, responses=RESPONSES)

    app.state.page = pages.read_page()
    app.include_router(pages.router)
    add_pages(app)
    describe(app, guarded=bool(settings.keys))
    return app


def _protect(app: FastAPI, settings: Settings, keyring: Keyring | None) -> None:
    """Puts what is asked for before the routes: each costs requests some time, and most need none."""
    app.state.keyring = keyring
    quotas = None
    if settings.quota_per_key or settings.quota_per_address:
        from app.quota import Quotas  # noqa: PLC0415 - a start need not wait for it

        quotas = Quotas(settings.quota_per_key, settings.quota_per_address)
    if keyring is not None or quotas is not None:
        app.add_middleware(Guard, keyring=keyring, quotas=quotas)
    if settings.cors_origins:
        app.add_middleware(OtherOrigins, origins=settings.cors_origins)
    if settings.trusted_proxies:  # the last is the first that a request meets
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
