"""The picture of a seed, or of a place that is named by seeds, at an address of its own."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from app.call import CallDep
from app.conditional import CachedRoute, answer_early
from app.disconnect import until_gone
from app.encode import STILLS
from app.headers import addressed
from app.parameters import BINARY, PictureQuery, Seed, Still
from app.pictures import grow, pick_look, write_address, write_recipe
from app.points import settle
from app.query import describe_query, read_query
from app.statuses import NOT_MODIFIED

addresses = APIRouter(tags=["pictures"], route_class=CachedRoute)

ANSWERS = {kind.media_type: BINARY for kind in STILLS.values()}


@addresses.head("/images/{seed:path}.{format}", include_in_schema=False)
@addresses.get(
    "/images/{seed:path}.{format}",
    response_class=Response,
    responses=NOT_MODIFIED | {200: {"description": "The picture", "content": ANSWERS}},
    openapi_extra=describe_query(PictureQuery),
)
async def image(
    call: CallDep,
    seed: Annotated[Seed, Path()],
    format: Annotated[Still, Path(description="Of the picture.", examples=["png"])],  # noqa: A002 - the parameter's name
) -> Response:
    """Grow one picture."""
    wanted = read_query(PictureQuery, call.request)
    point = settle(seed, wanted)
    look = pick_look(call, wanted, format)
    address = write_address(point.seed, format, write_recipe(point, look))
    headers = addressed(call.engine, address, call.cache_control())
    headers |= {"content-type": STILLS[format].media_type, "seedling-seed": str(point.seed)}
    if (early := answer_early(call.request, headers)) is not None:
        return early
    call.spend(1)
    [picture] = await until_gone(call.request, grow(call, [point], look, format))
    return Response(picture.content, headers=headers)
