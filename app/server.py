"""uvicorn's server, which stops in order: readiness goes first, the door next, what was let in at the end."""

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from app.browsers import HEADERS
from app.connection import LOOK_S, look_over
from app.gate import GateProtocol
from app.listener import address
from app.main import create_app
from app.model import OpenFile
from app.settings import Settings

if TYPE_CHECKING:
    from app.registry import Registry

log = logging.getLogger("seedling")

BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""

LINGER_S = 0.1
"""How long after the door is closed what is under way on the network is still read, in seconds."""

LAST_S = 1.0
"""Time before the end that is left for saying no to what could not be done, in seconds."""

CUT_S = 0.3
"""Time before the end at which connections that are still open are cut, in seconds; of those that are left
at the end uvicorn cancels the work, and logs each as a failure."""

STUCK_S = 5.0
"""How much longer than its grace a process that hangs may live, in seconds."""

YOUNG = 10_000
"""New objects until Python looks for those that hold each other; a request makes a hundred that do not."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    settings: Settings, listener: socket.socket, open_file: OpenFile, supervisor: socket.socket | None = None
) -> int:
    """Serves until a signal comes; returns the exit code.

    Args:
        settings: What the operator set.
        listener: A socket that is bound.
        open_file: What opens model files.
        supervisor: The line to the process that looks after this one.

    Raises:
        ModelFileError: If there is no model that can be served.
        ProviderError: If the execution provider that was asked for cannot be had.
    """
    app = create_app(settings, open_file)
    config = uvicorn.Config(
        app,
        http=GateProtocol,
        ws="none",  # else a request for an upgrade would be answered by nobody
        backlog=BACKLOG,
        log_config=None,  # as everything else here
        log_level="warning",
        access_log=False,
        server_header=False,
        headers=list(HEADERS.items()),
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_ms / 1000,  # type: ignore[arg-type]
    )
    if supervisor is None:
        log.info("pictures at %s", address(listener))
    Server(config, settings, app.state.registry, supervisor).run(sockets=[listener])
    return 0


class Server(uvicorn.Server):
    """Serves one process's share of the connections.

    SIGTERM: ``/readyz`` says 503 while everything is answered as before, each answer the last of its
    connection, so that balancers turn elsewhere; then the socket is closed, what was let in is
    finished, and what cannot be in time is told so. SIGINT, which a person sends, leaves out the first
    part. A second signal ends the process at once.

    Args:
        config: uvicorn's.
        settings: What the operator set.
        registry: What is served.
        supervisor: The line to the process that looks after this one; its end ends the service too.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        registry: "Registry",
        supervisor: socket.socket | None = None,
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._registry = registry
        self._supervisor = supervisor
        self._drain_s = 0.0
        self._close_at: float | None = None
        self._end_at = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hears signals; they are not raised again at the end as by uvicorn: a good end has the code 0."""
        for number in SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to stop; the second time ends the process, unless its supervisor is there to do that."""
        del frame
        if self.should_exit and self._supervisor is None:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        if not self.should_exit:
            self._drain_s = self._settings.drain_ms / 1000 if sig == signal.SIGTERM else 0.0
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and tells the supervisor so."""
        await super().startup(sockets)
        gc.freeze()  # what is here stays: collections need not look at it
        gc.set_threshold(YOUNG)
        gc.enable()
        self._look_over()
        if self._supervisor is not None:
            self._supervisor.settimeout(0)
            asyncio.get_running_loop().add_reader(self._supervisor, self._left_alone)
            self._beat()

    async def on_tick(self, counter: int) -> bool:
        """Looks ten times a second whether to stop, and tells whether the door is to be closed now."""
        if counter % 10 == 0:
            self._beat()
        if not await super().on_tick(counter):
            return False
        now = asyncio.get_running_loop().time()
        if self._close_at is None:
            self._close_at = now + self._drain_s
            self._end_at = now + self._settings.grace_ms / 1000
            self._drain()
        return now >= self._close_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the door and finishes what was let in."""
        for _ in range(2):  # turns of the loop, in which it accepts who waits; closing would turn them away
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        await asyncio.sleep(LINGER_S)
        loop = asyncio.get_running_loop()
        left = max(0.0, self._end_at - loop.time())
        loop.call_later(max(0.0, left - LAST_S), self._registry.give_up)
        loop.call_later(max(0.0, left - CUT_S), self._cut)
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]
        await super().shutdown(sockets)
        log.info("stopped")

    def _cut(self) -> None:
        """Aborts the connections that are left: their readers do not take what they asked for."""
        for connection in list(self.server_state.connections):
            assert isinstance(connection, GateProtocol)
            connection.abort()

    def _drain(self) -> None:
        """Says that nothing should come any more; what comes is answered."""
        log.info("stopping: not ready from now on, and closed in %.1f s", self._drain_s)
        with contextlib.suppress(RuntimeError):  # there is no memory for a thread
            faulthandler.dump_traceback_later(self._settings.grace_ms / 1000 + STUCK_S, exit=True)
        self._registry.draining = True
        self.config.encoded_headers.append((b"connection", b"close"))
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]

    def _look_over(self) -> None:
        """Looks over all connections, now and every second until the end."""
        loop = asyncio.get_running_loop()
        look_over(self.server_state.connections, loop.time(), self._settings.max_unread_mb * 1_000_000)
        loop.call_later(LOOK_S, self._look_over)

    def _beat(self) -> None:
        """Tells the supervisor that the event loop turns."""
        if self._supervisor is not None:
            with contextlib.suppress(OSError):
                self._supervisor.send(b".")

    def _left_alone(self) -> None:
        """Stops when the supervisor has ended without a word."""
        assert self._supervisor is not None
        asyncio.get_running_loop().remove_reader(self._supervisor)
        log.error("the supervisor of process %d is gone", os.getpid())
        self.handle_exit(signal.SIGTERM, None)
