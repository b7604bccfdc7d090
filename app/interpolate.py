"""The path between two seeds: ``GET /interpolate``."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from app import encode
from app.parameters import BINARY, EngineDep, Format, Method, Seed, SettingsDep
from app.problems import LimitError
from models.contract import latent, latent_path

router = APIRouter(tags=["pictures"])


@router.get(
    "/interpolate",
    response_class=Response,
    responses={
        200: {
            "description": "The frames",
            "content": dict.fromkeys(("image/png", "image/apng", "image/webp"), BINARY),
        }
    },
)
def interpolate(  # noqa: PLR0913, PLR0917 - each is a parameter of the address
    engine: EngineDep,
    settings: SettingsDep,
    start: Annotated[Seed, Query(alias="from", description="Seed of the first frame.")],
    end: Annotated[Seed, Query(alias="to", description="Seed of the last frame.")],
    steps: Annotated[int, Query(ge=2, description="Number of frames, both ends included.")] = 8,
    method: Annotated[Method, Query(description="The great circle, or the straight line.")] = "slerp",
    format: Annotated[Format, Query(description="Frames side by side, or an animation.")] = "strip",  # noqa: A002
) -> Response:
    """Grow the pictures on the path from one seed to another; the ends are those seeds' own pictures."""
    if steps > settings.max_steps:
        raise LimitError("steps", steps, settings.max_steps)
    z_dim = engine.card.spec.z_dim
    images = engine.run(latent_path(latent(start, z_dim), latent(end, z_dim), steps, method))
    headers = {"Seedling-Seed": f"{start}, {end}", "Seedling-Count": str(steps)}
    match format:
        case "strip":
            return Response(encode.png(encode.strip(images)), media_type="image/png", headers=headers)
        case "apng":
            return Response(encode.animation(images, "PNG"), media_type="image/apng", headers=headers)
        case "webp":
            return Response(encode.animation(images, "WEBP"), media_type="image/webp", headers=headers)
