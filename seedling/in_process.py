"""Asks an application in this process as if it were a service elsewhere, without a socket."""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

import anyio
import httpx
from starlette.applications import Starlette
from starlette.types import Message, Scope

T = TypeVar("T")


class InProcess(httpx.BaseTransport):
    """Runs an application, its lifespan included, on an event loop in a thread of its own.

    httpx's own transport for ASGI is for event loops alone, and collects an answer before it gives it out.

    Args:
        app: The application.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app
        began: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=asyncio.run, args=(_live(app, began),), name="seedling", daemon=True)
        thread.start()
        self._loop, over = began.result()
        self._end = weakref.finalize(self, _end, self._loop, over, thread)
        # Nothing to close when the interpreter ends: the pools that closing needs have ended before.
        self._end.atexit = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Returns the beginning of an answer; the rest is made as it is read."""
        request.read()
        parts = _Parts(self._loop, _Exchange(self._app, request))
        try:
            start = parts.next()
        except BaseException:
            parts.close()
            raise
        return httpx.Response(start["status"], headers=start["headers"], stream=parts)

    def close(self) -> None:
        """Ends the application."""
        self._end()


async def _live(app: Starlette, began: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
    over = asyncio.Event()
    try:
        async with app.router.lifespan_context(app):
            began.set_result((asyncio.get_running_loop(), over))
            await over.wait()
    except Exception as error:
        if began.done():
            raise
        began.set_exception(error)


def _end(loop: asyncio.AbstractEventLoop, over: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(over.set)
    thread.join()


class _Exchange:
    """A request and the messages of its answer, each made when the one before was taken."""

    def __init__(self, app: Starlette, request: httpx.Request) -> None:
        self._app = app
        self._request = request
        self._send, self._receive = anyio.create_memory_object_stream[Message](0)
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> Message:
        """Returns the next message; what the application raises instead is raised."""
        if self._task is None:
            self._task = asyncio.create_task(self._answer())
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            await self._task
            raise

    def abandon(self) -> None:
        """Takes no more messages."""
        self._receive.close()

    async def close(self) -> None:
        """Ends the work for the answer, if it is not done."""
        self.abandon()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self) -> None:
        body: Message = {"type": "http.request", "body": self._request.content, "more_body": False}
        waiting = [body]

        async def receive() -> Message:
            if not waiting:
                await asyncio.Future()  # for ever: who goes away cancels the task
            return waiting.pop()

        async with self._send:
            await self._app(_scope(self._request), receive, self._send.send)


class _Parts(httpx.SyncByteStream):
    """The body of an answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exchange: _Exchange) -> None:
        self._loop = loop
        self._exchange = exchange

    def next(self) -> Message:
        """Returns the next message.

        Raises:
            httpx.ReadError: If the application has ended.
        """
        return self._do(self._exchange.next())

    def __iter__(self) -> Iterator[bytes]:
        more = True
        while more:
            message = self.next()
            more = message.get("more_body", False)
            yield message.get("body", b"")

    def close(self) -> None:
        """Ends the work for the answer, if it is not done."""
        with contextlib.suppress(httpx.ReadError):
            self._do(self._exchange.close())
        self._exchange.abandon()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            if self._loop.is_running():
                return asyncio.run_coroutine_threadsafe(work, self._loop).result()
            work.close()
        except CancelledError:
            pass
        raise httpx.ReadError("the application has ended")


def _scope(request: httpx.Request) -> Scope:
    path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port),
        "client": None,
    }
