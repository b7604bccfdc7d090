"""Faults, brought about from outside: sessions that throw, memory and disks that are full, clocks."""

import contextlib
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from live import Live, draw, eventually, living, pixels
from onnx import TensorProto, helper, numpy_helper
from peer import status_mb

from app.model import load
from app.settings import Settings
from export.files import ExportError, write
from models.contract import INPUT_NAME, ModelFileError, latent

POISON = 6
"""The seed that a poisoned model cannot grow."""

VANISHING = """
import os
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

def check():
    if os.path.exists(os.environ["PROVIDER_GONE"]):
        raise RuntimeError("CUDA failure 999: the device is lost")

class Session(onnxruntime.InferenceSession):
    def __init__(self, *args, **options):
        check()
        super().__init__(*args, **options)
    def run(self, *args, **options):
        check()
        return super().run(*args, **options)

onnxruntime.InferenceSession = Session
"""
"""Python's ``sitecustomize`` of a service whose execution provider a test can take away."""


# --- A session that throws ----------------------------------------------------------------------------


def graft(toy: Path, path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> Path:
    """Puts nodes before a model: from ``z`` they make ``zero``, which is added to it."""
    model = onnx.load(toy)
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            if name == INPUT_NAME:
                node.input[k] = "z_after"
    add = helper.make_node("Add", [INPUT_NAME, "zero"], ["z_after"])
    for k, node in enumerate([*nodes, add]):
        model.graph.node.insert(k, node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)
    return path


def make_poisoned(toy: Path, path: Path) -> Path:
    """Makes a model whose session throws for batches in which there is one seed."""
    nodes = [
        helper.make_node("Gather", [INPUT_NAME, "first"], ["z_first"], axis=1),
        helper.make_node("Equal", ["z_first", "poison"], ["is_poison"]),
        helper.make_node("Cast", ["is_poison"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["nothing", "index"], ["zero"]),  # there is no element 1
    ]
    constants = {
        "first": np.array([0], np.int64),
        "poison": latent(POISON, 8)[:1],
        "nothing": np.zeros(1, np.float32),
    }
    return graft(toy, path, nodes, constants)


def test_a_session_that_throws_for_a_picture_fails_that_picture_alone(
    tmp_path: Path, toy_model: Path
) -> None:
    poisoned = make_poisoned(toy_model, tmp_path / "models" / "toy.onnx")
    options = {"batch_sizes": "1,4", "lanes": 1, "cache_mb": 0}
    with faulty(tmp_path / "run", model=poisoned, **options) as live, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda seed: live.get(f"/images/{seed}.png"), range(48)))
        for seed, answer in enumerate(answers):
            if seed == POISON:
                assert answer.status_code == 500
                assert answer.json()["detail"] == "the service failed at this request; its log says why"
            else:
                np.testing.assert_array_equal(pixels(answer.content), draw(toy_model, seed))
        assert live.get("/readyz").status_code == 200
        assert "picture 6 could not be grown" in live.log


@contextlib.contextmanager
def faulty(folder: Path, **settings: object) -> Iterator[Live]:
    """Runs a service whose log may hold the tracebacks of the fault."""
    with living(folder, **settings) as live:
        yield live
        live.log_file.write_text(live.log.replace("Traceback", "trace"), encoding="utf-8")


# --- Memory that is full --------------------------------------------------------------------------------


def make_hungry(toy: Path, path: Path) -> Path:
    """Makes a model that takes 64 MB for a latent whose first number is above 9, and k² times that for k."""
    nodes = [
        helper.make_node("Gather", [INPUT_NAME, "first"], ["z_first"], axis=1),
        helper.make_node("Greater", ["z_first", "much"], ["is_hungry"]),
        helper.make_node("Cast", ["is_hungry"], ["hungry"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["hungry"], ["k"], keepdims=0),
        helper.make_node("Mul", ["k", "k"], ["k_squared"]),
        helper.make_node("Mul", ["k_squared", "portion"], ["size"]),
        helper.make_node("Reshape", ["size", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["portions"]),
        helper.make_node("ReduceSum", ["portions"], ["zero"], keepdims=0),
    ]
    constants = {
        "first": np.array([0], np.int64),
        "much": np.array(9, np.float32),
        "portion": np.array(16_000_000, np.int64),
        "one": np.array([1], np.int64),
    }
    return graft(toy, path, nodes, constants)


def test_a_batch_that_memory_does_not_suffice_for_is_halved(tmp_path: Path, toy_model: Path) -> None:
    hungry = make_hungry(toy_model, tmp_path / "models" / "toy.onnx")
    options = {"batch_sizes": "1,4", "lanes": 1, "cache_mb": 0}
    with faulty(tmp_path / "run", model=hungry, **options) as live:
        pid = live.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_AS)
        resource.prlimit(
            pid, resource.RLIMIT_AS, (int(status_mb(pid, "VmSize") * 1e6) + 450_000_000, before[1])
        )
        wanted = [[9.1 + k / 10, *latent(k, 8)[1:].tolist()] for k in range(4)]
        for _ in range(3):
            answer = live.client.post(
                "/generate", json={"latents": wanted}, headers={"Accept": "application/json"}
            )
            assert answer.status_code == 200, live.log
            assert len(answer.json()["images"]) == 4
        assert live.get("/readyz").status_code == 200
        assert "could not be grown" not in live.log
        resource.prlimit(pid, resource.RLIMIT_AS, before)


# --- A provider that vanishes ---------------------------------------------------------------------------


def test_a_provider_that_vanishes_is_told_and_found_again(tmp_path: Path, toy_model: Path) -> None:
    (tmp_path / "inject").mkdir()
    (tmp_path / "inject" / "sitecustomize.py").write_text(VANISHING, encoding="utf-8")
    gone = tmp_path / "gone"
    environment = {"PYTHONPATH": f"{tmp_path / 'inject'}:{Path.cwd()}", "PROVIDER_GONE": str(gone)}
    with living(tmp_path / "run", environment, model=toy_model, cache_mb=0) as live:
        before = live.get("/images/7.png")
        gone.touch()
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda seed: live.get(f"/images/{seed}.png"), range(100)))
        assert {answer.status_code for answer in answers} == {503}
        for answer in answers:
            assert answer.headers["retry-after"] == "5"
            assert "its session is being opened anew" in answer.json()["detail"]
        ready = live.get("/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, answers[0].json()["detail"])
        assert live.get("/livez").status_code == 200
        assert live.log.count("the device is lost") <= 3  # what was lost, and that it cannot be had again
        gone.unlink()
        eventually(lambda: live.get("/readyz").is_success, 30)
        after = live.get("/images/7.png")
        assert after.content == before.content
        assert after.headers["content-location"] == before.headers["content-location"]
        assert live.get(before.headers["content-location"]).content == before.content


# --- Disks ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mounts a disk of a few kilobytes; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "seedling", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_an_export_to_a_full_disk_leaves_the_old_file(tmp_path: Path, toy_model: Path) -> None:
    model = onnx.load(toy_model)
    with mounted(tmp_path / "disk", "size=16k") as disk:
        (disk / "model.onnx").write_bytes(b"the old one")
        with pytest.raises(ExportError, match="No space left on device"):
            write(model, disk / "model.onnx")
        assert [file.read_bytes() for file in disk.iterdir()] == [b"the old one"]


def test_an_export_to_a_disk_that_is_read_only_says_so(tmp_path: Path, toy_model: Path) -> None:
    with (
        mounted(tmp_path / "disk", "ro") as disk,
        pytest.raises(ExportError, match=r"model\.onnx: Read-only file system"),
    ):
        write(onnx.load(toy_model), disk / "model.onnx")


def test_a_service_needs_no_disk_to_write_on(tmp_path: Path, toy_model: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(home))
    with living(tmp_path / "run", own, model=toy_model) as live:
        content = live.get("/images/1.png").content
        answers = [
            live.client.post("/verify", content=content, headers={"Content-Type": "image/png"}),
            live.client.post("/generate", json={"count": 4}, headers={"Accept": "application/zip"}),
            live.get("/interpolate?from=1&to=2&steps=4&format=mp4"),
        ]
        assert {answer.status_code for answer in answers} == {200}
    assert list(home.rglob("*")) == []
    assert {file.name for file in (tmp_path / "run").rglob("*")} == {"log", "out"}, "of the test itself"


def test_a_model_may_lie_on_a_disk_that_is_read_only(tmp_path: Path, toy_model: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        (disk / "toy.onnx").write_bytes(toy_model.read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with living(tmp_path / "run", model=disk / "toy.onnx") as live:
            assert live.get("/images/1.png").status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_may_not_be_read_or_written_is_named(tmp_path: Path, toy_model: Path) -> None:
    shut = tmp_path / "shut.onnx"
    shut.write_bytes(toy_model.read_bytes())
    shut.chmod(0o600)
    model = onnx.load(toy_model)
    os.seteuid(65534)
    try:
        with pytest.raises(ModelFileError, match=r"shut\.onnx cannot be served: .*: Permission denied"):
            load(Settings(model=shut))
        with pytest.raises(ExportError, match=r"shut\.onnx: Permission denied"):
            write(model, shut)
    finally:
        os.seteuid(0)
    assert shut.read_bytes() == toy_model.read_bytes()


# --- Clocks -----------------------------------------------------------------------------------------------


TELLING = {"access_log.py", "guard.py", "logs.py", "signing.py", "tracing.py", "openai.py"}
"""Which may read the wall clock: for what is told to people, and for what is shared."""


def test_what_time_decides_is_decided_by_the_monotonic_clock() -> None:
    wall = re.compile(r"\btime\.time\b|\bdatetime\b|\bctime\(|\btime_ns\(|from time import .*\btime\b")
    found = {file.name for file in Path("app").rglob("*.py") if wall.search(file.read_text(encoding="utf-8"))}
    assert found == TELLING


def test_a_wall_clock_that_jumps_changes_nothing(tmp_path: Path, toy_model: Path) -> None:
    library = next(Path("/usr/lib").rglob("libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    clock = tmp_path / "clock"
    clock.write_text("+0", encoding="ascii")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with living(tmp_path / "run", environment, model=toy_model, cache_mb=0) as live:
        seen = {live.get("/livez").headers["date"]}
        for jump in ("+400d", "-400d", "+3s", "-1h"):
            clock.write_text(jump, encoding="ascii")
            with ThreadPoolExecutor(8) as pool:
                body = [{"seed": 64 * k, "count": 64} for k in range(24)]
                answers = list(pool.map(lambda one: live.client.post("/generate", json=one), body))
            assert {answer.status_code for answer in answers} == {200}
            eventually(lambda: live.get("/livez").headers["date"] not in seen, 5)
            seen.add(live.get("/livez").headers["date"])
        assert live.get("/readyz").is_success
