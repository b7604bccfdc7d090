"""What every request for pictures comes with: the engine that it is for, the settings, its time."""

import dataclasses
from typing import Annotated, Self

from fastapi import Depends, Header, HTTPException, Request

from app.conditional import FOR_A_WHILE, FOREVER
from app.engine import Engine
from app.settings import Settings


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
            HTTPException: 404 if no model of that name is served.
        """
        if model is None or model == self.engine.model.card.name:
            return self
        raise HTTPException(404, f"the model served here is {self.engine.model.card.name!r}, got {model!r}")

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
