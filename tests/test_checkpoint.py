"""Checkpoints: whole or not there, and clear about what is wrong."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoint import (
    JSON_FILE,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)


def state_file(folder: Path) -> Path:
    (file,) = folder.glob("state-*.safetensors")
    return file


def save_steps(checkpoint: Checkpoint, run: Path, *steps: int) -> list[Path]:
    folders = [run / "checkpoints" / f"step-{step:08d}" for step in steps]
    for step, folder in zip(steps, folders, strict=True):
        save_checkpoint(dataclasses.replace(checkpoint, step=step), folder)
    return folders


SAVE_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

whole = load_checkpoint(Path(sys.argv[1]))
# No file may grow beyond a part of the toy's state: of this process, for what pytest writes is longer.
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for folder in sys.argv[2:]:
    try:
        save_checkpoint(whole, Path(folder))
    except CheckpointError as error:
        print(error)
"""


def test_a_checkpoint_survives_the_disk(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    found = load_checkpoint(tmp_path / "a")
    assert found.config == toy_checkpoint.config
    assert (found.step, found.seconds, found.data) == (2, 1.0, toy_checkpoint.data)
    assert found.tensors.keys() == toy_checkpoint.tensors.keys()
    for key, value in toy_checkpoint.tensors.items():
        assert torch.equal(found.tensors[key], value), key


def test_what_parts_keep_comes_back_as_it_was(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    parts = {"balance": {"mean": 0.1 + 0.2, "cooldown": 7, "events": ["D is too fast"], "none": None}}
    save_checkpoint(dataclasses.replace(toy_checkpoint, parts=parts), tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").parts == parts
    file = tmp_path / "a" / JSON_FILE
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "parts"}))
    assert load_checkpoint(tmp_path / "a").parts == {}


def test_a_checkpoint_holds_no_pickle(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    assert sorted((tmp_path / "a").iterdir()) == [tmp_path / "a" / JSON_FILE, state_file(tmp_path / "a")]
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


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    toy_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    bare = dataclasses.replace(toy_checkpoint, tensors={"g.weight": torch.zeros(2)})
    (old,) = save_steps(bare, tmp_path, 2)
    save_checkpoint(toy_checkpoint, tmp_path / "whole")
    folders = (old, old.with_name("step-00000003"))
    command = [sys.executable, "-c", SAVE_ON_A_SMALL_DISK, tmp_path / "whole", *folders]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 2
    for folder, line in zip(folders, said, strict=True):
        assert re.fullmatch(rf"cannot write the checkpoint {folder}: .*too large.*", line)
    assert list((tmp_path / "checkpoints").iterdir()) == [old]
    assert sorted(old.iterdir()) == [old / JSON_FILE, state_file(old)]
    assert load_checkpoint(tmp_path).tensors.keys() == {"g.weight"}


def test_the_newest_of_a_run_is_taken(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_steps(toy_checkpoint, tmp_path, 9, 10, 2)
    (tmp_path / "checkpoints" / "step-00000011").mkdir()
    assert newest_checkpoint(tmp_path).name == "step-00000010"
    assert load_checkpoint(tmp_path).step == 10


def test_old_checkpoints_and_leftovers_are_removed(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    *_, before, newest = save_steps(toy_checkpoint, tmp_path, 1, 2, 10)
    (newest / ".tmpAbCd").write_bytes(b"half a state")
    (newest.with_name("step-00000011")).mkdir()
    (newest.with_name("step-00000011") / "state.partial").write_bytes(b"half a state")
    prune_checkpoints(tmp_path, keep=2)
    assert sorted((tmp_path / "checkpoints").iterdir()) == [before, newest]
    assert sorted(newest.iterdir()) == [newest / JSON_FILE, state_file(newest)]


def test_a_run_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path)


def test_a_truncated_description_is_refused(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    os.truncate(tmp_path / "a" / JSON_FILE, 100)
    with pytest.raises(CheckpointError, match=r"the checkpoint .*a cannot be read"):
        load_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("damage", ["cut", "flipped bit"])
def test_a_damaged_state_is_named(toy_checkpoint: Checkpoint, tmp_path: Path, damage: str) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    file = state_file(tmp_path / "a")
    spoil(file, damage)
    with pytest.raises(
        CheckpointError, match=rf"{file} is damaged: its SHA-256 is .*, expected {file.stem[6:]}"
    ):
        load_checkpoint(tmp_path / "a")


def spoil(file: Path, damage: str) -> None:
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_one_before_a_damaged_checkpoint_is_taken_with_a_word(
    toy_checkpoint: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newest = save_steps(toy_checkpoint, tmp_path, 9, 10)
    spoil(state_file(newest), "flipped bit")
    assert load_checkpoint(tmp_path).step == 9
    assert f"{state_file(newest)} is damaged" in caplog.text
    assert "taking the checkpoint before it" in caplog.text
    spoil(state_file(older), "cut")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_another_version_is_refused(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(toy_checkpoint, tmp_path / "a")
    file = tmp_path / "a" / JSON_FILE
    file.write_text(file.read_text().replace("seedling-checkpoint/2", "seedling-checkpoint/9"))
    with pytest.raises(CheckpointError, match="seedling-checkpoint/9"):
        load_checkpoint(tmp_path / "a")
