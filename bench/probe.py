"""Asks a loaded service whether it is ready, as an orchestrator does."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.server import Server

EVERY_S = 0.25


@contextmanager
def probing(service: Server) -> Iterator[list[float]]:
    """Asks ``/readyz`` during a block, each time over a new connection.

    Yields:
        Milliseconds to each good answer, infinite where there was none; complete when the block has ended.
    """
    times: list[float] = []
    over = threading.Event()

    def probe() -> None:
        while not over.wait(EVERY_S):
            times.append(_ready_ms(service))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def _ready_ms(service: Server) -> float:
    began = time.perf_counter()
    client = http.client.HTTPConnection(service.host, service.port, timeout=10)
    try:
        client.request("GET", "/readyz")
        good = client.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        good = False
    finally:
        client.close()
    return (time.perf_counter() - began) * 1000 if good else float("inf")
