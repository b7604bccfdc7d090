"""The path between two seeds: ``GET /interpolate``."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from app import encode
from app.call import Call, CallDep
from app.conditional import CachedRoute, answer_early
from app.disconnect import until_gone
from app.engine import Engine
from app.headers import addressed
from app.parameters import BINARY, Format, Method, Seed
from app.problems import NOT_MODIFIED, LimitError
from app.runners import Latents, Pictures
from models.contract import latent, latent_path

addresses = APIRouter(tags=["pictures"], route_class=CachedRoute)

MEDIA_TYPES: dict[Format, str] = {"strip": "image/png", "apng": "image/apng", "webp": "image/webp"}


@addresses.head("/interpolate", include_in_schema=False)
@addresses.get(
    "/interpolate",
    response_class=Response,
    responses=NOT_MODIFIED
    | {200: {"description": "The frames", "content": dict.fromkeys(MEDIA_TYPES.values(), BINARY)}},
)
async def interpolate(  # noqa: PLR0913, PLR0917 - each is a parameter of the address
    call: CallDep,
    start: Annotated[Seed, Query(alias="from", description="Seed of the first frame.")],
    end: Annotated[Seed, Query(alias="to", description="Seed of the last frame.")],
    steps: Annotated[int, Query(ge=2, description="Number of frames, both ends included.")] = 8,
    method: Annotated[Method, Query(description="The great circle, or the straight line.")] = "slerp",
    format: Annotated[Format, Query(description="Frames side by side, or an animation.")] = "strip",  # noqa: A002
) -> Response:
    """Grow the pictures on the path from one seed to another; the ends are those seeds' own pictures."""
    if steps > call.settings.max_steps:
        raise LimitError("steps", steps, call.settings.max_steps)
    path = f"/interpolate?from={start}&to={end}&steps={steps}&method={method}&format={format}"
    headers = addressed(call.engine, path, call.cache_control())
    headers |= {
        "content-type": MEDIA_TYPES[format],
        "seedling-seed": f"{start}, {end}",
        "seedling-count": str(steps),
    }
    if (early := answer_early(call.request, headers)) is not None:
        return early
    z_dim = call.engine.model.card.spec.z_dim
    z = latent_path(latent(start, z_dim), latent(end, z_dim), steps, method)
    text = call.engine.describe(start) | {"To": str(end), "Method": method, "Count": str(steps)}
    content = await until_gone(call.request, _grow(call, z, format, text))
    return Response(content, headers=headers)


async def _grow(call: Call, z: Latents, kind: Format, text: dict[str, str]) -> bytes:
    """Grows the frames and packs them."""
    frames = await call.engine.pixels([row.tobytes() for row in z], call.timeout_s)
    return await call.engine.pack(_pack, call.engine, frames, kind, text)


def _pack(engine: Engine, frames: Pictures, kind: Format, text: dict[str, str]) -> bytes:
    match kind:
        case "strip":
            return engine.png(encode.strip(frames), text)
        case "apng":
            return encode.animation(frames, "PNG")
        case "webp":
            return encode.animation(frames, "WEBP")
