"""Runs the service: ``python -m app``; settings come from flags and the environment (``app.settings``)."""

import logging
import os
import sys

import uvicorn

from app.configuration import as_variables, changed, read, unknown_variables
from app.settings import Settings
from models.contract import SeedlingError

log = logging.getLogger("seedling")


def main() -> int:
    """Starts the service; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    try:
        settings = read(Settings)
        _tell(settings)
        from app.gate import GateProtocol  # noqa: PLC0415
        from app.main import create_app  # noqa: PLC0415 - a wrong setting is told before libraries load

        app = create_app(settings)
    except SeedlingError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        return 2
    host = "localhost" if settings.host in {"127.0.0.1", "0.0.0.0"} else settings.host  # noqa: S104
    log.info("pictures at http://%s:%d/", host, settings.port)
    if settings.workers > 1:
        # Worker processes find the settings there; each loads the models for itself.
        os.environ |= as_variables(settings, secrets=True)
    uvicorn.run(
        app if settings.workers == 1 else "app.main:create_app",
        factory=settings.workers > 1,
        workers=settings.workers,
        http=GateProtocol,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    return 0


def _tell(settings: Settings) -> None:
    """Logs the settings that are not the defaults, and variables that are mistaken for one."""
    for sentence in unknown_variables(Settings):
        log.warning(sentence)
    if lines := changed(settings):
        log.info("settings, but for defaults:\n%s", "\n".join(f"  {line}" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
