"""The head of an answer waits for its body, so that both are written to the network at once."""

import asyncio


class OneWrite:
    """Stands in for a connection's transport while one answer is written.

    uvicorn writes the head by itself, and each write to the network is a call to the system that wakes the
    client: half of them are for a head that nobody can use yet. What does not follow in the same turn of the
    event loop is not waited for.

    Args:
        transport: The connection's.
        loop: The event loop that runs it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._begun = False

    def is_closing(self) -> bool:
        """Tells whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Writes what the answer goes on with; nothing, once the connection is gone."""
        if self.is_closing():
            return
        if self._begun:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
            self._loop.call_soon(self._give_up)
        else:
            self._begun = True
            self._transport.writelines([self._head, data])

    def close(self) -> None:
        """Closes the connection, once everything is written."""
        self._give_up()
        self._transport.close()

    def _give_up(self) -> None:
        """Writes a head that is still waiting."""
        if not self._begun and self._head is not None:
            self._begun = True
            self._transport.write(self._head)
