"""What operators and load balancers ask: is it alive, is it ready, what does it serve."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from app.call import EngineDep

router = APIRouter(tags=["operations"])


@router.get("/livez", response_class=PlainTextResponse)
async def livez() -> str:
    """Tell that the process answers; does not touch the engine."""
    return "ok"


@router.get("/readyz", response_class=PlainTextResponse)
async def readyz(engine: EngineDep) -> str:
    """Tell that the model is loaded and has drawn pictures, as start-up demands."""
    return f"ok: {engine.model.card.name} on {engine.model.provider}"


@router.get("/v1/models")
async def models(engine: EngineDep) -> dict[str, Any]:
    """List what is loaded, as each model file describes itself, and how it was laid out at start."""
    return {"models": [engine.model.describe() | {"edition": engine.edition}]}
