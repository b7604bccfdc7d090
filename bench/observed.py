"""What a request pays for being seen: ``python -m bench.observed``. In one process, without a network."""

import argparse
import asyncio
import io
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access_log import AccessLog
from app.main import create_app
from app.metrics import tell
from app.observer import Observer
from app.settings import Settings
from app.tally import HttpTally

PATH = "/images/42.png"
HEADERS = [(b"host", b"localhost"), (b"user-agent", b"bench"), (b"accept", b"*/*")]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers as if with a picture, and does nothing else."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"seedling-seed", b"42")]})
    await send({"type": "http.response.body", "body": b"picture"})


async def ask(app: ASGIApp) -> None:
    """Sends one request to an application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": HEADERS,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> Message:
        await asyncio.Event().wait()  # nothing comes, and the client stays
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pass

    await app(scope, receive, send)


async def microseconds(work: Callable[[], Awaitable[Any]], count: int) -> float:
    """Returns the time that one piece of work takes of the event loop's thread, in microseconds."""
    began = time.thread_time()
    for _ in range(count):
        await work()
    return (time.thread_time() - began) / count * 1e6


async def measure(rounds: int, count: int) -> dict[str, float]:
    """Returns the median microseconds of each kind; the kinds take turns in each round."""
    app = create_app(Settings(watch=False))
    log = AccessLog("json", io.StringIO())
    log.start()
    kinds: dict[str, ASGIApp] = {
        "a picture from the memory of answers, all of it": app,
        "nothing": bare,
        "counted and named": Observer(bare, HttpTally()),
        "and told to the access log": Observer(bare, HttpTally(), log),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    async with app.router.lifespan_context(app):
        for _ in range(rounds):
            for kind, kept in taken.items():
                kept.append(await microseconds(lambda asked=kinds[kind]: ask(asked), count))  # type: ignore[misc]

        async def scrape() -> bytes:
            return tell(app)

        scraped = await microseconds(scrape, 100)
    log.stop()
    found = {kind: statistics.median(kept) for kind, kept in taken.items()}
    nothing = found.pop("nothing")
    return {kind: value - nothing for kind, value in found.items()} | {"a scrape, on the event loop": scraped}


def main() -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=2000, help="requests of each kind in a round")
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.rounds, arguments.count))
    whole = next(iter(found.values()))
    print("| | µs | of a whole request |\n|---|---|---|")
    for kind, value in found.items():
        print(f"| {kind} | {value:.1f} | {value / whole:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
