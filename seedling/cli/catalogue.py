"""``seedling models``: what a service has, or what model files say of themselves."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from models.contract import ModelFileError
from seedling.cli import options as given
from seedling.client import Client


def models(
    path: Annotated[
        Path | None,
        typer.Argument(help="A model file or a folder of them; by default the model that ships."),
    ] = None,
    *,
    url: given.Url = None,
    key: given.Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Tell what a service serves, or what model files say of themselves."""
    if url is not None and path is not None:
        raise typer.BadParameter("expected PATH or --url, got both", param_hint="--url")
    if url is None:
        found = _on_disk(path)
    else:
        with Client(url, key=key) as client:
            found = [dict(model) for model in client.models()]
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(map(_describe, found)))


def _on_disk(path: Path | None) -> list[dict[str, Any]]:
    """Returns the cards of model files.

    Raises:
        ModelFileError: If there is no such file.
    """
    from app.model_files import look  # noqa: PLC0415 - as little as can be, for who asks a service
    from app.settings import SHIPPED_MODEL  # noqa: PLC0415

    root = path or SHIPPED_MODEL
    seen = look(root, {})
    if not seen:
        raise ModelFileError(f"expected a model file, or a folder that holds some, got {root}")
    return [
        {"id": file.path.stem, "file": str(file.path)}
        | ({"error": file.error} if file.card is None else dataclasses.asdict(file.card))
        for file in seen.values()
    ]


def _describe(model: Mapping[str, Any]) -> str:
    """Returns two lines about a model: what it is, and where; the second is there to be copied."""
    data, side = model.get("data") or {}, (model.get("spec") or {}).get("img_resolution")
    count = data.get("pictures")
    facts = (
        model.get("error") or model.get("status"),
        side and f"{side}×{side}",
        model.get("arithmetic"),
        data.get("name") and f"of {data['name']}",
        f"{count:,} pictures" if isinstance(count, int) else "",
    )
    what = ", ".join(fact for fact in facts if fact)
    return (
        f"{model.get('name') or model['id']}: {what}\n  {model.get('edition') or model.get('file') or ''}\n"
    )
