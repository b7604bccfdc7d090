"""Checkpoints: whole or not there, and clear about what is wrong."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from training.checkpoint import (
    JSON_FILE,
    STATE_FILE,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)


def test_a_checkpoint_survives_the_disk(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    found = load_checkpoint(tmp_path / "a")
    assert found.config == toy_checkpoint.config
    assert (found.step, found.seconds, found.data) == (2, 1.0, toy_checkpoint.data)
    assert found.tensors.keys() == toy_checkpoint.tensors.keys()
    for key, value in toy_checkpoint.tensors.items():
        assert torch.equal(found.tensors[key], value), key


def test_a_checkpoint_holds_no_pickle(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [JSON_FILE, STATE_FILE]
    json.loads((tmp_path / "a" / JSON_FILE).read_text())


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(
    toy_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    unwritable = dataclasses.replace(toy_checkpoint, step=3, data={"name": object()})
    with pytest.raises(TypeError):
        save_checkpoint(unwritable, tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").step == 2
    save_checkpoint(dataclasses.replace(toy_checkpoint, step=4), tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").step == 4
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_disk_that_refuses_is_named(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint .*file"):
        save_checkpoint(toy_checkpoint, tmp_path / "file" / "a")


def test_the_newest_of_a_run_is_taken(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    for step in (9, 10, 2):
        save_checkpoint(
            dataclasses.replace(toy_checkpoint, step=step), tmp_path / "checkpoints" / f"step-{step:08d}"
        )
    (tmp_path / "checkpoints" / ".step-00000011.partial").mkdir()
    assert newest_checkpoint(tmp_path).name == "step-00000010"
    assert load_checkpoint(tmp_path).step == 10


def test_a_run_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("file", [STATE_FILE, JSON_FILE])
def test_a_truncated_checkpoint_is_refused(toy_checkpoint: Checkpoint, tmp_path: Path, file: str) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    content = (tmp_path / "a" / file).read_bytes()
    (tmp_path / "a" / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "a")


def test_a_checkpoint_of_another_version_is_refused(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    file = tmp_path / "a" / JSON_FILE
    file.write_text(file.read_text().replace("seedling-checkpoint/1", "seedling-checkpoint/9"))
    with pytest.raises(CheckpointError, match="seedling-checkpoint/9"):
        load_checkpoint(tmp_path / "a")
