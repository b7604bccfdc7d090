"""The access log: a line for each request, written by a thread, so that no request waits for a pipe."""

import contextlib
import json
import queue
import sys
import threading
import time
from typing import IO, Any

from app.exchange import WENT_AWAY, Exchange
from app.logs import Form, stamp

ROOM = 10_000
"""Lines that wait to be written; what comes while there is no room is counted and not told."""

SAMPLE_S = 1.0
"""Refusals at the door are told once in this time, in seconds: they come in floods."""

PATIENCE_S = 1.0
"""How long the end waits for a reader, in seconds, and then for the rest to be written."""

Client = tuple[str, int] | None


class AccessLog:
    """Lines of requests, on their way to a stream.

    Args:
        form: For people or for machines.
        stream: Where to; the standard output when missing.
    """

    def __init__(self, form: Form, stream: IO[str] | None = None) -> None:
        self._write = _as_json if form == "json" else _as_text
        self._stream = sys.stdout if stream is None else stream
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(ROOM)
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._told = 0.0
        self._untold = 0
        self.dropped = 0
        """Lines that there was no room for."""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread once everything is written, or without where nobody reads."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=PATIENCE_S)
        self._thread.join(PATIENCE_S)

    def note(self, method: str, path: bytes, exchange: Exchange, seconds: float, client: Client) -> None:
        """Notes a request.

        Args:
            method: Its method.
            path: Its path as it came, without the query, which may hold what is nobody's business.
            exchange: What is known of it.
            seconds: How long it took, in seconds.
            client: Its address and port.
        """
        self._put(
            {
                "time": time.time(),
                "method": method,
                "path": path.decode("ascii", "backslashreplace"),
                "status": exchange.status,
                "ms": round(1000 * seconds, 2),
                "pictures": exchange.pictures,
                "bytes": exchange.sent,
                "gone": not exchange.complete or exchange.status == WENT_AWAY,
                "client": client[0] if client else "",
                "caller": exchange.caller,
                "request_id": exchange.request_id,
                "trace_id": exchange.trace_id,
            }
        )

    def note_refusal(self, path: bytes, exchange: Exchange, client: Client) -> None:
        """Notes a refusal at the door; of many within a second one, with the number of the others."""
        now = time.monotonic()
        if now - self._told < SAMPLE_S:
            self._untold += 1
            return
        exchange.complete = True
        self.note("GET", path, exchange, 0.0, client)
        if self._untold:
            self._put({"time": time.time(), "refusals_not_told": self._untold})
        self._told, self._untold = now, 0

    def _put(self, line: dict[str, Any]) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._stream.write(self._write(line | {"time": stamp(line["time"])}) + "\n")
            if self._lines.empty():
                self._stream.flush()
        self._stream.flush()


def _as_json(line: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in line.items() if value != ""})


def _as_text(line: dict[str, Any]) -> str:
    return " ".join(f"{name}={_plain(value)}" for name, value in line.items() if value != "")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
