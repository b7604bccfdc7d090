"""Sees every request and its answer: names it, counts it, and tells the access log."""

import time

from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access_log import AccessLog
from app.exchange import WENT_AWAY, Exchange, current, identify
from app.tally import HttpTally

NO_ROUTE = "none"
"""What an address without a route is counted under: its own would be anybody's to choose."""


class Observer:
    """Sees every request and its answer.

    Plain ASGI: anything that wraps requests hides from the application that a client went away.

    Args:
        app: The application.
        tally: Where it counts.
        access_log: Where it tells of each request, if anywhere.
        traced: Whether requests are part of traces that are recorded here.
    """

    def __init__(
        self, app: ASGIApp, tally: HttpTally, access_log: AccessLog | None = None, *, traced: bool = False
    ) -> None:
        self.app = app
        self._tally = tally
        self._access_log = access_log
        self._traced = traced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = Exchange(*identify(scope["headers"]))
        if self._traced and (span := trace.get_current_span()).is_recording():
            exchange.trace_id = f"{span.get_span_context().trace_id:032x}"
            span.set_attribute("seedling.request_id", exchange.request_id)
        # Not taken back: the answer to a failure is written outside of here, and each request is a task.
        current.set(exchange)
        name = (b"x-request-id", exchange.request_id.encode())

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = headers = [*message.get("headers", ()), name]
                if self._access_log is not None:
                    exchange.pictures = _count_pictures(headers)
            elif message["type"] == "http.response.body":
                exchange.sent += len(message.get("body", b""))
                exchange.complete = not message.get("more_body", False)
            await send(message)

        self._tally.open += 1
        try:
            await self.app(scope, receive, watched)
        except Exception:
            # Another answer is written outside of here, unless there is one already.
            exchange.complete = not exchange.status
            exchange.status = exchange.status or 500
            raise
        finally:
            self._tally.open -= 1
            self._note(scope, exchange, time.perf_counter() - began)

    def _note(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        status = exchange.status or WENT_AWAY
        route = self._tally.answered(find_route(scope), scope["method"], status)
        route.seconds.observe(seconds)
        route.sent += exchange.sent
        self._tally.turned_away(status, exchange.cause)
        if self._access_log is not None:
            self._access_log.note(scope["method"], scope["raw_path"], exchange, seconds, scope["client"])


def find_route(scope: Scope) -> str:
    """Returns the template of the address that a request was for, after it was handled."""
    # FastAPI keeps the route with the prefixes of its routers there; the route alone is without them.
    whole = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(whole, "path_format", None) or NO_ROUTE


def _count_pictures(headers: list[tuple[bytes, bytes]]) -> int:
    found = dict(headers)
    return int(found.get(b"seedling-count", b"seedling-seed" in found))
