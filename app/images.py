"""Pictures of seeds: ``POST /generate`` and ``GET /images/{seed}.png``."""

import base64
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

import mimeparse
from fastapi import APIRouter, Header, HTTPException, Path, Request
from fastapi.responses import Response

from app import encode
from app.conditional import CachedRoute, answer_early
from app.disconnect import until_gone
from app.engine import Engine
from app.headers import addressed, describe_model
from app.parameters import (
    BINARY,
    CacheControlDep,
    EngineDep,
    GeneratedImage,
    GenerateRequest,
    GenerateResponse,
    Seed,
    SettingsDep,
    TimeoutDep,
)
from app.problems import NOT_MODIFIED, LimitError
from models.contract import consecutive_seeds, draw_seed

router = APIRouter(tags=["pictures"])
addresses = APIRouter(tags=["pictures"], route_class=CachedRoute)


async def _as_png(engine: Engine, seeds: list[int], timeout_s: float) -> bytes:
    if len(seeds) == 1:
        [png] = await engine.pngs(seeds, timeout_s)
        return png
    images = await engine.pixels(seeds, timeout_s)
    text = engine.describe(seeds[0]) | {"Count": str(len(seeds))}
    return await engine.pack(lambda: engine.png(encode.sheet(images), text))


async def _as_zip(engine: Engine, seeds: list[int], timeout_s: float) -> bytes:
    pngs = await engine.pngs(seeds, timeout_s)
    files = {f"{seed}.png": png for seed, png in zip(seeds, pngs, strict=True)}
    return await engine.pack(encode.archive, files)


async def _as_json(engine: Engine, seeds: list[int], timeout_s: float) -> bytes:
    return await engine.pack(_json, engine.model.sha256, seeds, await engine.pngs(seeds, timeout_s))


def _json(model: str, seeds: Sequence[int], pngs: Sequence[bytes]) -> bytes:
    items = [
        GeneratedImage(seed=str(seed), png=base64.b64encode(png).decode())
        for seed, png in zip(seeds, pngs, strict=True)
    ]
    return GenerateResponse(model=model, images=items).model_dump_json().encode()


FORMATS: dict[str, Callable[[Engine, list[int], float], Coroutine[Any, Any, bytes]]] = {
    "application/json": _as_json,
    "application/zip": _as_zip,
    "image/png": _as_png,
}
"""What ``Accept`` may ask for. The last is the default, for mimeparse breaks ties in its favour."""

SUFFIXES = {"application/json": "json", "application/zip": "zip", "image/png": "png"}


def negotiate(accept: str) -> str:
    """Returns the media type that an ``Accept`` header prefers.

    Raises:
        HTTPException: 406 if it wants none that there is.
    """
    try:
        chosen: str = mimeparse.best_match(list(FORMATS), accept)
    except mimeparse.MimeTypeParseException:
        chosen = ""
    if not chosen:
        raise HTTPException(406, f"Accept must allow one of {', '.join(FORMATS)}, got {accept!r}")
    return chosen


@router.post(
    "/generate",
    response_class=Response,
    responses={
        200: {
            "description": "The pictures; `Seedling-Seed` is the first one's, `Seedling-Count` their number",
            "content": {
                "image/png": BINARY,
                "application/zip": BINARY,
                "application/json": {"schema": GenerateResponse.model_json_schema()},
            },
        }
    },
)
async def generate(  # noqa: PLR0913, PLR0917 - FastAPI passes what a request is made of, one by one
    request: Request,
    engine: EngineDep,
    settings: SettingsDep,
    timeout_s: TimeoutDep,
    body: GenerateRequest | None = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Grow pictures: one as PNG; several as a sheet, a zip or JSON, as `Accept` asks."""
    wanted = body or GenerateRequest()
    if wanted.count > settings.max_count:
        raise LimitError("count", wanted.count, settings.max_count)
    media_type = negotiate(accept)
    first = draw_seed() if wanted.seed is None else wanted.seed
    seeds = consecutive_seeds(first, wanted.count)
    content = await until_gone(request, FORMATS[media_type](engine, seeds, timeout_s))
    return Response(
        content,
        media_type=media_type,
        headers={
            "Seedling-Seed": str(first),
            "Seedling-Count": str(wanted.count),
            "Content-Disposition": f'inline; filename="seedling-{first}.{SUFFIXES[media_type]}"',
            "Vary": "Accept",
        }
        | describe_model(engine.model),
    )


@addresses.head("/images/{seed:path}.png", include_in_schema=False)
@addresses.get(
    "/images/{seed:path}.png",
    response_class=Response,
    responses=NOT_MODIFIED | {200: {"description": "The picture", "content": {"image/png": BINARY}}},
)
async def image(
    request: Request,
    engine: EngineDep,
    timeout_s: TimeoutDep,
    cache_control: CacheControlDep,
    seed: Annotated[Seed, Path()],
) -> Response:
    """Grow the picture of one seed, at an address of its own."""
    headers = addressed(engine, f"/images/{seed}.png", cache_control)
    headers |= {"content-type": "image/png", "seedling-seed": str(seed)}
    if (early := answer_early(request, headers)) is not None:
        return early
    [png] = await until_gone(request, engine.pngs([seed], timeout_s))
    return Response(png, headers=headers)
