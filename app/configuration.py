"""What an operator is told of the settings: what is wrong, misspelt, or not the default."""

import difflib
import os
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, CliApp, DotEnvSettingsSource, SettingsError

from models.contract import SeedlingError

S = TypeVar("S", bound=BaseSettings)

GOT_MAX = 120
"""Longest part of a bad value that an error repeats, in characters."""


class ConfigurationError(SeedlingError):
    """Settings that are wrong; a line for each."""


def read(kind: type[S], arguments: Sequence[str] | None = None, **given: Any) -> S:  # noqa: ANN401 - as the settings declare them
    """Reads the settings: flags come before the environment, and that before the file ``.env``.

    Args:
        kind: The settings' class.
        arguments: The flags; those of the process when missing.
        **given: Settings that are decided, by name; only flags come before them.

    Raises:
        ConfigurationError: If one is wrong; names its flag, its variable, what was got and expected.
    """
    try:
        return CliApp.run(kind, cli_args=None if arguments is None else list(arguments), **given)
    except ValidationError as error:
        lines = [_explain(kind, item["loc"], item["msg"], item["input"]) for item in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None
    except SettingsError as error:
        raise ConfigurationError(str(error)) from None


def variable(kind: type[BaseSettings], field: str) -> str:
    """Returns the variable of a field: ``SEEDLING_PORT``."""
    return f"{kind.model_config['env_prefix']}{field}".upper()


def flag(field: str) -> str:
    """Returns the flag of a field: ``--max-queue``."""
    return f"--{field.replace('_', '-')}"


def _explain(kind: type[BaseSettings], place: tuple[int | str, ...], message: str, got: object) -> str:
    message = message.removeprefix("Value error, ")
    if not place:  # it is about several, and names them
        return message
    field = str(place[0])
    shown = "…" if isinstance(got, SecretStr) or _is_secret(kind, field) else repr(got)
    shown = shown if len(shown) <= GOT_MAX else shown[:GOT_MAX] + "…"
    return f"{variable(kind, field)} ({flag(field)}): {message}, got {shown}"


def _is_secret(kind: type[BaseSettings], field: str) -> bool:
    known = kind.model_fields.get(field)
    return known is not None and "SecretStr" in repr(known.annotation)


OTHERS = {"SEEDLING_CLIENT_KEY"}
"""Variables of the same prefix that the command reads (docs/client.md)."""


def unknown_variables(kind: type[BaseSettings]) -> list[str]:
    """Returns a sentence for each variable, of ``.env`` too, that only looks like a setting."""
    prefix = str(kind.model_config["env_prefix"]).upper()
    fields = [field.upper() for field in kind.model_fields]
    there = {name.upper() for name in (*os.environ, *DotEnvSettingsSource(kind).env_vars)}
    told = []
    for name in sorted(there):
        if name.startswith(prefix) and name.removeprefix(prefix) not in fields and name not in OTHERS:
            near = difflib.get_close_matches(name.removeprefix(prefix), fields, 1)
            told.append(f"{name} is not a setting" + (f"; is {prefix}{near[0]} meant?" if near else ""))
    return told


def as_variables(settings: BaseSettings, *, secrets: bool = False) -> dict[str, str]:
    """Returns every setting as it stands in an environment.

    Args:
        settings: The settings.
        secrets: Whether to tell them; they are stars otherwise.
    """
    return {
        variable(type(settings), field): _write(getattr(settings, field), secrets=secrets)
        for field in type(settings).model_fields
    }


def changed(settings: BaseSettings) -> list[str]:
    """Returns the settings that are not the defaults, as ``SEEDLING_NAME=value``, without secrets."""
    fields = type(settings).model_fields
    return [
        f"{name}={value}"
        for (name, value), (field, about) in zip(as_variables(settings).items(), fields.items(), strict=True)
        if getattr(settings, field) != about.get_default(call_default_factory=True)
    ]


def _write(value: object, *, secrets: bool) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value() if secrets else str(value)
        case tuple() | list():
            return ",".join(map(str, value))
        case bool():
            return str(value).lower()
        case None:
            return ""
        case _:
            return str(value)
