"""The plainest address of a picture, read by hand: FastAPI takes as long to read one as all else takes."""

import re
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.call import Call
from app.choice import take
from app.conditional import MILLISECONDS, answer_kept, peek_timeout_s
from app.images import image

if TYPE_CHECKING:
    from app.settings import Settings


class PlainPicture(BaseRoute):
    """GET of ``/images/{seed}.png`` without a query, for a seed that is a number of up to 19 digits.

    It answers what ``app.images`` would answer, by the same function. Whatever is not as plain, or wrong, is
    left to that.
    """

    path_format = "/images/{seed}.{format}"
    """What its requests are counted under."""

    _path = re.compile(r"/images/(0|[1-9][0-9]{0,18})\.png")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tells whether a request is for such an address."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
            return Match.NONE, {}
        found = self._path.fullmatch(scope["path"])
        if found is None or not all(
            MILLISECONDS.fullmatch(value) for name, value in scope["headers"] if name == b"x-timeout-ms"
        ):
            return Match.NONE, {}
        return Match.FULL, {"route": self, "endpoint": image, "path_params": {"seed": int(found[1])}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        response = await answer_kept(Request(scope, receive, send), _grow)
        await response(scope, receive, send)


async def _grow(request: Request) -> Response:
    settings: Settings = request.app.state.settings
    call = Call(request, take(request), settings, peek_timeout_s(request))
    return await image(call, request.path_params["seed"], "png")
