"""The one vocabulary of parameters, in bodies and in addresses alike."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from models.contract import SEED_MAX, SEED_TEXT_MAX, resolve_seed

SEED_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": SEED_MAX},
        {"type": "string", "minLength": 1, "maxLength": SEED_TEXT_MAX},
    ],
    "description": "An integer 0…2^64-1, or any text, which is hashed to one. A text of plain decimal "
    "digits is the integer that it writes.",
    "examples": ["alice@example.com", 42],
}

Seed = Annotated[int, PlainValidator(resolve_seed), WithJsonSchema(SEED_SCHEMA)]
"""A seed as a client writes it; the handler gets its number, 0…2^64-1."""

BINARY = {"schema": {"type": "string", "format": "binary"}}
"""How the API's description says that an answer is a file."""

Method = Literal["slerp", "lerp"]
Format = Literal["strip", "apng", "webp"]


class GenerateRequest(BaseModel):
    """What ``POST /generate`` takes."""

    model_config = ConfigDict(extra="forbid")

    seed: Seed | None = Field(default=None, description="Seed of the first picture; drawn when missing.")
    count: int = Field(
        default=1, ge=1, strict=True, description="Number of pictures; picture k is of seed + k, modulo 2^64."
    )


class GeneratedImage(BaseModel):
    """One picture of a JSON answer."""

    seed: str = Field(description="The picture's own seed, in decimal: a JSON number would lose digits.")
    png: str = Field(description="The PNG, in base64.")


class GenerateResponse(BaseModel):
    """What ``POST /generate`` answers as JSON."""

    model: str = Field(description="SHA-256 of the model file.")
    images: list[GeneratedImage]
