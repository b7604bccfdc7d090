"""Keeps what is served what is on the disk: on events of the file system, and on SIGHUP."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from app.refusals import RETRY_S
from app.registry import Registry
from app.settings import Settings

log = logging.getLogger("seedling")

QUIET_MS = 500
"""How long there must be no change before files are looked at, in milliseconds: one is written in pieces."""

LONGEST_MS = 5_000
"""How long changes that do not end are waited for, in milliseconds."""

LOOK_S = 30.0
"""How often files are looked at without an event, in seconds: network mounts send none, and some get lost."""

SECOND_LOOK_S = 2.0
"""After so long without an event files are looked at once more, in seconds: polling compares whole seconds,
and does not tell of a change in the second of another."""


@contextlib.asynccontextmanager
async def kept_up(registry: Registry, settings: Settings) -> AsyncIterator[None]:
    """Loads what is not loaded yet and, while the block runs, what comes; hears SIGHUP in the main thread."""
    interrupted, over = asyncio.Event(), asyncio.Event()
    with _on_hang_up(interrupted.set):
        task = asyncio.create_task(_keep_up(registry, settings, interrupted, over))
        try:
            yield
        finally:
            registry.draining = True  # else it would load all that is left
            over.set()
            interrupted.set()
            await task


@contextlib.contextmanager
def _on_hang_up(act: Callable[[], None]) -> Iterator[None]:
    """Acts on SIGHUP, unless a program has the application in a thread beside its own work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, act)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _keep_up(
    registry: Registry, settings: Settings, interrupted: asyncio.Event, over: asyncio.Event
) -> None:
    registry.on_fault = interrupted.set
    await registry.refresh()
    while not over.is_set():
        if settings.watch:
            async for _ in _changes(settings.model, interrupted):
                await registry.refresh()
        await interrupted.wait()
        interrupted.clear()
        if registry.is_broken:
            await registry.refresh()
            if registry.is_broken:
                asyncio.get_running_loop().call_later(RETRY_S, interrupted.set)
        elif not over.is_set():
            log.info("SIGHUP: looking at every model file again")
            await registry.refresh(thorough=True)


async def _changes(root: Path, interrupted: asyncio.Event) -> AsyncIterator[None]:
    """Yields as soon as it watches, then whenever something may have changed, until it is interrupted."""
    from watchfiles import awatch  # noqa: PLC0415 - a start need not wait for it

    folder = _folder(root)
    try:
        changes = awatch(
            folder,
            watch_filter=None,
            debounce=LONGEST_MS,
            step=QUIET_MS,
            stop_event=interrupted,
            rust_timeout=int(LOOK_S * 1000),
            yield_on_timeout=True,
            recursive=folder == root,
        )
        coming = asyncio.ensure_future(anext(changes, None))
        await asyncio.sleep(0)  # from here on it watches; what changed since the last look brings no event
        yield
        changed: object = True
        while True:
            if changed:
                await asyncio.wait({coming}, timeout=SECOND_LOOK_S)
                if not coming.done():
                    yield
            changed = await coming  # empty where none came for long
            if changed is None:
                return
            yield
            coming = asyncio.ensure_future(anext(changes, None))
    except Exception as error:  # noqa: BLE001 - limits of the system, a folder that goes: files are looked at all the same
        log.warning("%s cannot be watched: %s; it is looked at every %.0f s", folder, error, LOOK_S)
        while not interrupted.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(interrupted.wait(), LOOK_S)
            yield


def _folder(root: Path) -> Path:
    """Returns what is to be watched: for a file its folder, since a new file comes by its name."""
    return root if root.is_dir() else root.parent
