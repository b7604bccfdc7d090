"""One request and its answer, as the log and the metrics see them; its id goes where it goes."""

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

WENT_AWAY = 499
"""What nginx calls the status of an answer whose client is gone."""

_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""Ids that are taken as they come: they end up in headers, documents and lines of logs."""

_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
"""``traceparent``. Source: W3C Trace Context, section 3.2."""


@dataclass(slots=True)
class Exchange:
    """What is known of a request and its answer."""

    request_id: str
    trace_id: str
    """32 hexadecimal digits; empty if it is part of no trace."""
    caller: str = ""
    """Whose key or signature it has, by name; empty if it has none."""
    status: int = 0
    """HTTP status; 0 until there is one."""
    sent: int = 0
    """Bytes of the body."""
    complete: bool = False
    """Whether all of the answer was handed on."""
    pictures: int = 0
    """Pictures in the answer."""
    cause: str | None = None
    """Why it was refused, in a word, where the status does not say all."""


current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""The exchange that a task belongs to."""


def identify(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str]:
    """Returns the id of a request, its own or a new one, and that of its trace, if it has one.

    Args:
        headers: Names in lower case, and values.
    """
    request_id, trace_id = "", ""
    for name, value in headers:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent" and (found := _TRACE.fullmatch(value)):
            trace_id = found[1].decode()
    return request_id or f"{random.getrandbits(64):016x}", trace_id


def refused_for(cause: str) -> None:
    """Notes why the request at hand is refused, in a word."""
    if (exchange := current.get()) is not None:
        exchange.cause = cause
