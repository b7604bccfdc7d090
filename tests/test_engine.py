"""The batching engine on a real session, at its edges: overload, faults, clients that leave."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app import model
from app.engine import Engine
from app.model import Model
from app.refusals import EngineStoppedError, OverloadError
from app.runners import Latents, Pictures
from app.settings import Settings
from models.contract import latent, latents

Z_DIM = 8


@pytest.fixture(scope="module")
def toy(toy_model: Path) -> Model:
    return model.load(Settings(model=toy_model, threads=2))


class Watched:
    """A real runner that notes its batches, and that a test can hold up or make fail."""

    def __init__(self, toy: Model) -> None:
        self.runner = toy.runners[0]
        self.batches: list[Latents] = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.fails: Callable[[Latents], bool] = lambda _: False

    def run(self, z: Latents) -> Pictures:
        """As the contract of a runner says."""
        self.batches.append(z.copy())
        assert self.may_run.wait(timeout=30)
        if self.fails(z):
            raise RuntimeError("the session threw")
        return np.concatenate([self.runner.run(z[k : k + 1]) for k in range(len(z))])


@asynccontextmanager
async def running(
    toy: Model, *, watched: Watched | None = None, batch: int = 4, max_queue: int = 1024, speed: float = 1e6
) -> AsyncIterator[Engine]:
    """Runs an engine with one lane of a watched runner, or the model as it was laid out."""
    if watched is not None:
        layout = replace(toy.layout, lanes=1, batch_sizes=(1, batch), pictures_per_s=speed)
        toy = replace(toy, runners=(watched,), alone=watched, layout=layout)
    engine = Engine(toy, max_queue=max_queue, cpus=2)
    engine.start()
    try:
        yield engine
    finally:
        if watched is not None:
            watched.may_run.set()
        await engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until a condition holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.001)


def wanted(toy: Model, seed: int) -> Pictures:
    return toy.runners[0].run(latents([seed], Z_DIM))[0]


def test_pictures_are_those_of_their_seeds_in_order(toy: Model) -> None:
    async def check() -> None:
        async with running(toy) as engine:
            grown = await engine.pixels([5, 3, 5, 2**64 - 1], 10)
            np.testing.assert_array_equal(
                grown, np.stack([wanted(toy, seed) for seed in (5, 3, 5, 2**64 - 1)])
            )

    asyncio.run(check())


def test_a_latent_gives_the_picture_of_its_seed(toy: Model) -> None:
    async def check() -> None:
        async with running(toy) as engine:
            grown = await engine.pixels([latent(7, Z_DIM).tobytes(), 7], 10)
            np.testing.assert_array_equal(grown[0], grown[1])

    asyncio.run(check())


def test_many_requests_fill_batches_and_one_alone_does_not_wait(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        async with running(toy, watched=watched, batch=4) as engine:
            await engine.pixels([0], 10)
            watched.may_run.clear()
            first = asyncio.create_task(engine.pixels([1], 10))
            await until(lambda: len(watched.batches) == 2)
            rest = [asyncio.create_task(engine.pixels([seed], 10)) for seed in range(2, 14)]
            await asyncio.sleep(0)
            watched.may_run.set()
            await asyncio.gather(first, *rest)
        assert [len(z) for z in watched.batches] == [1, 1, 4, 4, 4]

    asyncio.run(check())


def test_a_picture_that_several_want_is_grown_once(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        async with running(toy, watched=watched) as engine:
            watched.may_run.clear()
            tasks = [asyncio.create_task(engine.pngs([9], 10)) for _ in range(20)]
            await until(lambda: len(watched.batches) == 1)
            watched.may_run.set()
            answers = await asyncio.gather(*tasks)
        assert sum(len(z) for z in watched.batches) == 1
        assert len({answer[0] for answer in answers}) == 1

    asyncio.run(check())


def test_a_full_queue_refuses_with_the_time_that_room_takes(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        async with running(toy, watched=watched, max_queue=10, speed=2.0) as engine:
            watched.may_run.clear()
            task = asyncio.create_task(engine.pixels(list(range(10)), 60))
            await until(lambda: len(watched.batches) == 1)
            engine_check = pytest.raises(
                OverloadError, match=r"holds 10 pictures of at most 10.*no room for 3"
            )
            with engine_check as refused:
                await engine.pixels([100, 101, 102], 60)
            assert refused.value.retry_after_s == pytest.approx(1.5)
            with pytest.raises(OverloadError):
                engine.check(1, 60)
            # Nothing holds on to the frames that it came through: there are thousands a second.
            assert engine.refusal(1, 60).__traceback__ is None
            shared = asyncio.create_task(
                engine.pixels([0, 9], 60)
            )  # these are on their way: no room is needed
            watched.may_run.set()
            await asyncio.gather(task, shared)
            engine.check(1, 60)

    asyncio.run(check())


def test_what_would_be_late_is_refused_at_once(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        async with running(toy, watched=watched, speed=10.0) as engine:
            watched.may_run.clear()
            task = asyncio.create_task(engine.pixels(list(range(20)), 60))
            await until(lambda: len(watched.batches) == 1)
            # Ahead: 4 being grown and 10 of the 16 that wait, for these take turns with the new ones.
            started = time.monotonic()
            with pytest.raises(OverloadError, match=r"about 2640 ms.*allows 2000 ms") as refused:
                await engine.pixels(list(range(100, 110)), 2.0)
            assert refused.value.retry_after_s == pytest.approx(0.64)
            assert time.monotonic() - started < 1
            single = asyncio.create_task(engine.pixels([200], 2.0))  # its turn comes soon
            watched.may_run.set()
            await asyncio.gather(task, single)

    asyncio.run(check())


def test_what_turns_out_late_fails_and_leaves_the_queue(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        async with running(toy, watched=watched) as engine:
            watched.may_run.clear()
            held = asyncio.create_task(engine.pixels([1], 60))
            await until(lambda: len(watched.batches) == 1)
            with pytest.raises(OverloadError, match="not done in the 20 ms"):
                await engine.pixels([2, 3], 0.02)
            watched.may_run.set()
            await held
            await engine.pixels([4], 60)
        assert [len(z) for z in watched.batches] == [1, 1]

    asyncio.run(check())


def test_a_client_that_leaves_gives_up_its_place_and_nobody_elses(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        async with running(toy, watched=watched, batch=1) as engine:
            watched.may_run.clear()
            held = asyncio.create_task(engine.pixels([1], 60))
            await until(lambda: len(watched.batches) == 1)
            leaver = asyncio.create_task(engine.pixels([2, 3], 60))
            other = asyncio.create_task(engine.pixels([3], 60))
            await asyncio.sleep(0.01)
            leaver.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaver
            watched.may_run.set()
            await asyncio.gather(held, other)
        grown = [float(z[0, 0]) for z in watched.batches]
        assert grown == [float(latent(seed, Z_DIM)[0]) for seed in (1, 3)]

    asyncio.run(check())


def test_a_bad_picture_fails_alone(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        bad = latent(6, Z_DIM)
        watched.fails = lambda z: bool((z == bad).all(axis=1).any())
        async with running(toy, watched=watched, batch=8) as engine:
            watched.may_run.clear()
            tasks = [asyncio.create_task(engine.pixels([seed], 60)) for seed in range(8)]
            await until(lambda: len(watched.batches) == 1)
            watched.may_run.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(result, RuntimeError) for result in results] == [
                seed == 6 for seed in range(8)
            ]
            np.testing.assert_array_equal(await engine.pixels([7], 60), [wanted(toy, 7)])

    asyncio.run(check())


def test_an_encoder_that_fails_fails_its_request_alone(toy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with running(toy) as engine:
            describe = engine.describe
            fault = {"Seed": "a text that no PNG can hold: \N{SEEDLING}"}
            monkeypatch.setattr(engine, "describe", lambda seed: fault if seed == 1 else describe(seed))
            results = await asyncio.gather(
                *(engine.pngs([seed], 10) for seed in range(3)), return_exceptions=True
            )
            assert [isinstance(result, Exception) for result in results] == [False, True, False]
            assert await engine.pngs([2], 10) == results[2]

    asyncio.run(check())


def test_stopping_ends_what_runs_and_fails_what_waits(toy: Model) -> None:
    async def check() -> None:
        watched = Watched(toy)
        engine = Engine(replace(toy, runners=(watched,), alone=None), cpus=1)
        engine.start()
        watched.may_run.clear()
        running_task = asyncio.create_task(engine.pixels([1], 60))
        await until(lambda: len(watched.batches) == 1)
        waiting_task = asyncio.create_task(engine.pixels([2], 60))
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.05, watched.may_run.set)
        await engine.stop()
        with pytest.raises(EngineStoppedError):
            await waiting_task
        np.testing.assert_array_equal(await running_task, [wanted(toy, 1)])

    asyncio.run(check())


def test_random_mixes_give_each_seed_the_same_bytes_always(toy: Model) -> None:
    """Thousands of pictures in random requests, some cancelled, over every lane: one answer a seed."""

    async def check() -> None:
        rng = np.random.default_rng(0)
        found: dict[int, set[bytes]] = {}
        async with running(toy) as engine:
            for _ in range(12):
                requests = [rng.integers(0, 300, rng.integers(1, 30)).tolist() for _ in range(25)]
                tasks = [asyncio.create_task(engine.pngs(seeds, 60)) for seeds in requests]
                await asyncio.sleep(0.005)
                for task in tasks[::7]:
                    task.cancel()
                for seeds, pngs in zip(
                    requests, await asyncio.gather(*tasks, return_exceptions=True), strict=True
                ):
                    if isinstance(pngs, list):
                        for seed, png in zip(seeds, pngs, strict=True):
                            found.setdefault(seed, set()).add(png)
            assert len(found) > 250
            assert {len(pngs) for pngs in found.values()} == {1}
            assert engine._queue.waiting == engine._queue.taken == 0
            assert not engine._jobs

    asyncio.run(check())
