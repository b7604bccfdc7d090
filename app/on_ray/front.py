"""What the service's own connections do for it, where another's server has them."""

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.browsers import HEADERS
from app.problems import respond


class Front:
    """Bounds bodies, and tells browsers what every answer tells them.

    Bounds of connections, of heads and in time are the other server's.

    Args:
        app: The application.
        max_body_bytes: Most bytes of a request's body.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self._most = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                del headers["x-request-id"]  # Ray's proxy adds the same
                headers.update(HEADERS)
            await send(message)

        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._most:
            await respond(scope["path"], 413, self._explain(int(length)))(scope, receive, told)
            return
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise HTTPException(413, self._explain(size))
            return message

        await self.app(scope, bounded, told)

    def _explain(self, size: int) -> str:
        return f"the body of a request has at most {self._most} bytes on this server, got {size} or more"
