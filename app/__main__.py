"""Runs the service: ``python -m app``; settings come from the environment (``app.settings``)."""

import logging
import sys

import uvicorn
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings
from models.contract import SeedlingError


def main() -> int:
    """Starts the service; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        settings = Settings()
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
    logging.getLogger("seedling").info("pictures at http://%s:%d/", host, settings.port)
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
