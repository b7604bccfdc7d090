"""What a picture should be: as its metadata says, or as whoever asks says in its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import Field, model_validator

from app.call import Call
from app.look import Look
from app.parameters import PictureQuery, Seed
from app.pictures import pick_look, write_address, write_recipe
from app.points import SeedPoint, settle
from app.query import read_pairs
from models.contract import SEED_MAX

if TYPE_CHECKING:
    from app.registry import Registry

FIELDS_MAX = 64
"""Most parameters of a recipe that are looked at."""


class NoClaimError(Exception):
    """Metadata that says of no picture how it could be grown here.

    Args:
        verdict: That it says nothing, or names a model that is not here.
        detail: Why.
    """

    def __init__(self, verdict: Literal["unknown", "other_model"], detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict


class VerifyQuery(PictureQuery):
    """What a picture should be, where its own metadata is not to say so."""

    seed: Seed | None = Field(default=None, examples=["alice"])
    """The seed that it should be of; what its metadata says when missing."""

    @model_validator(mode="after")
    def _check_seed(self) -> Self:
        if self.seed is None and (others := sorted(self.given())):
            raise ValueError(f"{others[0]} is of use with seed only, got {others[0]} alone")
        return self


@dataclass(frozen=True, slots=True)
class Claim:
    """What a picture should be."""

    call: Call
    """For the model that should have grown it."""
    point: SeedPoint
    look: Look

    @property
    def address(self) -> str:
        """Where the picture is for ever."""
        address = write_address(self.point.seed, "png", write_recipe(self.point, self.look))
        return f"/models/{self.call.engine.edition}{address}"

    def __str__(self) -> str:
        return f"what the model {self.call.engine.model.card.name!r} grows from the seed {self.point.seed}"


def make_claim(call: Call, wanted: VerifyQuery) -> Claim:
    """Returns what parameters with a seed say."""
    assert wanted.seed is not None
    return Claim(call, settle(wanted.seed, wanted), pick_look(call, wanted, "png"))


def read_claim(call: Call, text: Mapping[str, str]) -> Claim:
    """Returns what a picture's metadata says.

    Raises:
        NoClaimError: If that is nothing that can be grown here.
    """
    if "Seed" not in text or "Model" not in text:
        raise NoClaimError(
            "unknown", "its metadata names no seed and no model; ?seed= says what it should be"
        )
    if "Count" in text:
        raise NoClaimError("unknown", "it says that it shows several pictures; one at a time can be verified")
    name = _find_model(call, text["Model"])
    seed = text["Seed"]
    if not (
        seed.isascii() and seed.isdecimal() and len(seed) <= len(str(SEED_MAX)) and int(seed) <= SEED_MAX
    ):
        raise NoClaimError("unknown", "its metadata names no seed; a latent cannot be grown from its name")
    try:
        recipe = parse_qsl(text.get("Recipe", ""), strict_parsing="Recipe" in text, max_num_fields=FIELDS_MAX)
        wanted = read_pairs(VerifyQuery, [*recipe, ("seed", seed)])
    except (ValueError, RequestValidationError):
        raise NoClaimError("unknown", "its metadata has a recipe that this service does not write") from None
    return make_claim(call.of(name), wanted.model_copy(update={"model": None}))


def _find_model(call: Call, sha256: str) -> str:
    """Returns the name of a model that is served, by the SHA-256 of its file."""
    registry: Registry = call.request.app.state.registry
    for entry in registry.entries():
        if entry.engine is not None and entry.engine.model.sha256 == sha256:
            return entry.name
    raise NoClaimError(
        "other_model", f"its metadata names the model {sha256[:12]!r}, which is not served here"
    )
