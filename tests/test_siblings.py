"""Workers that tell each other what they counted."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from app.siblings import Siblings, introduce, new_family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other kernels keep no names for sockets")


def join(monkeypatch: pytest.MonkeyPatch, family: str, place: int, workers: int = 3) -> Siblings:
    for name, value in introduce(family, place).items():
        monkeypatch.setenv(name, value)
    return Siblings(workers)


def test_who_is_there_answers_and_who_hangs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    family = new_family()
    one, other = join(monkeypatch, family, 0), join(monkeypatch, family, 1)
    stranger = join(monkeypatch, new_family(), 1)

    async def run() -> None:
        assert (one.place, other.place) == (0, 1)
        assert await one.ask() == []
        with socket.socket(socket.AF_UNIX) as hung:
            async with one.told(lambda: b"one"), other.told(lambda: b"other" * 100_000):
                assert await one.ask() == [b"other" * 100_000]
                hung.bind(f"\0seedling-{family}-2")
                hung.listen()
                assert await other.ask() == [b"one"]
                assert await stranger.ask() == []
        assert await other.ask() == []

    asyncio.run(run())


def test_a_worker_that_is_alone_asks_and_tells_nobody() -> None:
    async def run() -> None:
        alone = Siblings(4)
        async with alone.told(lambda: b"never"):
            assert await alone.ask() == []
            assert alone.place == 0

    asyncio.run(run())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    family = new_family()
    one = join(monkeypatch, family, 0)
    program = (
        "import os, socket, sys\n"
        "os.setuid(int(sys.argv[1]))\n"
        "line = socket.socket(socket.AF_UNIX)\n"
        f"line.connect('\\0seedling-{family}-0')\n"
        "print(line.recv(100))\n"
    )

    async def run() -> None:
        async with one.told(lambda: b"one"):
            for user, heard in (("0", "b'one'"), ("65534", "b''")):
                done = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", program, user],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                assert done.stdout.strip() == heard

    asyncio.run(run())
