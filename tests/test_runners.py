"""Runners: what they grow, in which thread, and who waits for whom."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from app.card import Card
from app.model import card_runner
from app.runners import CARD, CudaRunner, SessionRunner
from app.sessions import ModelFile
from models.contract import latents

WAIT_S = 10.0


@pytest.fixture
def session(toy_model: Path) -> ort.InferenceSession:
    return ort.InferenceSession(toy_model, providers=["CPUExecutionProvider"])


def test_bound_buffers_grow_the_same_pictures(session: ort.InferenceSession) -> None:
    """Buffers of the processor's memory; a card's are bound by the same lines."""
    bound, plain = CudaRunner(session, [1, 4], device="cpu"), SessionRunner(session, [1, 4])
    z = latents([1, 2, 3, 4], 8)
    for batch in (z, z[:1], z[2:]):
        np.testing.assert_array_equal(bound.run(batch), plain.run(batch))


def test_bound_buffers_are_used_in_one_thread_whoever_asks(session: ort.InferenceSession) -> None:
    bound = CudaRunner(session, [1], device="cpu")
    used, grow = set(), bound._replay

    def noted(z: np.ndarray) -> np.ndarray:
        used.add(threading.get_ident())
        return grow(z)

    bound._replay = noted
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda seed: bound.run(latents([seed], 8)), range(16)))
    assert len(used) == 1
    assert threading.get_ident() not in used


def test_a_card_is_used_by_many_at_a_time() -> None:
    card, both = Card(), threading.Barrier(2, timeout=WAIT_S)

    def use() -> None:
        with card.shared():
            both.wait()

    with ThreadPoolExecutor(2) as users:
        for done in [users.submit(use), users.submit(use)]:
            done.result(WAIT_S)


def test_who_wants_a_card_alone_waits_for_its_users_and_new_ones_wait_for_it() -> None:
    card, order = Card(), []
    begun, may_end, wants = threading.Event(), threading.Event(), threading.Event()

    def user() -> None:
        with card.shared():
            begun.set()
            assert may_end.wait(WAIT_S)
            order.append("user")

    def recorder() -> None:
        wants.set()
        with card.alone():
            order.append("recorder")

    def latecomer() -> None:
        with card.shared():
            order.append("latecomer")

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(user)
        assert begun.wait(WAIT_S)
        second = threads.submit(recorder)
        assert wants.wait(WAIT_S)
        while not card._door.locked():  # the recorder is inside, and waits
            assert not second.done()
        third = threads.submit(latecomer)
        assert order == []
        may_end.set()
        for done in (first, second, third):
            done.result(WAIT_S)
    assert order == ["user", "recorder", "latecomer"]


def test_what_cannot_be_recorded_is_run_without_after_a_sentence(
    toy_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By buffers that the graph refuses: it takes one latent at a time, and four are bound."""
    model = onnx.load(toy_model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    narrow = tmp_path / "narrow.onnx"
    onnx.save(model, narrow)
    z = latents([7], 8)
    with narrow.open("rb") as content:
        file = ModelFile(content, "cpu", "float32")
        runner = card_runner(file, file.open(1), [1, 4], device="cpu")
        assert isinstance(runner, SessionRunner)
        np.testing.assert_array_equal(runner.run(z), SessionRunner(file.open(1)).run(z))
        with ThreadPoolExecutor(1) as caller:
            with CARD.alone():  # somebody else records
                done = caller.submit(runner.run, z)
                with pytest.raises(TimeoutError):
                    done.result(0.2)
            done.result(WAIT_S)
    [said] = caplog.messages
    assert said.startswith("the model is not recorded as CUDA graphs, which costs speed only: ")
