"""The network between a client and a service, and what came over it."""

from collections.abc import Callable

import httpx


class Wire(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The network, and what came over it.

    Args:
        on_refusal: What is called at each 429.
    """

    def __init__(self, on_refusal: Callable[[], object] = lambda: None) -> None:
        self.requests: list[httpx.Request] = []
        self.statuses: list[int] = []
        self._on_refusal = on_refusal
        self._sync, self._async = httpx.HTTPTransport(), httpx.AsyncHTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request."""
        return self._note(request, self._sync.handle_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request."""
        return self._note(request, await self._async.handle_async_request(request))

    def close(self) -> None:
        """Closes the connections."""
        self._sync.close()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._async.aclose()

    def _note(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        self.requests.append(request)
        self.statuses.append(answer.status_code)
        if answer.status_code == 429:
            self._on_refusal()
        return answer
