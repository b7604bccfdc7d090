"""OpenAI's Images API: a prompt is a seed. For programs that speak it already.

Source: OpenAI API reference, "Create image", of 2026.
"""

import base64
import re
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.call import CallDep, check_json
from app.disconnect import until_gone
from app.look import Look
from app.parameters import Appearance, Seed, Still
from app.pictures import check_pixels, grow, pick_look, write_address, write_recipe
from app.points import SeedPoint
from app.problems import LimitError
from app.statuses import refusals
from models.contract import consecutive_seeds

router = APIRouter(tags=["dialects"])

_SQUARE = re.compile(r"([1-9][0-9]{1,3})x\1")

FORMATS: dict[str, Still] = {"png": "png", "webp": "webp", "jpeg": "jpg"}


def _size(text: str) -> str:
    if text != "auto" and not _SQUARE.fullmatch(text):
        raise ValueError(f"expected auto or a square such as 256x256, got {text!r}")
    return text


class ImagesRequest(BaseModel):
    """What ``POST /v1/images/generations`` takes; other members of OpenAI's request mean nothing here."""

    model_config = ConfigDict(
        extra="ignore",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"prompt": "alice@example.com", "n": 2, "size": "256x256"}]},
    )

    prompt: Seed
    """The seed of the first picture."""
    n: int = Field(default=1, ge=1, examples=[2])
    """Number of pictures; picture k is of seed + k."""
    model: str | None = Field(default=None, examples=["avatars"])
    """Name of the model; the service's default when missing."""
    size: Annotated[str, AfterValidator(_size)] = Field(default="auto", examples=["256x256"])
    """`auto`, the model's own, or a square."""
    response_format: Literal["url", "b64_json"] = Field(default="url", examples=["b64_json"])
    """The pictures' addresses for ever, or the pictures in base64."""
    output_format: Literal["png", "webp", "jpeg"] = Field(default="png", examples=["webp"])
    """Format of the pictures."""
    output_compression: int | None = Field(default=None, ge=1, le=100, examples=[90])
    """Quality of webp and jpeg."""


class ImageData(BaseModel):
    """One picture of an answer."""

    url: str | None = None
    b64_json: str | None = None


class ImagesResponse(BaseModel):
    """What ``POST /v1/images/generations`` answers."""

    created: int
    data: list[ImageData]


@router.post(
    "/v1/images/generations",
    response_model_exclude_none=True,
    dependencies=[Depends(check_json)],
    responses=refusals(413, 415, path="/v1/"),
)
async def create_images(call: CallDep, wanted: ImagesRequest) -> ImagesResponse:
    """Grow the pictures of a prompt, as OpenAI's Images API is asked for them."""
    call = call.of(wanted.model)
    if wanted.n > call.settings.max_count:
        raise LimitError("n", wanted.n, call.settings.max_count)
    form = FORMATS[wanted.output_format]
    size = None if wanted.size == "auto" else int(wanted.size.partition("x")[0])
    if size is not None and not 16 <= size <= 1024:
        raise HTTPException(422, f"size: expected 16x16 to 1024x1024, got {wanted.size!r}")
    look = pick_look(call, Appearance(size=size, quality=wanted.output_compression), form)
    check_pixels(wanted.n, look)
    points = [SeedPoint(seed=seed) for seed in consecutive_seeds(wanted.prompt, wanted.n)]
    if wanted.response_format == "url":
        root = f"{call.request.base_url}models/{call.engine.edition}"
        data = [ImageData(url=root + _address(point, look, form)) for point in points]
    else:
        call.spend(wanted.n)
        pictures = await until_gone(call.request, grow(call, points, look, form))
        data = [ImageData(b64_json=base64.b64encode(picture.content).decode()) for picture in pictures]
    return ImagesResponse(created=int(time.time()), data=data)


def _address(point: SeedPoint, look: Look, form: Still) -> str:
    return write_address(point.seed, form, write_recipe(point, look))
