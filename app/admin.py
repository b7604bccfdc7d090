"""Calls for operators, under ``/admin``: there are none without a file of keys."""

import os
import signal
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse

from app.statuses import refusals

if TYPE_CHECKING:
    from app.settings import Settings

router = APIRouter(prefix="/admin", tags=["operations"])


@router.post("/reload", status_code=202, response_class=PlainTextResponse, responses=refusals(503))
async def reload(request: Request) -> str:
    """Look at every model file again, in each process, as SIGHUP does; `/v1/models` tells what came of it."""
    settings: Settings = request.app.state.settings
    if signal.getsignal(signal.SIGHUP) in {signal.SIG_DFL, None}:
        raise HTTPException(503, "this service does not hear SIGHUP: it runs inside of another program")
    os.kill(os.getppid() if settings.workers > 1 else os.getpid(), signal.SIGHUP)
    return "every model file is looked at again"
