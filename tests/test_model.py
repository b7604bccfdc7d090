"""Loading a model file: how its work is laid out, and which ways of computing are let in."""

import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from app import layout, model
from app.runners import Latents, Pictures, SessionRunner, pad
from app.sessions import ProviderError, choose_precision, choose_provider
from app.settings import Settings
from models.contract import latents


def grow(z: Latents) -> Pictures:
    """Grows a stand-in for pictures: one pixel that depends on the latent alone."""
    return (z[:, :1] * 16).astype(np.uint8).reshape(-1, 1, 1, 1)


def off_in_batches_of_four(z: Latents) -> Pictures:
    """Grows what a library would whose kernel for four rounds otherwise."""
    return grow(z) + np.uint8(len(z) == 4)


def test_a_short_batch_is_filled_to_the_next_size() -> None:
    z = latents([1, 2, 3], 8)
    for sizes, size in (((1, 4, 16), 4), ((3,), 3), ((16,), 16)):
        full = pad(z, sizes)
        assert full.shape == (size, 8)
        np.testing.assert_array_equal(full[:3], z)
        assert not full[3:].any()


def test_a_batch_size_that_changes_bytes_is_left_out() -> None:
    assert layout.agreeing_sizes(grow, 1, (4, 16), 8) == [1, 4, 16]
    assert layout.agreeing_sizes(off_in_batches_of_four, 1, (4, 16), 8) == [1, 16]
    assert layout.agreeing_sizes(off_in_batches_of_four, 4, (1, 16), 8) == [4]


def test_a_batch_size_that_gains_nothing_is_left_out() -> None:
    assert layout.gaining({1: 100, 4: 109, 16: 105}) == (1,)
    assert layout.gaining({1: 100, 4: 111, 16: 120}) == (1, 4)
    assert layout.gaining({1: 100, 4: 90, 16: 111}) == (1, 16)


def test_batch_sizes_are_measured() -> None:
    def flat(z: Latents) -> Pictures:
        time.sleep(0.02)
        return grow(z)

    assert layout.worthwhile_sizes(flat, [1, 4, 16], 8) == (1, 4, 16)


def test_the_first_way_is_kept_unless_another_is_clearly_faster() -> None:
    assert layout.choose({2: 100, 1: 109}) == 2
    assert layout.choose({2: 100, 1: 111}) == 1
    assert layout.choose({4: 100, 2: 130, 1: 120}) == 2


def test_ways_are_measured_side_by_side() -> None:
    def paced(seconds: float) -> layout.Run:
        def run(z: Latents) -> Pictures:
            time.sleep(seconds)
            return grow(z)

        return run

    chosen, speed = layout.fastest({1: [paced(0.02)], 2: [paced(0.002)] * 2}, latents([1], 8))
    assert chosen == 2
    assert speed < 2 / 0.002  # never more than they could give


def test_a_loaded_model_grows_what_its_file_says(toy_model: Path) -> None:
    loaded = model.load(Settings(model=toy_model, threads=3))
    plan = loaded.layout
    assert (plan.lanes, plan.alone_threads) == (3, 3)
    assert plan.threads in {1, 3}
    assert len(loaded.runners) == plan.lanes
    assert plan.batch_sizes[0] == 1
    assert plan.pictures_per_s > 0
    assert loaded.probe.shape == (4, 16, 16, 3)
    z = latents([3], 8)
    assert loaded.alone is not None
    np.testing.assert_array_equal(loaded.alone.run(z), loaded.runners[0].run(z))


def test_lanes_and_batch_sizes_can_be_set(toy_model: Path) -> None:
    loaded = model.load(Settings(model=toy_model, threads=4, lanes=2, batch_sizes=(2, 8)))
    assert (loaded.layout.lanes, loaded.layout.batch_sizes) == (2, (2, 8))
    runner = loaded.runners[0]
    assert isinstance(runner, SessionRunner)
    assert runner.run(latents([1, 2, 3], 8)).shape == (3, 16, 16, 3)


def test_an_engine_reports_what_it_computes_in(toy_model: Path) -> None:
    described = model.load(Settings(model=toy_model)).describe()
    assert (described["precision"], described["stored"], described["provider"]) == (
        "float32",
        "float32",
        "cpu",
    )


@pytest.mark.parametrize(
    ("provider", "package"), [("cuda", "onnxruntime-gpu"), ("openvino", "onnxruntime-openvino")]
)
def test_a_provider_that_is_not_there_says_what_installs_it(provider: str, package: str) -> None:
    with pytest.raises(ProviderError, match=f"provider {provider}: .*CPUExecutionProvider.*{package}"):
        choose_provider(provider)  # type: ignore[arg-type]


def test_a_precision_that_a_provider_has_not_is_refused() -> None:
    assert choose_precision("auto", "cuda") == "float32"
    assert choose_precision("bfloat16", "openvino") == "bfloat16"
    with pytest.raises(ProviderError, match=r"precision bfloat16: provider cpu has float32.*export\.convert"):
        choose_precision("bfloat16", "cpu")


def test_a_share_of_the_processors_for_each_worker() -> None:
    assert Settings(threads=8, workers=2).cpus == 4
    assert Settings(threads=1, workers=4).cpus == 1
    with pytest.raises(ValidationError, match="workers"):
        Settings(workers=0)
