"""Whether a model that is served here grew a picture, told by growing it again: ``POST /verify``."""

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Body, Depends, HTTPException, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from app.call import CallDep
from app.claim import Claim, NoClaimError, VerifyQuery, make_claim, read_claim
from app.disconnect import until_gone
from app.pictures import grow
from app.query import describe_query, read_query
from app.sent_png import SentPng, SentPngError, decode, take_apart
from app.statuses import refusals

router = APIRouter(tags=["pictures"])

ROUNDING = 2
"""Levels by which the same numbers may differ on another processor, provider or arithmetic."""

Verdict = Literal["identical", "same_pixels", "other_edition", "altered", "other_model", "unknown"]


class Verification(BaseModel):
    """What ``POST /verify`` answers; what is not known is left out."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    verdict: Verdict
    """`identical`: byte for byte what is grown here. `same_pixels`: the pixels are, the file is not.
    `other_edition`: the pixels differ by no more than rounding may. `altered`: they differ by more.
    `other_model`: its metadata names a model that is not served here. `unknown`: nothing says what it should
    be."""
    detail: str
    """The same in a sentence."""
    seed: str | None = None
    """The seed, in decimal."""
    model: str | None = None
    """SHA-256 of the model file."""
    address: str | None = None
    """Where the picture is for ever, as it is grown here."""
    pixels: int | None = None
    """How many pixels were compared."""
    different: int | None = None
    """How many of them differ."""
    largest_difference: int | None = None
    """By how much they differ at most, in levels of 255."""


_HASH = "5b0c3f7a91d2" + 52 * "0"
_PLACE = {
    "seed": "42",
    "model": _HASH,
    "address": f"/models/{_HASH[:12]}-cpu-float32-8236d630/images/42.png",
    "pixels": 16384,
}
EXAMPLES = {
    "ours": {
        "verdict": "identical",
        "detail": "byte for byte what the model 'avatars' grows from the seed 42",
        **_PLACE,
        "different": 0,
        "largest_difference": 0,
    },
    "altered": {
        "verdict": "altered",
        "detail": "240 of 16384 pixels differ from what the model 'avatars' grows from the seed 42, "
        "by up to 255 levels",
        **_PLACE,
        "different": 240,
        "largest_difference": 255,
    },
    "unmarked": {
        "verdict": "unknown",
        "detail": "its metadata names no seed and no model; ?seed= says what it should be",
    },
}


async def check_png(request: Request) -> None:
    """Refuses a body that does not say that it is a PNG.

    Raises:
        HTTPException: 415.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "image/png":
        raise HTTPException(415, f"expected a body of the type image/png, got {kind or 'none'!r}")


@router.post(
    "/verify",
    response_model_exclude_none=True,
    dependencies=[Depends(check_png)],
    responses={
        **refusals(413, 415),
        200: {
            "content": {
                "application/json": {"examples": {name: {"value": one} for name, one in EXAMPLES.items()}}
            }
        },
    },
    openapi_extra=describe_query(VerifyQuery),
)
async def verify(
    call: CallDep, content: Annotated[bytes, Body(media_type="image/png", description="The PNG.")]
) -> Verification:
    """Tell whether a model that is served here grew a picture: by its metadata, and by growing it again."""
    wanted = read_query(VerifyQuery, call.request)
    engine = call.engine
    engine.check(1, call.timeout_s)  # before anything is spent on it
    try:
        sent = await engine.pack(take_apart, content)
        claim = read_claim(call, sent.text) if wanted.seed is None else make_claim(call, wanted)
        side = claim.look.size
        if (sent.width, sent.height) != (side, side):  # and so it is not decoded
            detail = f"it has {sent.width}×{sent.height} pixels, {claim} has {side}×{side}"
            return _answer(claim, "altered", detail)
        claim.call.spend(1)
        [picture] = await until_gone(call.request, grow(claim.call, [claim.point], claim.look, "png"))
        return await engine.pack(_judge, claim, content, sent, picture.content)
    except NoClaimError as error:
        return Verification(verdict=error.verdict, detail=str(error))
    except SentPngError as error:
        raise HTTPException(422, str(error)) from None


def _judge(claim: Claim, content: bytes, sent: SentPng, ours: bytes) -> Verification:
    """Compares a picture with the one that it should be."""
    if content == ours:
        return _answer(claim, "identical", f"byte for byte {claim}", (0, 0))
    different, largest = found = compare(decode(sent), decode(take_apart(ours)))
    if different == 0:
        detail = f"the pixels are {claim}; something else wrote the file, or its metadata"
        return _answer(claim, "same_pixels", detail, found)
    detail = f"{different} of {claim.look.size**2} pixels differ from {claim}, by up to {largest} levels"
    if largest <= ROUNDING:
        detail += ": as another edition would, of another processor or arithmetic"
        return _answer(claim, "other_edition", detail, found)
    return _answer(claim, "altered", detail, found)


def _answer(
    claim: Claim, verdict: Verdict, detail: str, difference: tuple[int, int] | None = None
) -> Verification:
    different, largest = difference or (None, None)
    return Verification(
        verdict=verdict,
        detail=detail,
        seed=str(claim.point.seed),
        model=claim.call.engine.model.sha256,
        address=claim.address,
        pixels=None if difference is None else claim.look.size**2,
        different=different,
        largest_difference=largest,
    )


def compare(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[int, int]:
    """Returns how many pixels differ, and by how many levels at most.

    Args:
        one: (H, W, 4) uint8; where both are transparent their colours do not matter.
        other: The same.
    """
    gaps = np.abs(one.astype(np.int16) - other).max(axis=2)
    gaps[(one[..., 3] == 0) & (other[..., 3] == 0)] = 0
    return int(np.count_nonzero(gaps)), int(gaps.max())
