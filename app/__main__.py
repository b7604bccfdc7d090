"""Runs the service: ``python -m app``; settings come from flags and the environment (``app.settings``)."""

import json
import logging
import os
import sys

import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp

from app.main import create_app
from app.settings import Settings
from models.contract import SeedlingError

log = logging.getLogger("seedling")


def main() -> int:
    """Starts the service; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        settings = CliApp.run(Settings)
        app = create_app(settings)
    except SeedlingError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ValidationError as error:
        for item in error.errors():
            name = "SEEDLING_" + "_".join(str(part) for part in item["loc"]).upper()
            sys.stderr.write(f"error: {name}: {item['msg']}, got {item['input']!r}\n")
        return 2
    host = "localhost" if settings.host in {"127.0.0.1", "0.0.0.0"} else settings.host  # noqa: S104
    log.info("pictures at http://%s:%d/", host, settings.port)
    if settings.workers > 1:
        _hand_down(settings)
        target = "app.main:create_app"  # each worker loads the model for itself
    uvicorn.run(
        app if settings.workers == 1 else target,
        factory=settings.workers > 1,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return 0


def _hand_down(settings: Settings) -> None:
    """Puts the settings into the environment, where worker processes find them."""
    for name, value in settings.model_dump(mode="json").items():
        os.environ[f"SEEDLING_{name.upper()}"] = json.dumps(value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
