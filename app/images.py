"""Pictures of seeds: ``POST /generate`` and ``GET /images/{seed}.png``."""

import base64
from collections.abc import Callable
from typing import Annotated

import mimeparse
import numpy as np
from fastapi import APIRouter, Header, HTTPException, Path
from fastapi.responses import Response
from numpy.typing import NDArray

from app import encode
from app.engine import Engine
from app.parameters import (
    BINARY,
    EngineDep,
    GeneratedImage,
    GenerateRequest,
    GenerateResponse,
    Seed,
    SettingsDep,
)
from app.problems import LimitError
from models.contract import consecutive_seeds, draw_seed

router = APIRouter(tags=["pictures"])

Pictures = NDArray[np.uint8]


def _as_png(_: Engine, __: list[int], images: Pictures) -> bytes:
    return encode.png(images[0] if len(images) == 1 else encode.sheet(images))


def _as_zip(_: Engine, seeds: list[int], images: Pictures) -> bytes:
    return encode.archive({f"{seed}.png": encode.png(img) for seed, img in zip(seeds, images, strict=True)})


def _as_json(engine: Engine, seeds: list[int], images: Pictures) -> bytes:
    items = [
        GeneratedImage(seed=str(seed), png=base64.b64encode(encode.png(img)).decode())
        for seed, img in zip(seeds, images, strict=True)
    ]
    return GenerateResponse(model=engine.sha256, images=items).model_dump_json().encode()


FORMATS: dict[str, Callable[[Engine, list[int], Pictures], bytes]] = {
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
def generate(
    engine: EngineDep,
    settings: SettingsDep,
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
    content = FORMATS[media_type](engine, seeds, engine.generate(seeds))
    return Response(
        content,
        media_type=media_type,
        headers={
            "Seedling-Seed": str(first),
            "Seedling-Count": str(wanted.count),
            "Content-Disposition": f'inline; filename="seedling-{first}.{SUFFIXES[media_type]}"',
            "Vary": "Accept",
        },
    )


@router.get(
    "/images/{seed:path}.png",
    response_class=Response,
    responses={200: {"description": "The picture", "content": {"image/png": BINARY}}},
)
def image(engine: EngineDep, seed: Annotated[Seed, Path()]) -> Response:
    """Grow the picture of one seed, at an address of its own."""
    [pixels] = engine.generate([seed])
    return Response(encode.png(pixels), media_type="image/png", headers={"Seedling-Seed": str(seed)})
