"""Pictures of seeds: ``POST /generate`` and ``GET /images/{seed}.png``."""

import base64
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

import mimeparse
from fastapi import APIRouter, Header, HTTPException, Path
from fastapi.responses import Response

from app import encode
from app.call import CallDep
from app.conditional import CachedRoute, answer_early
from app.disconnect import until_gone
from app.engine import Engine
from app.headers import addressed, describe_model
from app.parameters import (
    BINARY,
    GenerateRequest,
    GenerateResponse,
    Seed,
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
    """Writes a ``GenerateResponse``; by hand, for nothing in it needs a check or an escape."""
    images = [
        b'{"seed":"%d","png":"%s"}' % (seed, base64.b64encode(png))
        for seed, png in zip(seeds, pngs, strict=True)
    ]
    return b'{"model":"%s","images":[%s]}' % (model.encode(), b",".join(images))


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
async def generate(
    call: CallDep,
    body: GenerateRequest | None = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Grow pictures: one as PNG; several as a sheet, a zip or JSON, as `Accept` asks."""
    wanted = body or GenerateRequest()
    if wanted.count > call.settings.max_count:
        raise LimitError("count", wanted.count, call.settings.max_count)
    media_type = negotiate(accept)
    first = draw_seed() if wanted.seed is None else wanted.seed
    seeds = consecutive_seeds(first, wanted.count)
    content = await until_gone(call.request, FORMATS[media_type](call.engine, seeds, call.timeout_s))
    return Response(
        content,
        media_type=media_type,
        headers={
            "Seedling-Seed": str(first),
            "Seedling-Count": str(wanted.count),
            "Content-Disposition": f'inline; filename="seedling-{first}.{SUFFIXES[media_type]}"',
            "Vary": "Accept",
        }
        | describe_model(call.engine.model),
    )


@addresses.head("/images/{seed:path}.png", include_in_schema=False)
@addresses.get(
    "/images/{seed:path}.png",
    response_class=Response,
    responses=NOT_MODIFIED | {200: {"description": "The picture", "content": {"image/png": BINARY}}},
)
async def image(call: CallDep, seed: Annotated[Seed, Path()]) -> Response:
    """Grow the picture of one seed, at an address of its own."""
    headers = addressed(call.engine, f"/images/{seed}.png", call.cache_control())
    headers |= {"content-type": "image/png", "seedling-seed": str(seed)}
    if (early := answer_early(call.request, headers)) is not None:
        return early
    [png] = await until_gone(call.request, call.engine.pngs([seed], call.timeout_s))
    return Response(png, headers=headers)
