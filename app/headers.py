"""The headers of a picture: what grew it, where it may be kept, and where it is for ever."""

from urllib.parse import quote

from app.conditional import FOR_A_WHILE, entity_tag
from app.engine import Engine
from app.model import Model


def describe_model(model: Model) -> dict[str, str]:
    """Returns the headers that name what decided a picture's bytes."""
    return {
        "Seedling-Model": model.sha256,
        "Seedling-Provider": model.provider,
        "Seedling-Precision": model.precision,
    }


def addressed(engine: Engine, path: str, cache_control: str) -> dict[str, str]:
    """Returns the headers of an answer that has an address.

    Args:
        engine: The engine that grows it.
        path: The address in its plainest form, with no model in it; it decides the bytes.
        cache_control: ``FOREVER`` or ``FOR_A_WHILE``; the latter's answers name the address for ever.

    Returns:
        Headers, their names in lower case.
    """
    headers = {"etag": entity_tag(engine.edition, path), "cache-control": cache_control}
    if cache_control == FOR_A_WHILE:
        headers["content-location"] = f"/models/{engine.edition}{quote(path, safe='/?&=,')}"
    return headers | {name.lower(): value for name, value in describe_model(engine.model).items()}
