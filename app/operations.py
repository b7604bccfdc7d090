"""What operators and load balancers ask: is it alive, is it ready, what does it serve."""

from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse

from app.call import RegistryDep
from app.statuses import refusals

router = APIRouter(tags=["operations"])


@router.get("/livez", response_class=PlainTextResponse)
async def livez() -> str:
    """Tell that the process answers; does not touch an engine."""
    return "ok"


@router.get("/readyz", response_class=PlainTextResponse, responses=refusals(503))
async def readyz(registry: RegistryDep) -> str:
    """Tell that the default model is loaded and has drawn pictures, as start-up demands, and what is not."""
    if (fault := registry.why_not_ready()) is not None:
        raise HTTPException(503, fault)
    model = registry.default.model
    others = (f"{entry.status}: {entry.name}" for entry in registry.entries() if entry.status != "ready")
    return "; ".join([f"ok: {model.card.name} on {model.provider}", *others])
