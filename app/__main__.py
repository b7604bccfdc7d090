"""Runs the service: ``python -m app``; settings come from flags and the environment (``app.settings``)."""

import gc
import logging
import sys

from app.configuration import changed, read, unknown_variables
from app.listener import bind, fit_open_files
from app.logs import start_logging
from app.settings import Settings
from models.contract import SeedlingError

log = logging.getLogger("seedling")


def main() -> int:
    """Starts the service; returns the exit code."""
    try:
        settings = read(Settings)
        start_logging(settings.log)
        _tell(settings)
        settings = fit_open_files(settings)
        listener = bind(settings)
        if settings.workers > 1:
            from app.supervisor import supervise  # noqa: PLC0415 - each needs only its own

            return supervise(settings, listener)
        from app.head_start import HeadStart  # noqa: PLC0415 - a wrong setting is told before libraries load

        gc.disable()  # until the service listens: what is imported stays
        head_start = HeadStart(settings)
        from app.server import serve  # noqa: PLC0415 - the rest is imported while the model is opened

        return serve(settings, listener, head_start.open_file)
    except SeedlingError as error:
        return complain(error)


def complain(error: SeedlingError) -> int:
    """Says what keeps the service from starting; returns the exit code."""
    for line in str(error).splitlines():
        sys.stderr.write(f"error: {line}\n")
    return 2


def _tell(settings: Settings) -> None:
    """Logs the settings that are not the defaults, and variables that are mistaken for one."""
    for sentence in unknown_variables(Settings):
        log.warning(sentence)
    if lines := changed(settings):
        log.info("settings, but for defaults:\n%s", "\n".join(f"  {line}" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
