"""The socket that the service listens on."""

import logging
import resource
import socket

from app.settings import Settings
from models.contract import SeedlingError

log = logging.getLogger("seedling")

OTHER_FILES = 256
"""Open files that are not connections: models, libraries, and those who ask after the service's health."""


class ListenError(SeedlingError):
    """An address that cannot be listened on."""


def bind(settings: Settings) -> socket.socket:
    """Returns a socket that is bound and does not listen: until a model is loaded nobody shall wait there.

    Raises:
        ListenError: If the address is in use, not this machine's, or not allowed.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        raise ListenError(f"{host} port {port} cannot be listened on: {error.strerror}") from None
    return listener


def address(listener: socket.socket) -> str:
    """Returns where a browser on this machine finds what listens on a socket."""
    host, port = listener.getsockname()[:2]
    host = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def fit_open_files(settings: Settings) -> Settings:
    """Lets this process have as many files open as the system allows, and fits the connections into them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    room = max(1, most - OTHER_FILES)
    if settings.max_connections <= room:
        return settings
    log.warning("the system allows %d open files, so at most %d connections (ulimit -n)", most, room)
    return settings.model_copy(update={"max_connections": room})
