"""Pictures of seeds, places or latents, in the form that the client accepts: ``POST /generate``."""

import functools
from collections.abc import Sequence
from typing import Annotated

import mimeparse
from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.responses import Response

from app.call import Call, CallDep, check_json
from app.disconnect import until_gone
from app.encode import STILLS
from app.envelopes import name_files, to_json, to_multipart, to_zip
from app.headers import describe_model
from app.look import Look
from app.parameters import BINARY, GenerateRequest, Still
from app.pictures import check_pixels, grow, grow_sheet, pick_look
from app.points import Point, settle_each
from app.problems import LimitError
from app.statuses import refusals
from app.streaming import PictureStream, batch_sizes, in_order, write_stream
from models.contract import draw_seed

router = APIRouter(tags=["pictures"])

SUFFIXES = {
    "text/event-stream": "txt",
    "application/x-ndjson": "ndjson",
    "multipart/mixed": "eml",
    "application/json": "json",
    "application/zip": "zip",
}
"""What ``Accept`` may ask for beside a picture, and the ending of such a file."""

IMAGES: dict[str, Still] = {kind.media_type: form for form, kind in reversed(STILLS.items())}
"""The pictures that it may ask for. The last is the default, for mimeparse breaks ties in its favour."""

EVENTS = "text/event-stream"
STREAMED = {EVENTS, "application/x-ndjson"}
"""What is sent as it is made."""

NEGOTIATIONS = 128
"""Values of ``Accept`` whose weighing is remembered."""


@functools.lru_cache(NEGOTIATIONS)
def negotiate(accept: str, form: Still | None) -> tuple[str, Still]:
    """Returns the media type that an ``Accept`` header prefers, and the format of each picture in it.

    Args:
        accept: The header.
        form: The format that the request names; no other picture is offered.

    Raises:
        HTTPException: 406 if it wants none that there is.
    """
    offered = [*SUFFIXES, *(kind for kind, name in IMAGES.items() if form in {None, name})]
    try:
        chosen: str = mimeparse.best_match(offered, accept)
    except mimeparse.MimeTypeParseException:
        chosen = ""
    if not chosen:
        raise HTTPException(406, f"Accept must allow one of {', '.join(offered)}, got {accept!r}")
    return chosen, IMAGES.get(chosen, form or "png")


@router.post(
    "/generate",
    response_class=Response,
    dependencies=[Depends(check_json)],
    responses={
        **refusals(413, 415),
        200: {
            "description": "The pictures; `Seedling-Seed` is the first one's, `Seedling-Count` their number",
            "content": dict.fromkeys([*IMAGES, *SUFFIXES], BINARY)
            | {"application/json": {"schema": {"$ref": "#/components/schemas/GenerateResponse"}}},
        },
    },
)
async def generate(
    call: CallDep,
    body: GenerateRequest | None = None,
    accept: Annotated[
        str, Header(description="The form of the answer.", examples=["image/png", "application/x-ndjson"])
    ] = "*/*",
) -> Response:
    """Grow pictures: one as a picture; several as a sheet, a zip, JSON, a multipart message or a stream."""
    wanted = body or GenerateRequest()
    call = call.of(wanted.model)
    media_type, form = negotiate(accept, wanted.format)
    look = pick_look(call, wanted, form)
    count = wanted.count if wanted.latents is None else len(wanted.latents)
    _check(call, count, look, streamed=media_type in STREAMED)
    first = draw_seed() if wanted.seed is None else wanted.seed
    points = settle_each(first, wanted, call.engine.model.card.spec.z_dim)
    call.spend(count, at_once=min(count, batch_sizes(call.engine)[0]) if media_type in STREAMED else count)
    headers = describe_model(call.engine.model) | {"Seedling-Count": str(count), "Vary": "Accept"}
    headers["Seedling-Edition"] = call.engine.edition
    if wanted.latents is None:
        headers["Seedling-Seed"] = str(first)
    if media_type in STREAMED:
        batches = in_order(call, points, look, form)
        start = await until_gone(
            call.request, batches.__anext__()
        )  # refused, if so, before there is a status
        parts = write_stream(start, batches, form, events=media_type == EVENTS)
        answer: Response = PictureStream(call, parts, media_type)
    else:
        content, media_type = await until_gone(
            call.request, _pack(call, list(points), look, form, media_type)
        )
        answer = Response(content, media_type=media_type)
        stem = "latents" if wanted.latents is not None else first
        suffix = SUFFIXES.get(media_type.partition(";")[0], form)
        headers["Content-Disposition"] = f'inline; filename="seedling-{stem}.{suffix}"'
    answer.headers.update(headers)
    return answer


def _check(call: Call, count: int, look: Look, *, streamed: bool) -> None:
    limit = call.settings.max_stream if streamed else call.settings.max_count
    if count > limit:
        raise LimitError("count", count, limit)
    if not streamed:
        check_pixels(count, look)


async def _pack(
    call: Call, points: Sequence[Point], look: Look, form: Still, media_type: str
) -> tuple[bytes, str]:
    """Grows pictures and puts them into their envelope; returns it and its media type."""
    engine = call.engine
    if media_type in IMAGES and len(points) > 1:
        return await grow_sheet(call, points, look, form), media_type
    pictures = await grow(call, points, look, form)
    match media_type:
        case "application/json":
            return await engine.pack(to_json, engine.model.sha256, pictures, form), media_type
        case "application/zip":
            return await engine.pack(to_zip, name_files(pictures, form)), media_type
        case "multipart/mixed":
            return await engine.pack(to_multipart, engine.edition, pictures, form)
        case _:
            return pictures[0].content, media_type
