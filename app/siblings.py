"""Workers of one service tell each other what they counted, so that whichever is asked answers for all.

Each listens at a name that the kernel keeps and not at a file: it needs no folder that can be written, and
is free again when the process is gone, whatever killed it.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable

log = logging.getLogger("seedling")

WAIT_S = 1.0
"""How long a worker waits for another, in seconds: one that does not answer is left out."""

_VARIABLE = "_SEEDLING_WORKER"
"""Where a worker finds its family and its place; not a setting."""


def new_family() -> str:
    """Returns a name for the workers of one supervisor."""
    return secrets.token_hex(16)


def introduce(family: str, place: int) -> dict[str, str]:
    """Returns what stands in a worker's environment so that it knows who it is."""
    return {_VARIABLE: f"{family}-{place}"}


class Siblings:
    """The workers of this service as one of them sees them.

    Args:
        workers: How many there are to be.
    """

    def __init__(self, workers: int) -> None:
        family, _, place = os.environ.get(_VARIABLE, "").partition("-")
        self.place = int(place or 0)
        """Which of the workers this is, from 0; one that is alone is 0 too."""
        # Elsewhere the kernel keeps no names for sockets.
        self._family = family if sys.platform == "linux" else ""
        self._others = [k for k in range(workers) if k != self.place] if self._family else []

    @contextlib.asynccontextmanager
    async def told(self, tell: Callable[[], bytes]) -> AsyncIterator[None]:
        """Answers the others, while the block runs, with what ``tell`` returns."""
        if not self._family:
            yield
            return

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if _is_ours(writer.get_extra_info("socket")):
                writer.write(tell())
                with contextlib.suppress(OSError):
                    await writer.drain()
            writer.close()

        mine = socket.socket(socket.AF_UNIX)
        mine.bind(self._name(self.place))
        async with await asyncio.start_unix_server(answer, sock=mine):
            yield

    async def ask(self) -> list[bytes]:
        """Returns what the others tell."""
        told = await asyncio.gather(*(self._ask(place) for place in self._others))
        return [answer for answer in told if answer]

    async def _ask(self, place: int) -> bytes:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(0)
        try:
            line.connect(self._name(place))
        except OSError:  # nobody is there
            line.close()
            return b""
        try:
            async with asyncio.timeout(WAIT_S):
                reader, writer = await asyncio.open_unix_connection(sock=line)
                with contextlib.closing(writer):
                    return await reader.read(-1)
        except (OSError, TimeoutError):
            log.warning("worker %d does not tell its metrics", place)
            return b""

    def _name(self, place: int) -> str:
        return f"\0seedling-{self._family}-{place}"


def _is_ours(line: socket.socket) -> bool:
    """Tells whether a process of the same user asks: names of the kernel have no other guard."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(user == os.geteuid())
