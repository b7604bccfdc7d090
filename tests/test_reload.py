"""Models that are exchanged while the service runs, and no request that notices."""

import asyncio
import base64
import hashlib
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import pytest
from live import Live, draw, eventually, living, make_model, pixels, put

from app.watch import LOOK_S, _changes

SEEDS = range(24)
CLIENTS = 6


class Hammer:
    """Clients that ask for pictures all the time, at addresses and in bodies; notes what each answer was."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.seen: set[tuple[str, int, bytes]] = set()
        """Of every picture its model, its seed and its bytes."""
        self.answers = 0
        self.faults: list[str] = []
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Self:
        self._done = [self._threads.submit(self._work, k) for k in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for done in self._done:
            done.result()
        self._threads.shutdown()

    def _work(self, client: int) -> None:
        with httpx.Client(base_url=self._live.client.base_url, timeout=30) as http:
            for turn in itertools.count():
                if self._over.is_set():
                    return
                self._note(self._generate(http, turn) if (turn + client) % 2 else self._address(http, turn))

    def _note(self, found: "httpx.Response | list[tuple[str, int, bytes]]") -> None:
        self.answers += 1
        if isinstance(found, httpx.Response):
            self.faults.append(f"{found.status_code} {found.text}")
        else:
            self.seen.update(found)

    @staticmethod
    def _address(http: httpx.Client, turn: int) -> "httpx.Response | list[tuple[str, int, bytes]]":
        answer = http.get(f"/images/{turn % len(SEEDS)}.png")  # from memory most of the time
        if answer.status_code != 200:
            return answer
        return [(answer.headers["seedling-model"], turn % len(SEEDS), answer.content)]

    @staticmethod
    def _generate(http: httpx.Client, turn: int) -> "httpx.Response | list[tuple[str, int, bytes]]":
        body = {"seed": turn % 8, "count": 16}
        answer = http.post("/generate", json=body, headers={"Accept": "application/json"})
        if answer.status_code != 200:
            return answer
        return [
            (answer.headers["seedling-model"], int(one["seed"]), base64.b64decode(one["png"]))
            for one in answer.json()["images"]
        ]


def serves(live: Live, sha256: str) -> Callable[[], bool]:
    """Returns whether the default model is the one of a file."""
    return lambda: live.get("/v1/models").json()["data"][0].get("sha256") == sha256


def test_no_request_fails_and_no_answer_is_mixed_while_models_are_exchanged(
    tmp_path: Path, toy_model: Path
) -> None:
    served = make_model(toy_model, tmp_path / "models" / "served.onnx", "toy")
    others = [
        make_model(toy_model, tmp_path / f"{name}-{tone}.onnx", name, tone)
        for name, tone in (("toy", 0.5), ("other", 0.7), ("other", 1.5), ("toy", 1.0))
    ]
    with living(tmp_path / "run", model=served) as live:
        names = {live.get("/v1/models").json()["data"][0]["sha256"]: others[-1]}
        with Hammer(live) as hammer:
            for other in others:
                put(served, other.read_bytes())
                eventually(lambda: len(live.get("/v1/models").json()["data"]) == 1)
                sha256 = _sha256(other)
                names[sha256] = other
                eventually(serves(live, sha256))
        assert hammer.faults == []
        assert hammer.answers > 50
        assert {sha256 for sha256, _, _ in hammer.seen} == set(names)
        drawn = {(sha256, seed): draw(path, seed) for sha256, path in names.items() for seed in SEEDS}
        for sha256, seed, png in hammer.seen:
            np.testing.assert_array_equal(pixels(png), drawn[sha256, seed])
        assert len(hammer.seen) == len({(sha256, seed) for sha256, seed, _ in hammer.seen})
        assert live.process.poll() is None


def test_an_address_has_the_new_picture_as_soon_as_the_model_is_new(tmp_path: Path, toy_model: Path) -> None:
    served = make_model(toy_model, tmp_path / "models" / "toy.onnx", "toy")
    with living(tmp_path / "run", model=tmp_path / "models") as live:
        before = live.get("/images/1.png")
        assert live.get("/images/1.png").content == before.content
        make_model(toy_model, served, "toy", 0.5)
        eventually(serves(live, _sha256(served)))
        after = live.get("/images/1.png", headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        np.testing.assert_array_equal(pixels(after.content), draw(served, 1))
        assert live.get(before.headers["content-location"]).status_code == 404


def test_files_come_break_and_go_while_the_rest_goes_on(tmp_path: Path, toy_model: Path) -> None:
    folder = tmp_path / "models"
    cats = make_model(toy_model, folder / "cats.onnx", "cats")
    with living(tmp_path / "run", model=folder) as live:
        assert live.get("/images/1.png?model=dogs").status_code == 404
        dogs = make_model(toy_model, folder / "new" / "dogs.onnx", "dogs", 0.5)
        eventually(lambda: live.model("dogs").get("status") == "ready")
        np.testing.assert_array_equal(pixels(live.get("/images/1.png?model=dogs").content), draw(dogs, 1))

        content = cats.read_bytes()
        cats.write_bytes(content[: len(content) // 2])  # not at once: as a copy that is under way
        eventually(lambda: "cut short" in live.model("cats").get("error", ""))
        assert live.model("cats")["status"] == "ready"
        assert live.get("/images/2.png").status_code == 200
        cats.write_bytes(content)
        eventually(lambda: "error" not in live.model("cats"))

        dogs.unlink()
        eventually(lambda: live.model("dogs") == {})
        assert live.get("/images/1.png?model=dogs").status_code == 404
        cats.unlink()
        eventually(lambda: "gone" in live.model("cats").get("error", ""))
        assert live.get("/images/3.png").status_code == 200
        assert "model dogs: its file is gone" in live.log
        assert "model cats: its file is gone" in live.log


def test_hanging_up_looks_once(tmp_path: Path, toy_model: Path) -> None:
    served = make_model(toy_model, tmp_path / "models" / "toy.onnx", "toy")
    with living(tmp_path / "run", model=served, watch=False) as live:
        before = live.model("toy")["sha256"]
        make_model(toy_model, served, "toy", 0.5)
        live.hang_up()
        eventually(serves(live, _sha256(served)))
        assert live.model("toy")["sha256"] != before
        put(served, b"nothing")
        for count in (1, 2):  # it tells so each time that it is asked to look
            live.hang_up()
            eventually(lambda count=count: live.log.count("not an ONNX file") == count)  # type: ignore[misc]
        assert live.get("/images/1.png").status_code == 200


def test_without_events_files_are_looked_at_in_turns(tmp_path: Path, toy_model: Path) -> None:
    served = make_model(toy_model, tmp_path / "models" / "toy.onnx", "toy")
    with living(tmp_path / "run", environment={"WATCHFILES_FORCE_POLLING": "1"}, model=served) as live:
        make_model(toy_model, served, "toy", 0.5)
        # A change in the second of another one brings no event; the second look finds it.
        eventually(serves(live, _sha256(served)), LOOK_S / 2)


def test_what_changed_before_files_are_watched_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")  # which tells of nothing older than its first look
    file = tmp_path / "toy.onnx"
    file.write_bytes(b"")
    os.utime(file, (0, 0))  # it compares whole seconds

    async def watch() -> None:
        interrupted = asyncio.Event()
        changes = _changes(file, interrupted)
        async with asyncio.timeout(10):
            await anext(changes)
            file.write_bytes(b"other")
            await anext(changes)
            interrupted.set()
            assert [_ async for _ in changes] == []

    asyncio.run(watch())


def test_a_change_in_the_second_of_another_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    file = tmp_path / "toy.onnx"
    file.write_bytes(b"")
    os.utime(file, (0, 0))

    async def watch() -> None:
        interrupted = asyncio.Event()
        changes = _changes(file, interrupted)
        async with asyncio.timeout(LOOK_S / 2):
            await anext(changes)
            file.write_bytes(b"other")
            os.utime(file, (0, 0.5))  # no event tells of it
            await anext(changes)
            interrupted.set()
            assert [_ async for _ in changes] == []

    asyncio.run(watch())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
