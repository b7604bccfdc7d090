"""Many models in one service: which request gets which, and what happens to engines that are exchanged."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from live import Live, draw, eventually, living, make_model, pixels, put

from app.refusals import EngineStoppedError
from app.registry import ModelNotReadyError, Registry, UnknownModelError
from app.settings import Settings
from models.contract import ModelFileError

if TYPE_CHECKING:
    from app.engine import Engine


@asynccontextmanager
async def running(folder: Path, **settings: object) -> AsyncIterator[Registry]:
    """Runs a registry that nobody refreshes but the test."""
    registry = Registry(Settings(model=folder, threads=1, **settings))
    registry.start()
    try:
        yield registry
    finally:
        await registry.stop()


async def until_stopped(engine: "weakref.ref[Engine]") -> None:
    """Waits until an engine is out of memory."""
    for _ in range(200):
        await asyncio.sleep(0.02)
        gc.collect()
        if engine() is None:
            return
    raise AssertionError("it is still there")


async def exchange_default(registry: Registry, folder: Path, toy_model: Path) -> "Engine":
    """Exchanges the default's file while a request has its engine; returns the old one."""
    old = registry.default
    old.leases += 1
    make_model(toy_model, folder / "a.onnx", "cats", 0.5)
    await registry.refresh()
    return old


@pytest.fixture
def folder(tmp_path: Path, toy_model: Path) -> Path:
    """A folder of two models."""
    make_model(toy_model, tmp_path / "models" / "a.onnx", "cats")
    make_model(toy_model, tmp_path / "models" / "more" / "b.onnx", "dogs", 0.5)
    return tmp_path / "models"


# --- Engines --------------------------------------------------------------------------------------


def test_the_default_is_there_at_once_and_the_others_later(folder: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            assert registry.of_name("cats") is registry.default
            with pytest.raises(ModelNotReadyError, match="'dogs' is being loaded") as loading:
                registry.of_name("dogs")
            assert loading.value.retry_after_s is not None
            with pytest.raises(UnknownModelError, match="are 'cats', 'dogs', got 'mice'"):
                registry.of_name("mice")
            await registry.refresh()
            dogs = registry.of_name("dogs")
            assert registry.of_edition(dogs.edition) is dogs is not registry.default
            np.testing.assert_array_equal(
                (await dogs.pixels([3], 10))[0], draw(folder / "more" / "b.onnx", 3)
            )

    asyncio.run(check())


def test_the_default_can_be_named(folder: Path) -> None:
    async def check() -> None:
        async with running(folder, default="dogs") as registry:
            assert registry.default.model.card.name == "dogs"

    asyncio.run(check())
    with pytest.raises(ModelFileError, match=r"one of 'cats', 'dogs', which .*, got 'mice'"):
        Registry(Settings(model=folder, default="mice"))


def test_the_first_that_can_be_served_is_the_default(folder: Path, toy_model: Path) -> None:
    liar = onnx.load(make_model(toy_model, folder / "liar.onnx", "aardvarks"))
    liar.metadata_props[0].value = liar.metadata_props[0].value.replace('"z_dim": 8', '"z_dim": 9')
    put(folder / "liar.onnx", liar.SerializeToString())

    async def check() -> None:
        async with running(folder) as registry:
            assert registry.default_name == "cats"
            with pytest.raises(ModelNotReadyError, match=r"cannot be served.*inputs and outputs") as broken:
                registry.of_name("aardvarks")
            assert broken.value.retry_after_s is None
            assert str(folder) not in str(broken.value)

    asyncio.run(check())
    with pytest.raises(ModelFileError, match=r"liar\.onnx cannot be served: its inputs and outputs"):
        Registry(Settings(model=folder, default="aardvarks"))


def test_an_engine_that_is_exchanged_runs_as_long_as_a_request_has_it(folder: Path, toy_model: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            old = await exchange_default(registry, folder, toy_model)
            new = registry.default
            assert new is registry.of_name("cats") is not old
            with pytest.raises(UnknownModelError):
                registry.of_edition(old.edition)
            await asyncio.sleep(0.2)
            before = await old.pixels([5], 10)
            assert not np.array_equal(before, await new.pixels([5], 10))
            old.leases -= 1
            there = weakref.ref(old)
            del old
            await until_stopped(there)

    threads = threading.active_count()
    asyncio.run(check())
    assert threading.active_count() == threads


def test_at_the_end_an_engine_that_is_exchanged_gives_up_too(folder: Path, toy_model: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            old = await exchange_default(registry, folder, toy_model)
            registry.give_up()
            with pytest.raises(EngineStoppedError):
                await old.pixels([5], 10)
            old.leases -= 1

    asyncio.run(check())


def test_a_service_that_stops_loads_nothing_more(folder: Path, toy_model: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            before = dict(registry.loads)
            make_model(toy_model, folder / "z.onnx", "zebras", 0.5)
            registry.draining = True
            await registry.refresh()
            assert registry.loads == before

    asyncio.run(check())


def test_a_file_of_the_same_content_is_not_loaded_again(folder: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            await registry.refresh()
            old = [entry.engine for entry in registry.entries()]
            content = (folder / "a.onnx").read_bytes()
            put(folder / "a.onnx", content)
            (folder / "more" / "b.onnx").rename(folder / "c.onnx")
            await registry.refresh()
            await registry.refresh(thorough=True)
            assert [entry.engine for entry in registry.entries()] == old
            assert [entry.error for entry in registry.entries()] == ["", ""]

    asyncio.run(check())


def test_a_broken_file_leaves_the_old_one_serving_until_it_is_mended(folder: Path, toy_model: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            old, whole = registry.default, (folder / "a.onnx").read_bytes()
            for broken in (whole[: len(whole) // 2], b"", b"nonsense"):
                put(folder / "a.onnx", broken)
                await registry.refresh()
                [first, *_] = registry.entries()
                assert (first.name, first.status, first.engine) == ("cats", "ready", old)
                assert first.error
            make_model(toy_model, folder / "a.onnx", "cats", 0.5)
            await registry.refresh()
            assert registry.default is not old
            assert not registry.entries()[0].error

    asyncio.run(check())


def test_the_default_follows_its_file_to_another_name(folder: Path, toy_model: Path) -> None:
    async def check() -> None:
        async with running(folder / "a.onnx") as registry:
            make_model(toy_model, folder / "a.onnx", "lions", 0.5)
            await registry.refresh()
            assert registry.default_name == registry.default.model.card.name == "lions"
            assert [entry.name for entry in registry.entries()] == ["lions"]
        async with running(folder, default="lions") as registry:
            make_model(toy_model, folder / "a.onnx", "tigers")
            await registry.refresh()
            assert registry.default_name == registry.default.model.card.name == "lions"
            assert {entry.name: bool(entry.error) for entry in registry.entries()} == {
                "lions": True,
                "dogs": False,
                "tigers": False,
            }

    asyncio.run(check())


def test_a_model_whose_file_goes_is_given_up_but_for_the_default(folder: Path) -> None:
    async def check() -> None:
        async with running(folder) as registry:
            await registry.refresh()
            there = weakref.ref(registry.of_name("dogs"))
            (folder / "more" / "b.onnx").unlink()
            (folder / "a.onnx").unlink()
            await registry.refresh()
            [entry] = registry.entries()
            assert (entry.name, entry.status) == ("cats", "ready")
            assert "its file is gone" in entry.error
            await until_stopped(there)

    asyncio.run(check())


# --- Over HTTP ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Iterator[Live]:
    """A service of two models, and of files that are none."""
    root = tmp_path_factory.mktemp("zoo")
    folder = root / "models"
    cats = make_model(toy_model, folder / "a.onnx", "cats")
    make_model(toy_model, folder / "more" / "b.onnx", "dogs", 0.5)
    make_model(toy_model, folder / "twin.onnx", "cats", 0.7)
    put(folder / "cut.onnx", cats.read_bytes()[:2000])
    with living(root / "run", model=folder) as live:
        eventually(lambda: live.model("dogs").get("status") == "ready")
        yield live


def test_models_are_listed_as_clients_of_openai_s_api_expect(zoo: Live) -> None:
    listed = zoo.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [(one["id"], one["status"], one["default"]) for one in listed["data"]] == [
        ("cats", "ready", True),
        ("dogs", "ready", False),
        ("cut.onnx", "broken", False),
        ("twin.onnx", "broken", False),
    ]
    for one in listed["data"]:
        assert (one["object"], one["owned_by"]) == ("model", "seedling")
        assert one["created"] > 1_700_000_000
        assert zoo.model(one["id"]) == one
    assert "cut short" in zoo.model("cut.onnx")["error"]
    assert zoo.model("twin.onnx")["error"] == "the name 'cats' belongs to a.onnx"
    assert "mice" in zoo.get("/v1/models/mice").json()["detail"]
    assert zoo.get("/readyz").text == "ok: cats on cpu; broken: cut.onnx; broken: twin.onnx"
    assert zoo.log.count("cut short") == zoo.log.count("belongs to") == 1


def test_a_request_gets_the_model_that_it_names(zoo: Live) -> None:
    shas = {one["id"]: one.get("sha256") for one in zoo.get("/v1/models").json()["data"]}
    pictures = {}
    for name, query in (("cats", ""), ("cats", "?model=cats"), ("dogs", "?model=dogs")):
        for _ in range(2):  # the second is from memory
            answer = zoo.get(f"/images/7.png{query}")
            assert answer.headers["seedling-model"] == shas[name]
            assert pictures.setdefault(name, answer.content) == answer.content
        lasting = zoo.get(answer.headers["content-location"])
        assert (lasting.content, lasting.headers["seedling-model"]) == (answer.content, shas[name])
        assert lasting.headers["etag"] == answer.headers["etag"]
    assert pictures["cats"] != pictures["dogs"]
    path = zoo.get("/interpolate?from=7&to=8&steps=2&model=dogs")
    np.testing.assert_array_equal(pixels(path.content)[:, :16], pixels(pictures["dogs"]))


def test_a_model_that_is_not_there_is_not_found(zoo: Live) -> None:
    edition = zoo.model("cats")["edition"]
    for address, words in (
        ("/images/7.png?model=mice", ("'cats', 'dogs'", "'mice'")),
        ("/images/7.png?model=", ("''",)),
        ("/images/7.png?model=cut.onnx", ("'cut.onnx'",)),
        ("/models/none/images/7.png", (edition, "'none'")),
        (f"/models/{edition}/images/7.png?model=dogs", ("'cats'", "'dogs'")),
        ("/v1/models/mice/sheet.png", ("'mice'",)),
    ):
        answer = zoo.get(address)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        for word in words:
            assert word in answer.json()["detail"]


def test_each_model_has_a_sheet(zoo: Live, toy_model: Path) -> None:
    cats, dogs = zoo.get("/v1/models/cats/sheet.png"), zoo.get("/v1/models/dogs/sheet.png")
    sheet = pixels(cats.content)
    assert sheet.shape == (128, 128, 3)
    np.testing.assert_array_equal(sheet[:16, 16:32], draw(toy_model, 1))
    np.testing.assert_array_equal(sheet[-16:, -16:], draw(toy_model, 63))
    assert cats.content != dogs.content
    for answer in (cats, dogs):
        lasting = zoo.get(answer.headers["content-location"])
        assert lasting.content == answer.content
        assert "immutable" in lasting.headers["cache-control"]
        known = zoo.get(str(answer.url), headers={"If-None-Match": answer.headers["etag"]})
        assert known.status_code == 304


def test_the_api_describes_its_answers(zoo: Live) -> None:
    schema = zoo.get("/openapi.json").json()
    for path, kind in (("/v1/models", "ModelList"), ("/v1/models/{model}", "ModelEntry")):
        content = schema["paths"][path]["get"]["responses"]["200"]["content"]
        assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{kind}"}
    assert {"id", "object", "created", "owned_by", "status", "edition", "error"} <= set(
        schema["components"]["schemas"]["ModelEntry"]["properties"]
    )
