"""The door of the service: what there is no room for is refused before anything is made of the request.

Under many times the load that the engine can take nearly every request is refused, and what a refusal
costs is taken from the pictures that are grown.
"""

import functools
import math
import re
from typing import TYPE_CHECKING, cast

from fastapi.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.conditional import kept_at
from app.engine import OverloadError
from app.problems import refuse

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.cache import AnswerCache
    from app.engine import Engine
    from app.settings import Settings

_PICTURES = re.compile(rb"/(images/|interpolate\?)(?!.*[?&]model=)", re.DOTALL)
"""Addresses of pictures of the default model; the others are refused by their routes."""

_MILLISECONDS = re.compile(rb"[1-9][0-9]{0,8}")


class GateProtocol(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, which says no by itself."""

    _refused = False

    def on_headers_complete(self) -> None:
        """Refuses the request that has come in, or hands it on."""
        if not self._may_be_refused():
            super().on_headers_complete()
            return
        engine: Engine = cast("FastAPI", self.app).state.registry.default
        if (error := self._find_refusal(engine)) is None:
            # Requests that came in together are looked at one after the other before the first of them
            # gets to the engine: until then it does not know them.
            engine.arriving += 1
            super().on_headers_complete()
            self.loop.call_soon(engine.arrived)
            return
        self._refused = True
        path = self.url.partition(b"?")[0].decode("ascii", "replace")
        self.transport.write(_refusal(path.split("/")[1], str(error), math.ceil(error.retry_after_s)))

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body; that of a refused request is dropped."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request; after a refusal the connection waits for the next one."""
        if not self._refused:
            super().on_message_complete()
            return
        self._refused = False
        self.server_state.total_requests += 1
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _may_be_refused(self) -> bool:
        """Tells whether it is a GET of a picture, and nothing else is to be answered or done first."""
        idle = self.cycle is None or self.cycle.response_complete
        return (
            idle
            and self.parser.get_method() == b"GET"
            and self.parser.should_keep_alive()
            and _PICTURES.match(self.url) is not None
        )

    def _find_refusal(self, engine: "Engine") -> OverloadError | None:
        """Returns why the engine cannot take the picture, unless the answer would need no engine."""
        state = cast("FastAPI", self.app).state
        settings: Settings = state.settings
        cache: AnswerCache = state.cache
        headers = dict(self.headers)
        asked = headers.get(b"x-timeout-ms", b"")
        timeout_s = settings.timeout_s(int(asked) if _MILLISECONDS.fullmatch(asked) else None)
        try:
            engine.check(1, timeout_s, coming=engine.arriving)
        except OverloadError as error:
            known = b"if-none-match" in headers or kept_at(engine, self.url) in cache
            return None if known else error
        return None


@functools.lru_cache(256)
def _refusal(place: str, message: str, retry_after_s: int) -> bytes:
    return on_the_wire(refuse(f"/{place}", OverloadError(message, retry_after_s)))


def on_the_wire(response: Response) -> bytes:
    """Returns an answer as HTTP/1.1 sends it."""
    head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return b"".join([STATUS_LINE[response.status_code], head, b"\r\n", response.body])
