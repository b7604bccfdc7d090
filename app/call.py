"""What every request for pictures comes with: the engine that it is for, the settings, its time."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Self

from fastapi import Depends, Header, HTTPException, Request

from app.choice import find, keep, take
from app.conditional import FOR_A_WHILE, FOREVER
from app.engine import Engine
from app.guard import ACCOUNT
from app.registry import Registry
from app.settings import Settings

if TYPE_CHECKING:
    from app.quota import Account


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What every request for pictures comes with."""

    request: Request
    engine: Engine
    settings: Settings
    timeout_s: float
    """How long it may take, in seconds."""

    def of(self, model: str | None) -> Self:
        """Returns the same call for the model of a name; None is the one that it is for already.

        Raises:
            HTTPException: 404 if no model of that name is served, 503 if it is not ready.
        """
        named = self.engine.model.card.name
        if model is None or model == named:
            return self
        if "edition" in self.request.path_params:
            raise HTTPException(404, f"the edition in the address is of {named!r}, got {model!r}")
        engine = find(self.request.app.state.registry, model)
        return dataclasses.replace(self, engine=keep(self.request, engine))

    def spend(self, pictures: int, *, at_once: int | None = None) -> None:
        """Takes pictures that are to be grown off the caller's quotas, if it has any.

        What the engine has no room or no time for is refused before, and costs nothing.

        Args:
            pictures: Their number.
            at_once: How many of them the engine must have room for; all when missing.

        Raises:
            LimitError: If they are more than the whole of a quota.
            OverloadError: If there is no room or no time for them.
            QuotaError: If they are more than what is left of a quota.
        """
        account: Account | None = self.request.scope.get(ACCOUNT)
        if account is not None:
            self.engine.check(pictures if at_once is None else at_once, self.timeout_s)
            account.spend(pictures)

    def cache_control(self) -> str:
        """Returns the ``Cache-Control`` of the address: for ever if it names an edition."""
        return FOREVER if "edition" in self.request.path_params else FOR_A_WHILE


async def get_call(
    request: Request,
    x_timeout_ms: Annotated[
        int | None,
        Header(ge=1, description="For how long the caller would wait, in milliseconds.", examples=[2000]),
    ] = None,
) -> Call:
    """Returns what a request comes with; one dependency, for each costs a request some time."""
    settings: Settings = request.app.state.settings
    return Call(request, take(request), settings, settings.timeout_s(x_timeout_ms))


async def get_registry(request: Request) -> Registry:
    """Returns the models that the application serves."""
    registry: Registry = request.app.state.registry
    return registry


async def check_json(request: Request) -> None:
    """Refuses a body that does not say that it is JSON.

    Raises:
        HTTPException: 415 if there is a body of another type.
    """
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    kind = headers.get("content-type", "")
    essence = kind.partition(";")[0].strip().lower()
    if essence != "application/json" and not (
        essence.startswith("application/") and essence.endswith("+json")
    ):
        raise HTTPException(415, f"expected a body of the type application/json, got {kind or 'none'!r}")


CallDep = Annotated[Call, Depends(get_call)]
RegistryDep = Annotated[Registry, Depends(get_registry)]
