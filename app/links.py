"""Where an answer leads, for the API's description: its links (OpenAPI 3.1, section 4.8.20)."""

from typing import Any

_SEED = {"seed": "$response.header.Seedling-Seed", "format": "png"}
_FIRST = "$response.body#/data/0/id"
_EDITION = "$response.body#/data/0/edition"

LINKS: dict[str, dict[str, dict[str, Any]]] = {
    "generate": {
        "Picture": {"operationId": "image", "parameters": _SEED},
        "Way": {
            "operationId": "interpolate",
            "parameters": {"from": "$response.header.Seedling-Seed", "to": "$response.header.Seedling-Seed"},
        },
    },
    "verify": {
        "Picture": {
            "operationId": "image",
            "parameters": {"seed": "$response.body#/seed", "format": "png"},
        },
    },
    "models": {
        "Model": {"operationId": "model", "parameters": {"model": _FIRST}},
        "Sheet": {"operationId": "sheet", "parameters": {"model": _FIRST}},
        "PictureForEver": {
            "operationId": "image_of_edition",
            "parameters": {"edition": _EDITION, "seed": "1", "format": "png"},
        },
        "Tensors": {"operationId": "metadata", "parameters": {"model": _FIRST}},
        "Inference": {"operationId": "infer", "parameters": {"model": _FIRST}},
    },
}
"""By the operation whose answer it is, and the link's name."""


def add_links(schema: dict[str, Any]) -> None:
    """Adds the links to a description of the API."""
    for methods in schema["paths"].values():
        for operation in methods.values():
            if (links := LINKS.get(operation["operationId"])) is not None:
                operation["responses"]["200"]["links"] = links
