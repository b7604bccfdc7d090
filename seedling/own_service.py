"""A service in this process, for programs that stay offline: on a socket that nobody else can open."""

import shutil
import socket
import tempfile
import threading
import weakref
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp


class OwnService:
    """Serves an application from a thread, until it is closed or forgotten.

    It is a service as any other, so that nothing that it does needs to be done again here. httpx's own
    transport for applications would do without a socket, but collects a stream before it gives it out.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        folder = Path(tempfile.mkdtemp(prefix="seedling-"))  # none but this user can look into it
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = str(folder / "socket")
        """The socket, in the file system."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()  # who connects before the thread is there waits for it
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="on", ws="none", log_config=None, access_log=False)
        )
        # Not joined when the interpreter ends, for the engine's own threads have ended before.
        self._thread = threading.Thread(target=_serve, args=(server, listener), name="seedling", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end, server)
        self._end.atexit = False

    def close(self) -> None:
        """Ends the service when what it answers is answered."""
        self._end()
        self._thread.join()


def _end(server: uvicorn.Server) -> None:
    server.should_exit = True


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    with listener:  # closed where the start fails, too: who has connected is not to wait for ever
        server.run(sockets=[listener])
