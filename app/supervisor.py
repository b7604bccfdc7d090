"""Several processes on one socket: started, looked after, replaced when they die, stopped together."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process

from app import siblings
from app.configuration import as_variables
from app.listener import address
from app.settings import Settings

log = logging.getLogger("seedling")

HANG_S = 30.0
"""How long a worker's event loop may stand still before it is killed, and ``LATE_S`` more, in seconds. It
beats every second."""

PAUSES_S = (0.0, 1.0, 5.0, 30.0)
"""Pauses before a worker's place is filled again, by how many in a row died soon after their start."""

SOON_S = 60.0
"""What soon is, in seconds."""

LATE_S = 5.0
"""How much longer than its time a worker may take, in seconds: to end, or to beat."""


def supervise(settings: Settings, listener: socket.socket) -> int:
    """Runs workers until a signal comes, or until the first of them cannot start; returns the exit code."""
    return asyncio.run(Supervisor(settings, listener).run())


class Supervisor:
    """Looks after worker processes, each with an engine of its own; it serves nothing itself.

    Each worker has a line to it, which carries a heartbeat, and whose end tells either that the other died.

    Args:
        settings: What the operator set.
        listener: A socket that is bound. Workers inherit it, so that what waits in it survives them.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._environment = os.environ | as_variables(settings, secrets=True)
        self._family = siblings.new_family()
        self._processes: dict[int, Process] = {}
        self._grown: set[Process] = set()
        """Those that have got ready; the others do not hear signals, and have nothing to lose."""
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._codes: list[int] = []

    async def run(self) -> int:
        """Runs the workers; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        # The first alone: what keeps it from starting keeps all of them, and is said once.
        keepers = [asyncio.create_task(self._keep(0))]
        await asyncio.wait(
            [asyncio.create_task(event.wait()) for event in (self._ready, self._stopping)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not self._stopping.is_set():
            log.info("pictures at %s, by %d workers", address(self._listener), self._settings.workers)
            keepers += [asyncio.create_task(self._keep(k)) for k in range(1, self._settings.workers)]
        await self._stopping.wait()
        self._listener.close()
        _, late = await asyncio.wait(keepers, timeout=self._settings.grace_ms / 1000 + LATE_S)
        if late:
            self._tell(signal.SIGKILL)
            await asyncio.wait(late)
        return max(self._codes, default=0)

    async def _keep(self, place: int) -> None:
        """Keeps a place filled until the end."""
        short = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                code, was_ready = await self._run_one(place)
            except OSError as error:  # too many processes or open files, too little memory
                log.error("worker %d cannot be started: %s", place, error.strerror)  # noqa: TRY400
                code, was_ready = 1, False
            if self._stopping.is_set():
                self._codes.append(0 if code == 0 or not was_ready else 1)
                return
            if not self._ready.is_set():
                self._codes.append(code if code > 0 else 1)
                self._stopping.set()
                return
            short = short + 1 if time.monotonic() - began < SOON_S else 0
            pause = PAUSES_S[min(max(short - 1, 0), len(PAUSES_S) - 1)]
            log.error(
                "worker %d ended (%s); another takes its place in %.0f s", place, _tell_code(code), pause
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_one(self, place: int) -> tuple[int, bool]:
        """Runs one worker to its end; returns its exit code, and whether it had got ready."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack, theirs:
            stack.callback(ours.close)
            sockets = (self._listener.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.worker", *map(str, sockets)),
                env=self._environment | siblings.introduce(self._family, place),
                pass_fds=sockets,
                process_group=0,  # Ctrl-C is for this process; it tells the workers
            )
            stack.pop_all()
        self._processes[place] = process
        if self._stopping.is_set():  # it was started while the others were told
            process.kill()
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            await self._listen(reader, process)
            return await process.wait(), process in self._grown
        finally:
            del self._processes[place]
            self._grown.discard(process)
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, process: Process) -> None:
        """Hears a worker's heart until it stops."""
        if not await _beats(reader, None):
            return
        self._grown.add(process)
        self._ready.set()
        late = False
        while not self._stopping.is_set():
            try:
                if not await _beats(reader, LATE_S if late else HANG_S):
                    return
                late = False
            except TimeoutError:
                if late and not self._stopping.is_set():
                    log.error("worker process %d has not answered for %.0f s", process.pid, HANG_S)  # noqa: TRY400
                    process.kill()
                    return
                late = True  # all of them may have been paused: what has come meanwhile is read first

    def _stop(self, number: signal.Signals) -> None:
        """Stops the workers, in order; the second time ends them and this process at once."""
        if self._stopping.is_set():
            self._tell(signal.SIGKILL)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._stopping.set()
        self._tell(number)

    def _hang_up(self) -> None:
        """Makes the workers look at their files again; one that is about to start does so by itself."""
        for process in self._grown:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    def _tell(self, number: signal.Signals) -> None:
        """Sends a signal to every worker; one that does not hear it yet is ended."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                if process in self._grown:
                    process.send_signal(number)
                else:
                    process.kill()


async def _beats(reader: asyncio.StreamReader, timeout_s: float | None) -> bool:
    """Waits for a heartbeat; False if there will be none any more."""
    async with asyncio.timeout(timeout_s):
        try:
            return bool(await reader.read(64))
        except ConnectionError:
            return False


def _tell_code(code: int) -> str:
    """Returns an exit code in words."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
