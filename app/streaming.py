"""Pictures sent one by one as they are done, as fast as they are read; the engine is not asked for more."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from http import HTTPStatus
from itertools import islice
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.call import Call
from app.disconnect import ClientGoneError, until_gone
from app.engine import Engine
from app.envelopes import to_event, to_item, to_line
from app.look import Look
from app.parameters import Still
from app.pictures import Picture, grow
from app.points import Point
from app.problems import Problem, request_id
from app.refusals import EngineStoppedError, OverloadError

log = logging.getLogger("seedling")

QUEUE_SHARE = 4
"""A stream takes at most this part of the queue: a fourth."""

WAIT_MIN_S = 0.05
"""Shortest time before a stream that was refused asks again, in seconds."""

Batch = list[Picture]


class PictureStream(StreamingResponse):
    """An answer that is sent as it is made; a client that goes away ends the work at once."""

    def __init__(self, call: Call, parts: AsyncGenerator[bytes, None], media_type: str) -> None:
        # Proxies that collect an answer before they pass it on would undo the stream.
        super().__init__(parts, media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self._call = call
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        del scope, receive  # the request has them
        tally = self._call.engine.tally
        tally.streams += 1
        try:
            async with contextlib.aclosing(self._parts):
                with contextlib.suppress(ClientGoneError):
                    await until_gone(self._call.request, self.stream_response(send))
        finally:
            tally.streams -= 1


def batch_sizes(engine: Engine) -> tuple[int, int]:
    """Returns how many pictures a stream asks for at a time, and how many times ahead of its reader.

    A batch for each lane and one for the reader keep the engine busy and little memory in use.
    """
    layout = engine.model.layout
    ahead = layout.lanes + 1
    room = engine.admission.max_queue // QUEUE_SHARE
    return max(1, min(layout.batch_sizes[-1], room // ahead)), min(ahead, max(1, room))


async def in_order(
    call: Call, points: Iterator[Point], look: Look, form: Still
) -> AsyncGenerator[Batch, None]:
    """Yields pictures in the order of their places, some at a time.

    Raises:
        OverloadError: If there is no room or no time for the first; later ones wait for it.
    """
    size, ahead = batch_sizes(call.engine)
    tasks: deque[asyncio.Task[Batch]] = deque()
    work: Callable[..., Coroutine[Any, Any, Batch]] = grow
    try:
        while (batch := list(islice(points, size))) or tasks:
            if batch:
                tasks.append(asyncio.create_task(work(call, batch, look, form)))
                work = _insist
            if not batch or len(tasks) >= ahead:
                yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _insist(call: Call, points: list[Point], look: Look, form: Still) -> Batch:
    """Grows pictures, and asks again when the engine has no room or no time for them."""
    while True:
        try:
            return await grow(call, points, look, form)
        except OverloadError as error:
            await asyncio.sleep(max(WAIT_MIN_S, error.retry_after_s))


async def write_stream(
    first: Batch, rest: AsyncGenerator[Batch, None], form: Still, *, events: bool
) -> AsyncGenerator[bytes, None]:
    """Yields the answer: a picture a line, or an event, then how many there were or what went wrong."""
    batch: Batch | None = first
    count = 0
    async with contextlib.aclosing(rest):
        try:
            while batch is not None:
                for picture in batch:
                    yield to_event("picture", to_item(picture, form)) if events else to_line(picture, form)
                count += len(batch)
                batch = await anext(rest, None)
        except Exception as error:  # noqa: BLE001 - the status is sent: what is left is to say it here
            problem = _problem(error)
            yield to_event("error", problem) if events else b'{"error":%b}\n' % problem
            return
    if events:
        yield to_event("done", b'{"count":%d}' % count)


def _problem(error: Exception) -> bytes:
    if isinstance(error, EngineStoppedError):
        status, detail = HTTPStatus.SERVICE_UNAVAILABLE, str(error)
    else:
        log.error("a stream failed", exc_info=error)
        status, detail = (
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "the service failed at this request; its log says why",
        )
    problem = Problem(title=status.phrase, status=status, detail=detail, request_id=request_id())
    return problem.model_dump_json(exclude_none=True).encode()
