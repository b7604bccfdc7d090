"""The door of the service: what there is no room for is refused before anything is made of the request.

Under many times the load that the engine can take nearly every request is refused, and what a refusal
costs is taken from the pictures that are grown.
"""

import asyncio
import functools
import math
import re
from typing import TYPE_CHECKING, cast

from app.browsers import HEADERS
from app.conditional import MILLISECONDS, kept_at
from app.connection import Connection, on_the_wire
from app.exchange import Exchange, current, identify
from app.guard import DeniedError, find_caller
from app.observer import NO_ROUTE
from app.problems import refuse
from app.refusals import OverloadError
from app.signing import unsigned

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.access_log import AccessLog
    from app.cache import AnswerCache
    from app.engine import Engine
    from app.keyring import Keyring
    from app.lull import Lull
    from app.registry import Registry
    from app.tally import HttpTally

_PICTURES = re.compile(rb"/(images/|interpolate\?)(?!.*[?&]model=)", re.DOTALL)
"""Addresses of pictures of the default model; the others are refused by their routes."""

ROUTES = {"images": "/images/{seed}.{format}", "interpolate": "/interpolate"}
"""What refusals are counted under, by the first part of the address."""

CAUSES_HERE = {400: "malformed", 503: "connections"}
"""Why a connection was ended, where the status alone would be counted as something else."""


class GateProtocol(Connection):
    """A connection that says no by itself."""

    _refused = False

    @property
    def _registry(self) -> "Registry":
        registry: Registry = cast("FastAPI", self.app).state.registry
        return registry

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes note of a connection."""
        super().connection_made(transport)
        state = cast("FastAPI", self.app).state
        state.tally.connections = self.connections
        state.lull.connected()

    def refuse(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Counts a connection that is ended for what came, or did not come, and says why."""
        if self.is_over:
            return
        tally: HttpTally = cast("FastAPI", self.app).state.tally
        tally.answered(NO_ROUTE, "other", status)
        tally.turned_away(status, CAUSES_HERE.get(status))
        super().refuse(status, detail, headers)

    def hand_on(self) -> None:
        """Refuses the request that has come in, or hands it on."""
        self._unset_keepalive_if_required()  # of a request before it, in the same piece
        if not self._may_be_refused():
            super().hand_on()
            return
        engine: Engine = self._registry.default
        if (error := self._find_refusal(engine)) is None:
            # Requests that came in together are looked at one after the other before the first of them
            # gets to the engine: until then it does not know them.
            engine.arriving += 1
            super().hand_on()
            self.loop.call_soon(engine.arrived)
            return
        self._refused = True
        self.transport.write(self._refuse(error))
        lull: Lull = cast("FastAPI", self.app).state.lull
        lull.refused(engine.admission.busy_s, self.loop)

    def _refuse(self, error: OverloadError) -> bytes:
        """Counts a refusal; returns it as it is sent."""
        path = self.url.partition(b"?")[0]
        place = path.split(b"/")[1].decode()
        state = cast("FastAPI", self.app).state
        tally: HttpTally = state.tally
        tally.answered(ROUTES[place], "GET", 429)
        tally.turned_away(429, error.cause)
        exchange = Exchange(*identify(self.headers), status=429)
        access_log: AccessLog | None = state.access_log
        if access_log is not None:
            access_log.note_refusal(path, exchange, self.client)
        name = exchange.request_id
        answer = _refusal(place, str(error), math.ceil(error.retry_after_s), len(name))
        return answer.replace(UNNAMED * len(name), name.encode())

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body; that of a refused request is dropped."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request; after a refusal the connection waits for the next one."""
        if not self._refused:
            super().on_message_complete()
            return
        self._refused, self._waits_for = False, ""
        self.server_state.total_requests += 1
        self.wait_for_next()

    def _may_be_refused(self) -> bool:
        """Tells whether it is a GET of a picture, and nothing else is to be answered or done first."""
        idle = self.cycle is None or self.cycle.response_complete
        return (
            idle
            and not self._registry.draining
            and self.parser.get_method() == b"GET"
            and self.parser.should_keep_alive()
            and _PICTURES.match(self.url) is not None
        )

    def _find_refusal(self, engine: "Engine") -> OverloadError | None:
        """Returns why the engine cannot take the picture, unless the answer would need no engine."""
        state = cast("FastAPI", self.app).state
        cache: AnswerCache = state.cache
        headers = dict(self.headers)
        asked = headers.get(b"x-timeout-ms", b"")
        timeout_s = self.settings.timeout_s(int(asked) if MILLISECONDS.fullmatch(asked) else None)
        error = engine.refusal(1, timeout_s, coming=engine.arriving)
        if not isinstance(error, OverloadError):
            return None  # or it stops, and its route says so
        if b"if-none-match" in headers or kept_at(engine, self._address()) in cache:
            return None
        # Without the headers of ``OtherOrigins`` a browser would not tell its script.
        foreign = b"origin" in headers and self.settings.cors_origins
        return None if foreign or not self._may_ask(headers) else error

    def _address(self) -> bytes:
        """Returns the address as the cache knows it."""
        path, mark, query = self.url.partition(b"?")
        query = unsigned(query)
        return path + mark + query if query else path

    def _may_ask(self, headers: dict[bytes, bytes]) -> bool:
        """Tells whether the guard would let the request in; if not, it is to say so."""
        keyring: Keyring | None = cast("FastAPI", self.app).state.keyring
        if keyring is None:
            return True
        path, _, query = self.url.partition(b"?")
        try:
            find_caller(keyring, "GET", path, query, headers)
        except DeniedError:
            return False
        return True


UNNAMED = b"~"
"""Stands for each character of a request's id in a refusal that is rendered for many."""


@functools.lru_cache(256)
def _refusal(place: str, message: str, retry_after_s: int, name_length: int) -> bytes:
    name = UNNAMED.decode() * name_length
    token = current.set(Exchange(name, ""))
    response = refuse(f"/{place}", OverloadError(message, retry_after_s))
    current.reset(token)
    response.headers.update(HEADERS | {"X-Request-Id": name})
    return on_the_wire(response)
