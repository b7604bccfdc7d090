"""A process that serves for a supervisor: ``python -m app.worker LISTENER LINE``, two inherited sockets."""

import gc
import socket
import sys

from app.__main__ import complain
from app.logs import start_logging
from app.settings import Settings
from models.contract import SeedlingError


def main() -> int:
    """Serves; returns the exit code."""
    listener, line = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    try:
        settings = Settings()
        start_logging(settings.log)
        from app.head_start import HeadStart  # noqa: PLC0415 - as in app.__main__

        gc.disable()
        head_start = HeadStart(settings)
        from app.server import serve  # noqa: PLC0415

        return serve(settings, listener, head_start.open_file, line)
    except SeedlingError as error:
        return complain(error)


if __name__ == "__main__":
    sys.exit(main())
