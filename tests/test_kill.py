"""A killed run loses the steps since its last checkpoint, and takes them again."""

import signal
import subprocess
import sys
from pathlib import Path

import slow_train
import torch
from live import eventually
from noise import save_noise

from training.checkpoint import load_checkpoint

KILLS = """
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from training.checkpoint import Checkpoint, checkpoints, load_checkpoint, prune_checkpoints, save_checkpoint
from training.config import TrainConfig

torch.set_num_threads(1)
run, kills = Path(sys.argv[1]), int(sys.argv[2])
random.seed(0)


def state(step):
    return {f"g.{k}": torch.full((50_000,), float(step)) for k in range(8)}


def save(step):
    folder = run / "checkpoints" / f"step-{step:08d}"
    kept = Checkpoint(config=TrainConfig(), tensors=state(step), step=step, seconds=0.0, data={})
    save_checkpoint(kept, folder)
    prune_checkpoints(run, keep=2)


save(0)
caught = 0
for _ in range(kills):
    begun = load_checkpoint(run).step
    child = os.fork()
    if not child:
        for step in range(begun, begun + 1000):  # the first one is written anew
            save(step)
    time.sleep(random.uniform(0.001, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    caught += any(run.rglob("*.partial"))
    found = load_checkpoint(run)
    assert found.step >= begun, (found.step, begun)
    assert all(bool((value == found.step).all()) for value in found.tensors.values())
    assert all(load_checkpoint(folder) for folder in checkpoints(run))
prune_checkpoints(run, keep=2)
assert not any(run.rglob("*.partial"))
print(caught)
"""

SMALL = ["--img-resolution=16", "--z-dim=8", "--ngf=4", "--ndf=4", "--batch-size=4", "--device=cpu"]
GAME = ["--translate=0.125", "--mirror", "--ema-half-life-kimg=0.02", "--lecam=0.1", "--ada-target=0.6"]
REST = ["--quality-kimg=0", "--no-check", "--kimg=0.08", "--checkpoint-minutes=0"]  # 20 steps


def test_a_kill_at_any_moment_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLS, tmp_path / "run", "100"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 10, "hardly one was killed while it wrote"


def test_twenty_steps_are_ten_a_kill_and_ten_more(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    pictures = save_noise(64, tmp_path / "pictures")
    begin = ["--data", str(pictures), *SMALL, *GAME, *REST]

    subprocess.run(
        [sys.executable, "-m", "training.train", *begin, "--out", straight], check=True, timeout=240
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, slow_train.__file__, *begin, "--out", broken], stdout=log, stderr=log
        )
        eventually(lambda: any(broken.glob("checkpoints/step-0000001[0-2]/checkpoint.json")), 120)
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert load_checkpoint(broken).step < 20
    subprocess.run(
        [sys.executable, "-m", "training.train", *begin, "--out", broken, "--continue"],
        check=True,
        timeout=240,
    )

    wanted, found = load_checkpoint(straight), load_checkpoint(broken)
    assert (wanted.step, found.step) == (20, 20)
    assert wanted.tensors.keys() == found.tensors.keys()
    for key, value in wanted.tensors.items():
        assert torch.equal(found.tensors[key], value), key
    assert found.parts["balance"]["standing"] == wanted.parts["balance"]["standing"]
