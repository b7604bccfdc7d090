"""The path from seed to seed: ``GET /interpolate``."""

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from app import encode
from app.animation import animate
from app.call import Call, CallDep
from app.conditional import FOR_A_WHILE, CachedRoute, answer_early
from app.disconnect import until_gone
from app.encode import LOSSLESS, Format
from app.envelopes import to_json, to_zip
from app.headers import addressed
from app.look import Look, Pairs, choose_look
from app.parameters import BINARY, Motion, PathQuery
from app.pictures import check_pixels, describe, grow, native_size, show_all, sources
from app.points import SeedPoint, between, write
from app.problems import LimitError
from app.query import describe_query, read_query
from app.runners import Pictures
from app.statuses import NOT_MODIFIED
from app.video import film, has_video, video_version
from models.contract import places_between

addresses = APIRouter(tags=["pictures"], route_class=CachedRoute)

MOTIONS: dict[Motion, Format] = {
    "strip": encode.STILLS["png"],
    "sheet": encode.STILLS["png"],
    "zip": Format("application/zip", "zip"),
    "json": Format("application/json", "json"),
    "apng": Format("image/apng", "png"),
    "webp": Format("image/webp", "webp", quality=LOSSLESS),
    "gif": Format("image/gif", "gif", alpha=False),
    "mp4": Format("video/mp4", "mp4", alpha=False, quality=90),
}
"""The forms of a path, by the name that a client writes."""

TIMED = {"apng", "webp", "gif", "mp4"}
"""Those that show a frame for some time."""


@addresses.head("/interpolate", include_in_schema=False)
@addresses.get(
    "/interpolate",
    response_class=Response,
    responses=NOT_MODIFIED
    | {
        200: {
            "description": "The frames",
            "content": {kind.media_type: BINARY for kind in MOTIONS.values()},
        }
    },
    openapi_extra=describe_query(PathQuery),
)
async def interpolate(call: CallDep) -> Response:
    """Grow the pictures on a path over seeds; each seed's own picture is among them."""
    wanted = read_query(PathQuery, call.request)
    kind = MOTIONS[wanted.format]
    look = choose_look(wanted, native_size(call), alpha=kind.alpha, quality=kind.quality)
    _check(call, wanted, look)
    pairs = _pairs(wanted) + look.pairs
    query = "&".join(f"{name}={value}" for name, value in pairs)
    headers = _headers(call, wanted, query) | {"content-type": kind.media_type}
    if (early := answer_early(call.request, headers)) is not None:
        return early
    call.spend(wanted.steps)
    points = walk(wanted)
    text = describe(call, points[0], query) | {"To": str(wanted.to), "Count": str(wanted.steps)}
    content = await until_gone(call.request, _grow(call, wanted, points, look, text))
    return Response(content, headers=headers)


def walk(wanted: PathQuery) -> list[SeedPoint]:
    """Returns the places of the frames."""
    keys = [wanted.from_, *wanted.via, wanted.to]
    if wanted.loop:  # the frame that would be the first again is left out
        keys.append(wanted.from_)
    places = places_between(len(keys), wanted.steps + wanted.loop, wanted.easing)[: wanted.steps]
    return [between(keys[key], keys[key + 1], t, wanted.method, wanted.truncation) for key, t in places]


def _check(call: Call, wanted: PathQuery, look: Look) -> None:
    if wanted.steps > call.settings.max_steps:
        raise LimitError("steps", wanted.steps, call.settings.max_steps)
    keys = 2 + len(wanted.via)
    if wanted.steps < keys:
        raise HTTPException(422, f"steps: expected at least {keys}, one for each seed, got {wanted.steps}")
    check_pixels(wanted.steps, look)
    if wanted.format == "mp4" and not has_video():
        others = ", ".join(form for form in MOTIONS if form != "mp4")
        raise HTTPException(
            422, f"format: expected {others}, for this server has no PyAV (its extra `video`), got 'mp4'"
        )


def _pairs(wanted: PathQuery) -> Pairs:
    """Returns what differs from the default and shows, in one order."""
    told = {
        "steps": (str(wanted.steps), "8"),
        "method": (wanted.method, "slerp"),
        "easing": (wanted.easing, "linear"),
        "loop": (str(wanted.loop).lower(), "false"),
        "truncation": (write(wanted.truncation), "1"),
        "format": (wanted.format, "strip"),
        "frame_ms": (str(wanted.frame_ms if wanted.format in TIMED else 80), "80"),
    }
    seeds = [
        ("from", str(wanted.from_)),
        ("to", str(wanted.to)),
        *(("via", str(seed)) for seed in wanted.via),
    ]
    return seeds + [(name, value) for name, (value, default) in told.items() if value != default]


def _headers(call: Call, wanted: PathQuery, query: str) -> dict[str, str]:
    edition, address, keep = call.engine.edition, f"/interpolate?{query}", call.cache_control()
    if wanted.format == "mp4":  # the edition knows nothing of PyAV, so this is not for ever
        headers = addressed(call.engine, f"{address}&av={video_version()}", keep)
        headers["cache-control"] = FOR_A_WHILE
        if "content-location" in headers:
            headers["content-location"] = f"/models/{edition}{address}"
    else:
        headers = addressed(call.engine, address, keep)
    seeds = ", ".join(str(seed) for seed in (wanted.from_, *wanted.via, wanted.to))
    return headers | {"seedling-seed": seeds, "seedling-count": str(wanted.steps)}


async def _grow(
    call: Call, wanted: PathQuery, points: Sequence[SeedPoint], look: Look, text: dict[str, str]
) -> bytes:
    """Grows the frames and packs them."""
    engine = call.engine
    if wanted.format in {"zip", "json"}:
        pictures = await grow(call, points, look, "png")
        if wanted.format == "json":
            return await engine.pack(to_json, engine.model.sha256, pictures, "png")
        return await engine.pack(to_zip, {f"{k:03}.png": it.content for k, it in enumerate(pictures)})
    frames = await engine.pixels(sources(call, points), call.timeout_s)
    return await engine.pack(_pack, call, wanted, frames, look, text)


def _pack(call: Call, wanted: PathQuery, frames: Pictures, look: Look, text: dict[str, str]) -> bytes:
    shown = show_all(frames, look)
    match wanted.format:
        case "strip":
            return call.engine.png(encode.strip(shown), text)
        case "sheet":
            return call.engine.png(encode.sheet(shown, look.blank), text)
        case "mp4":
            return film(shown, wanted.frame_ms, look.quality, text)
        case "apng" | "webp" | "gif":
            return animate(shown, wanted.format, wanted.frame_ms, look.quality, text)
    raise AssertionError(wanted.format)
