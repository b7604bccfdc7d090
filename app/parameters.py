"""The one vocabulary of parameters, in bodies and in addresses alike."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from app.conditional import FOR_A_WHILE, FOREVER
from app.engine import Engine
from app.settings import Settings
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


@dataclass(frozen=True, slots=True)
class Call:
    """What every request for pictures comes with."""

    request: Request
    engine: Engine
    settings: Settings
    timeout_s: float
    """How long it may take, in seconds."""

    def cache_control(self) -> str:
        """Returns the ``Cache-Control`` of the address, after checking the edition that it names, if it does.

        Raises:
            HTTPException: 404 if it names another edition than the one that is served.
        """
        edition = self.request.path_params.get("edition")
        if edition is None:
            return FOR_A_WHILE
        if edition != self.engine.edition:
            raise HTTPException(404, f"the edition served here is {self.engine.edition}, got {edition!r}")
        return FOREVER


async def get_call(
    request: Request,
    x_timeout_ms: Annotated[
        int | None, Header(ge=1, description="For how long the caller would wait, in milliseconds.")
    ] = None,
) -> Call:
    """Returns what a request comes with; one dependency, for each costs a request some time."""
    state = request.app.state
    return Call(request, state.engine, state.settings, state.settings.timeout_s(x_timeout_ms))


async def get_engine(request: Request) -> Engine:
    """Returns the engine that the application was started with."""
    engine: Engine = request.app.state.engine
    return engine


CallDep = Annotated[Call, Depends(get_call)]
EngineDep = Annotated[Engine, Depends(get_engine)]
