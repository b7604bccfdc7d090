"""A connection with bounds: on its head and its body, in bytes and in time, and on what its reader leaves."""

import fcntl
import struct
import termios
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.exchange import Exchange, current, identify
from app.one_write import OneWrite
from app.problems import respond

if TYPE_CHECKING:
    import asyncio

    from fastapi import FastAPI
    from fastapi.responses import Response

    from app.settings import Settings

LOOK_S = 1.0
"""How often connections are looked over, in seconds."""

LINGER_S = 2.0
"""How long a client may go on sending after a refusal, in seconds: closed at once, it would not see why."""

TAKEN_MIN = 16_384
"""Bytes that a reader must take of its answer, unless less is left, to count as one who reads."""

RESERVE = 128
"""Connections beyond the most that are still heard, for those who ask after the service's health."""

PIPELINE_MAX = 100
"""Requests of a connection that wait for the answer to one before them: each takes some kilobytes."""

HEALTH = (b"/livez", b"/readyz")


class RefusedError(Exception):
    """Stops the parser: the request was answered, and nothing more of its connection is read."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, with what it sets no bound to.

    Clocks are not set for each request: ``look_over`` comes by once a second.
    """

    _waits_for: Literal["head", "body", ""] = "head"
    """Which part of a request is to come; none between two requests and while one is answered."""
    _since = 0.0
    _head_size = 0
    """Bytes of the present head; chunks that hold the end of something else are not counted."""
    _body_size = 0
    _over_at: float | None = None
    """Until when what comes is thrown away; None while the connection is in use."""
    _unread: tuple[float, int] | None = None
    """When the reader last took something, and how many bytes were left then; None if it has everything."""
    _late = False
    """Whether it came when there were too many."""

    @property
    def settings(self) -> "Settings":
        """What the operator set."""
        settings: Settings = cast("FastAPI", self.app).state.settings
        return settings

    def connection_made(self, transport: "asyncio.Transport") -> None:  # type: ignore[override]
        """Takes the connection on, if there are not far too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        excess = len(self.connections) - self.settings.max_connections
        self._late = excess > 0
        if excess > RESERVE:
            transport.abort()

    # --- What comes in -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Reads what has come."""
        if self._over_at is not None:
            return
        self._unset_keepalive_if_required()
        if not self._waits_for:
            self._wait_for("head")
        if self._waits_for == "head":
            self._head_size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # there is nothing to upgrade to; the request is answered as it is
        except httptools.HttpParserError:
            if self._over_at is None:
                self.refuse(400, "this is not HTTP/1.1")
        if self._waits_for == "head" and self._head_size > self.settings.max_head_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        if self._waits_for != "head":
            self._wait_for("head")

    def on_headers_complete(self) -> None:
        """Judges a request by its head, then hands it on."""
        settings = self.settings
        if (
            len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            > settings.max_head_bytes
        ):
            self._refuse_head()
            raise RefusedError
        if self._late and self.url not in HEALTH:
            most = settings.max_connections
            self.refuse(503, f"this server has its most connections, {most}", {"Retry-After": "1"})
            raise RefusedError
        self._head_size = 0
        self._wait_for("body")
        for name, value in self.headers:
            if name == b"content-length":
                self._check_body(int(value))
        self.hand_on()

    def hand_on(self) -> None:
        """Gives a request whose head is complete to the application."""
        if len(self.pipeline) >= PIPELINE_MAX:
            self.transport.abort()
            raise RefusedError
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", OneWrite(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._body_size += len(body)
        self._check_body(self._body_size)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request; its answer may be under way."""
        self._waits_for = ""
        super().on_message_complete()
        if self.cycle.response_complete:  # the answer did not wait for the body
            self.wait_for_next()

    def wait_for_next(self) -> None:
        """Closes the connection, unless another request comes in time."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _wait_for(self, part: Literal["head", "body"]) -> None:
        self._waits_for = part
        self._since = self.loop.time()
        self._body_size = 0

    def _refuse_head(self) -> None:
        self.refuse(431, f"the head of a request has at most {self.settings.max_head_bytes} bytes, got more")

    def _check_body(self, size: int) -> None:
        most = self.settings.max_body_bytes
        if size > most:
            self.refuse(
                413, f"the body of a request has at most {most} bytes on this server, got {size} or more"
            )
            raise RefusedError

    # --- How it ends ---------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be answered."""
        return self._over_at is not None or self.transport.is_closing()

    def refuse(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Answers in the application's place; what still comes of the connection is not read."""
        if self.is_over:
            return
        if self.cycle is not None and (self.pipeline or self.cycle.scope is self.scope):
            if self.cycle.response_started or self.pipeline:
                self.transport.abort()  # an answer is under way, or out
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif self._answering():
            self.transport.abort()
            return
        self._over_at = self.loop.time() + LINGER_S
        path = self.url.partition(b"?")[0].decode("ascii", "replace") if self.url else "/"
        name, trace_id = identify(self.headers or ())
        token = current.set(Exchange(name, trace_id))
        answer = respond(
            path, status, detail, {"Connection": "close", "X-Request-Id": name} | (headers or {})
        )
        current.reset(token)
        usual = [header for header in self.server_state.default_headers if header[0] != b"connection"]
        self.transport.write(on_the_wire(answer, usual))
        self.transport.write_eof()

    def shutdown(self) -> None:
        """Closes when the server stops; a request that has begun to come is answered first."""
        if not self._head_size:
            super().shutdown()

    def look(self, now: float) -> int:
        """Ends the connection if its time is over; returns how many bytes of its answers are unread.

        Args:
            now: The loop's time in seconds.
        """
        waited = 1000 * (now - self._since)
        if self._over_at is not None:
            if now > self._over_at:
                self.transport.abort()
        elif self._waits_for and waited > self.settings.read_timeout_ms:
            self._cut_sender()
        return self._cut_reader(now)

    def abort(self) -> None:
        """Ends the connection, whatever is under way."""
        self.transport.abort()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _cut_sender(self) -> None:
        """Ends a connection whose client has not sent all of what it began."""
        if self._waits_for == "head" and not self._head_size:
            if not self._answering():
                self.transport.close()  # it never asked for anything
        elif not self.flow.read_paused and (self._waits_for == "body" or not self._answering()):
            took = self.settings.read_timeout_ms
            self.refuse(408, f"the {self._waits_for} of the request was not complete after {took} ms")

    def _cut_reader(self, now: float) -> int:
        """Ends a connection whose client has stopped reading; returns what it has not read, in bytes."""
        buffered = self.transport.get_write_buffer_size()
        if not buffered:
            self._unread = None
            return 0
        left = buffered + _in_the_system(self.transport)
        if self._unread is None or not self._unread[1] - TAKEN_MIN < left <= self._unread[1]:
            self._unread = now, left
        elif 1000 * (now - self._unread[0]) > self.settings.write_timeout_ms:
            self.transport.abort()
        return buffered

    @property
    def stalled_since(self) -> float:
        """When the reader last took something."""
        assert self._unread is not None
        return self._unread[0]


def look_over(connections: Iterable[object], now: float, most_unread: int) -> None:
    """Ends connections whose time is over, and keeps what is not read by their clients in bounds.

    Args:
        connections: All of them.
        now: The loop's time in seconds.
        most_unread: Bytes of answers that may be kept for readers.
    """
    sizes = {one: one.look(now) for one in list(connections) if isinstance(one, Connection)}
    excess = sum(sizes.values()) - most_unread
    if excess > 0:
        for one in sorted((one for one in sizes if sizes[one]), key=lambda one: one.stalled_since):
            one.abort()
            excess -= sizes[one]
            if excess <= 0:
                return


def on_the_wire(response: "Response", headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Returns an answer as HTTP/1.1 sends it, with more headers if there are."""
    head = b"".join(b"%b: %b\r\n" % header for header in (*headers, *response.raw_headers))
    return b"".join([STATUS_LINE[response.status_code], head, b"\r\n", response.body])


def _in_the_system(transport: "asyncio.Transport") -> int:
    """Returns how many bytes the system keeps for a client that has not taken them."""
    try:
        found = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # it is closed
        return 0
    size: int = struct.unpack("i", found)[0]
    return size
