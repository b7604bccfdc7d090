"""What is asked of a service, and how its answers are read; nothing here sends anything."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import ArrayLike

from models.contract import resolve_seed
from seedling.errors import ServiceError
from seedling.patience import retry_after_s
from seedling.picture import Picture
from seedling.vocabulary import (
    PathOptions,
    PictureOptions,
    Seed,
    ServedModel,
    Still,
    Verification,
    to_body,
    to_query,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A request, and what makes something of its answer."""

    read: Callable[[httpx.Response], T]
    address: str
    """Path and query."""
    body: Mapping[str, object] | None = None
    """The body as JSON; with one the request is a POST."""
    content: bytes | None = None
    """A PNG as the body; with one the request is a POST too."""


ReadLine = Callable[[str], Picture]
"""Makes a picture of a line of a stream."""


def address_of(seed: Seed, options: PictureOptions) -> str:
    """Returns the path and query of a picture.

    Raises:
        SeedError: If the seed is none.
    """
    number = resolve_seed(seed)
    # A path cannot hold every text: a line break, for one, ends it.
    text = seed if isinstance(seed, str) and seed.isprintable() else str(number)
    rest = {name: value for name, value in options.items() if name != "format"}
    return f"/images/{quote(text, safe='@')}.{options.get('format') or 'png'}{to_query(rest)}"


def image(base: str, seed: Seed, options: PictureOptions) -> Ask[Picture]:
    """Asks for one picture.

    Args:
        base: What stands before every path of the service.
        seed: The seed.
        options: The other parameters.
    """

    def read(answer: httpx.Response) -> Picture:
        return Picture(
            content=answer.content,
            format=options.get("format") or "png",
            seed=int(answer.headers["seedling-seed"]),
            address=base + answer.headers["content-location"],
            etag=answer.headers["etag"],
        )

    return Ask(read, address_of(seed, options))


def seeds(base: str, seed: Seed, count: int, options: PictureOptions) -> Ask[ReadLine]:
    """Asks for the pictures of consecutive seeds, or of neighbours, as they are grown.

    Raises:
        SeedError: If the seed is none.
    """
    resolve_seed(seed)
    return _stream(base, {"seed": seed, "count": count}, options)


def latents(base: str, rows: ArrayLike, options: PictureOptions) -> Ask[ReadLine]:
    """Asks for the pictures of latents as they are grown: (N, z_dim), or (z_dim,) for one."""
    return _stream(base, {"latents": np.atleast_2d(np.asarray(rows, np.float64)).tolist()}, options)


def _stream(base: str, body: dict[str, object], options: PictureOptions) -> Ask[ReadLine]:
    def read(answer: httpx.Response) -> ReadLine:
        forever = f"{base}/models/{answer.headers['seedling-edition']}/images"
        return lambda line: _read_line(line, options.get("format") or "png", forever)

    return Ask(read, "/generate", body | to_body(options))


def _read_line(line: str, form: Still, forever: str) -> Picture:
    """Reads a line of a stream.

    Args:
        line: The line.
        form: The format that was asked for.
        forever: Where pictures of the edition are.

    Raises:
        ServiceError: If it says what went wrong.
    """
    item = json.loads(line)
    if "error" in item:
        raise ServiceError(item["error"]["status"], item["error"]["detail"])
    recipe = item.get("recipe", "")
    seed = None if item["seed"] is None else int(item["seed"])
    address = None if seed is None else f"{forever}/{seed}.{form}{'?' if recipe else ''}{recipe}"
    return Picture(content=base64.b64decode(item[form]), format=form, seed=seed, address=address)


def path(a: Seed, b: Seed, options: PathOptions) -> Ask[bytes]:
    """Asks for the path from seed to seed.

    Raises:
        SeedError: If a seed is none.
    """
    keys = {"from": resolve_seed(a), "to": resolve_seed(b)}
    return Ask(lambda answer: answer.content, f"/interpolate{to_query({**keys, **options})}")


def models() -> Ask[list[ServedModel]]:
    """Asks what is served."""
    return Ask(lambda answer: answer.json()["data"], "/v1/models")


def verify(content: bytes, seed: Seed | None, options: PictureOptions) -> Ask[Verification]:
    """Asks whether a picture was grown there.

    Args:
        content: A PNG.
        seed: What it should be of; what its metadata says when missing.
        options: The other parameters, with a seed.

    Raises:
        SeedError: If the seed is none.
    """
    wanted = {name: value for name, value in options.items() if name != "format"}
    if seed is not None:
        wanted["seed"] = resolve_seed(seed)
    return Ask(lambda answer: answer.json(), f"/verify{to_query(wanted)}", content=content)


def error_of(answer: httpx.Response) -> ServiceError:
    """Returns what an answer, its body read, says went wrong."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):  # not of the service, but of something before it
        detail = answer.reason_phrase or "no reason"
    return ServiceError(answer.status_code, detail, retry_after_s(answer))
