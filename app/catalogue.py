"""What is served: ``/v1/models``, in the shape that clients of OpenAI's API know, and sheets of pictures."""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import Response
from pydantic import BaseModel, Field

from app import encode
from app.call import Call, CallDep, RegistryDep
from app.conditional import CachedRoute, answer_early
from app.disconnect import until_gone
from app.headers import addressed
from app.layout import Layout
from app.parameters import BINARY
from app.shelf import Entry, Status
from app.statuses import NOT_MODIFIED
from models.contract import ModelSpec

router = APIRouter(prefix="/v1/models", tags=["models"])
addresses = APIRouter(tags=["models"], route_class=CachedRoute)

SHEET_COUNT = 64
"""Pictures on a model's sheet: those of the seeds from 0 on."""


class ModelEntry(BaseModel):
    """A model that is served, or a file that cannot be; what is not known is left out."""

    id: str = Field(description="The model's name; of a file that has none of its own, the file's.")
    object: Literal["model"] = "model"
    created: int = Field(description="When the file was written, in seconds since 1970.")
    owned_by: Literal["seedling"] = "seedling"
    status: Status = Field(description="`ready` has pictures; `loading` will; `broken` needs another file.")
    error: str | None = Field(
        default=None, description="What is wrong with the file. A model that is `ready` is then an older one."
    )
    default: bool = Field(description="Whether requests that name no model get this one.")
    edition: str | None = Field(default=None, description="What decides the bytes, fit for an address.")
    name: str | None = None
    spec: ModelSpec | None = None
    sha256: str | None = Field(default=None, description="SHA-256 of the file.")
    weights_sha256: str | None = Field(default=None, description="SHA-256 of its weights as float32.")
    provider: str | None = Field(default=None, description="What it is computed on.")
    precision: str | None = Field(default=None, description="The arithmetic that it is computed in.")
    arithmetic: str | None = Field(default=None, description="The arithmetic of its graph.")
    stored: str | None = Field(default=None, description="How its weights are stored.")
    layout: Layout | None = Field(default=None, description="How the processors are shared out.")
    data: dict[str, Any] | None = Field(default=None, description="What it was trained on.")
    training: dict[str, Any] | None = Field(default=None, description="How it was trained.")
    metrics: dict[str, Any] | None = Field(default=None, description="Its measured quality.")


class ModelList(BaseModel):
    """Every model, the default first, and every file that cannot be one."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def _describe(entry: Entry, default: str) -> ModelEntry:
    engine, card = entry.engine, entry.file.card
    known: dict[str, Any] = {}
    if engine is not None:
        known = engine.model.describe() | {"edition": engine.edition}
    elif card is not None:
        known = dataclasses.asdict(card) | {"stored": card.precision, "precision": None}
    return ModelEntry(
        id=entry.name,
        created=entry.file.created,
        status=entry.status,
        error=entry.error or None,
        default=entry.name == default,
        **known,
    )


@router.get("", response_model_exclude_none=True)
async def models(registry: RegistryDep) -> ModelList:
    """List the models, as their files describe them, and how each was laid out when it was loaded."""
    return ModelList(data=[_describe(entry, registry.default_name) for entry in registry.entries()])


@addresses.head("/sheet.png", include_in_schema=False)
@addresses.get(
    "/sheet.png",
    response_class=Response,
    responses=NOT_MODIFIED | {200: {"description": "The sheet", "content": {"image/png": BINARY}}},
)
async def sheet(call: CallDep) -> Response:
    """Show 64 pictures of a model, of the seeds 0 to 63, in rows of 8."""
    headers = addressed(call.engine, "/sheet.png", call.cache_control())
    headers |= {"content-type": "image/png", "seedling-seed": "0", "seedling-count": str(SHEET_COUNT)}
    if (early := answer_early(call.request, headers)) is not None:
        return early
    call.spend(SHEET_COUNT, at_once=min(SHEET_COUNT, call.settings.max_count))
    return Response(await until_gone(call.request, _grow(call)), headers=headers)


@router.get("/{model:path}", response_model_exclude_none=True)
async def model(
    registry: RegistryDep, model: Annotated[str, Path(description="Its name.", examples=["avatars"])]
) -> ModelEntry:
    """Describe one model."""
    entries = {entry.name: entry for entry in registry.entries()}
    if model not in entries:
        raise HTTPException(404, f"the models here are {', '.join(map(repr, entries))}, got {model!r}")
    return _describe(entries[model], registry.default_name)


async def _grow(call: Call) -> bytes:
    """Grows the pictures, as many at a time as any request may have, and packs them."""
    some = call.settings.max_count
    pictures = [
        await call.engine.pixels(range(first, min(first + some, SHEET_COUNT)), call.timeout_s)
        for first in range(0, SHEET_COUNT, some)
    ]
    text = call.engine.describe(0) | {"Count": str(SHEET_COUNT)}
    return await call.engine.pack(lambda: call.engine.png(encode.sheet(np.concatenate(pictures)), text))
