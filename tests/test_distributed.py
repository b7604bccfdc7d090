"""Two processes are one with the batch of both: in what they compute, write, and when they stop."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slow_train
import torch
from live import eventually
from noise import save_noise
from safetensors.torch import load_file, save_file
from torch import nn

from training.checkpoint import load_checkpoint, newest_checkpoint
from training.config import ConfigError
from training.distributed import World
from training.flags import build_parser
from training.journal import Event, read_journal
from training.loop import Trainer
from training.opening import begin

CPU = torch.device("cpu")

BATCH_NORM = """
import sys
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from training.distributed import joined_world

cpu = torch.device("cpu")
with joined_world(cpu) as world:
    given = load_file(sys.argv[1])
    layer = nn.BatchNorm2d(3)
    layer.load_state_dict({key[6:]: value for key, value in given.items() if key.startswith("layer.")})
    layer = world.share_statistics(layer, cpu)
    share = world.share_of(len(given["x"]))
    x = given["x"][share].requires_grad_()
    y = layer(x)
    (y * given["weights"][share]).square().mean().backward()
    world.mean(p.grad for p in layer.parameters())
    gradients = {"dx": x.grad / world.size, "dw": layer.weight.grad, "db": layer.bias.grad}
    found = {"y": y.detach()} | gradients | {key: value.clone() for key, value in layer.state_dict().items()}
    assert world.any(world.rank == 1, False) == (True, False)
    assert world.from_leader(f"said by {world.rank}") == "said by 0"
    layer.eval()
    found["eval"] = layer(x).detach()
    save_file(found, f"{sys.argv[2]}-{world.rank}.safetensors")
"""


SMALL = ["--img-resolution=16", "--z-dim=8", "--ngf=4", "--ndf=4", "--batch-size=8", "--quality-kimg=0"]
SMALL += ["--device=cpu", "--no-check"]
PLAIN = ["--arithmetic=float32", "--layout=nchw", "--execution=eager"]
GAME = "--translate=0.125 --mirror --ema-half-life-kimg=0.05 --kimg=0.064".split()  # noqa: SIM905 - 8 steps
GAME += ["--vision-aided=1", "--vision-aided-from-kimg=0"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TRAIN = ["-m", "training.train"]


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(folder).tensors)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 pictures."""
    return save_noise(24, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def together(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps in two processes."""
    out = tmp_path_factory.mktemp("runs") / "two"
    done = run(*TORCHRUN, *TRAIN, "--data", folder, "--out", out, *SMALL, *PLAIN, *GAME)
    assert done.stdout.count("done after 64 pictures") == 1
    return out


def test_one_process_is_alone() -> None:
    alone = World()
    assert alone.leads
    assert alone.share_of(7) == slice(0, 7)
    assert alone.any(*(True, False)) == (True, False)
    plain = nn.BatchNorm2d(3).forward
    assert alone.share_statistics(plain.__self__, torch.device("cpu")).forward == plain


def test_shares_make_up_the_batch() -> None:
    assert [World(rank, 4).share_of(8) for rank in range(4)] == [
        slice(0, 2),
        slice(2, 4),
        slice(4, 6),
        slice(6, 8),
    ]
    with pytest.raises(ConfigError, match="multiple of the 4 processes, got 6"):
        World(0, 4).share_of(6)


def test_shared_batch_norm_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, weights = torch.randn(2, 8, 3, 5, 5) * 3 + 1
    given = {f"layer.{key}": value.clone() for key, value in layer.state_dict().items()}
    save_file(given | {"x": x.clone(), "weights": weights.clone()}, tmp_path / "given")

    y = layer(x.requires_grad_())
    (y * weights).square().mean().backward()
    gradients = {"dx": x.grad, "dw": layer.weight.grad, "db": layer.bias.grad}
    wanted = layer.state_dict() | gradients | {"y": y, "eval": layer.eval()(x)}

    (tmp_path / "script.py").write_text(BATCH_NORM)
    run(*TORCHRUN, tmp_path / "script.py", tmp_path / "given", tmp_path / "found")
    first, second = (load_file(tmp_path / f"found-{rank}.safetensors") for rank in range(2))
    for key, value in wanted.items():
        whole = torch.cat([first[key], second[key]]) if value.shape == x.shape else first[key]
        torch.testing.assert_close(whole, value, msg=lambda text, key=key: f"{key}: {text}")
        if value.shape != x.shape:
            assert torch.equal(first[key], second[key])


def test_two_processes_learn_what_one_does_with_the_batch_of_both(
    folder: Path, together: Path, tmp_path: Path
) -> None:
    run(sys.executable, *TRAIN, "--data", folder, "--out", tmp_path / "one", *SMALL, *PLAIN, *GAME)
    wanted, found = final_state(tmp_path / "one"), final_state(together)
    assert wanted.keys() == found.keys()
    at_first = Trainer(load_checkpoint(together).config, np.zeros((24, 16, 16, 3), np.uint8), CPU)
    for net in ("g", "d", "heads"):
        weights = getattr(at_first.players, net).named_parameters()
        moved = {name: wanted[f"{net}.{name}"] - weight.detach() for name, weight in weights}
        apart = {name: wanted[f"{net}.{name}"] - found[f"{net}.{name}"] for name in moved}
        # Rounding differs, and the game makes much of little: it is a share of the way gone that is small.
        assert norm(apart) < 0.15 * norm(moved), (net, norm(apart), norm(moved))
    names = {file.relative_to(together).parts[0] for file in together.rglob("*")}
    assert names == {file.relative_to(tmp_path / "one").parts[0] for file in (tmp_path / "one").rglob("*")}


def norm(weights: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([weight.norm() for weight in weights.values()]).norm())


def test_a_lost_process_costs_the_steps_since_the_last_checkpoint(
    folder: Path, together: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with (tmp_path / "log").open("w") as log:
        command = [*TORCHRUN, "--max-restarts=3", slow_train.__file__, "--data", folder, "--out", out]
        process = subprocess.Popen(
            [*map(str, command), "--checkpoint-minutes=0", *SMALL, *PLAIN, *GAME], stdout=log, stderr=log
        )
        eventually(lambda: out.exists() and bool(list(out.glob("checkpoints/step-0000000[3-6]/*.json"))), 120)
        lost = next(child for child in children(process.pid) if rank_of(child) == "1")
        os.kill(lost, signal.SIGKILL)
        assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert re.findall(r"going on from step (\d+)", said) >= ["3"]
    assert final_state(out).keys() == final_state(together).keys()
    for key, value in final_state(together).items():
        assert torch.equal(final_state(out)[key], value), key


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> str | None:
    environment = dict(
        line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line
    )
    return environment.get("RANK")


def test_a_signal_stops_all_processes_at_one_step(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def stepped() -> bool:  # the first sheet is the leader's: the others may not listen to signals yet
        journal = out / "log.jsonl"
        return journal.exists() and '"kind": "scalars"' in journal.read_text()

    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*TORCHRUN, *TRAIN, "--data", str(folder), "--out", str(out), *SMALL, *PLAIN, "--kimg=1000"],
            stdout=log,
            stderr=log,
        )
        eventually(stepped, 120)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
    said = (tmp_path / "log").read_text()
    assert said.count(f"go on with: python -m training.train --resume {out}") == 1, said
    assert newest_checkpoint(out)
    steps = load_checkpoint(out).step
    more = run(sys.executable, *TRAIN, "--resume", out, "--device=cpu", "--kimg", (steps + 2) * 8 / 1000)
    assert f"done after {(steps + 2) * 8} pictures" in more.stdout


DISAGREE = """
import json, sys, time
from pathlib import Path
from safetensors.torch import save_file
import torch
from training import budget, opening
from training.balance.controller import Controller, Decision
from training.balance.verdicts import Verdict
from training.machine_speed import Speed
from training.distributed import joined_world
from training.flags import build_parser

budget.EXPORT_SECONDS = budget.SAVE_SECONDS = 0.0
observe = Controller.observe
cpu = torch.device("cpu")
with joined_world(cpu) as world:
    def own_speed(*_):
        return Speed(trained=1000.0 / (1 + world.rank), judged=1000.0)

    def own_opinion(controller, signals, config, shown):
        observe(controller, signals, config, shown)
        window = controller.standing.windows
        if world.leads and window == 1:
            return Decision(verdict=Verdict.D_TOO_FAST, sentence="slower", changes={"lr_d": 1e-4})
        if world.leads and window == 2:
            return Decision(verdict=Verdict.COLLAPSING, sentence="back", go_back=True)
        return None

    opening.measure_speed, Controller.observe = own_speed, own_opinion
    args = build_parser().parse_args(sys.argv[2:])
    args.started = time.monotonic() - 1000 * world.rank
    run = opening.begin(args, cpu, world)
    planned = run.trainer.config.kimg
    assert run.train()
    checkpoint = run.trainer.checkpoint({}, 0.0)
    save_file({k: v.contiguous() for k, v in checkpoint.tensors.items()}, f"{sys.argv[1]}-{world.rank}")
    told = {"planned": planned, "config": checkpoint.config.to_dict(), "step": checkpoint.step}
    Path(f"{sys.argv[1]}-{world.rank}.json").write_text(json.dumps(told))
"""
"""A run with a budget whose processes differ in clock, speed, and in what they think of the game."""


def test_time_and_balance_are_the_leaders_to_decide(tmp_path: Path) -> None:
    pictures = save_noise(48, tmp_path / "pictures")
    (tmp_path / "script.py").write_text(DISAGREE)
    out, found = tmp_path / "run", tmp_path / "found"
    options = ["--data", pictures, "--out", out, "--budget=12s", *SMALL, *PLAIN]
    run(*TORCHRUN, tmp_path / "script.py", found, *options)
    first, second = (json.loads(Path(f"{found}-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["config"]["lr_d"] == 1e-4
    assert [event.sentence for event in read_journal(out) if isinstance(event, Event)] == ["slower", "back"]
    weights, others = (load_file(f"{found}-{rank}") for rank in range(2))
    for key, value in weights.items():
        assert torch.equal(value, others[key]), key


def test_a_run_that_may_be_restarted_needs_a_name(folder: Path) -> None:
    args = build_parser().parse_args(["--data", str(folder), *SMALL])
    with pytest.raises(ConfigError, match="--max-restarts needs --out"):
        begin(args, CPU, World(most_restarts=1))


THREADS = """
import os, torch
from training.distributed import joined_world
with joined_world(torch.device("cpu")):
    weight = torch.nn.Parameter(torch.ones(1))
    weight.sum().backward()
    torch.optim.Adam([weight], fused=True).step()
names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
assert not any("gloo" in name for name in names), names
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed in /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    """One that does may abort the process when Python ends."""
    script = tmp_path / "threads.py"
    script.write_text(THREADS)
    run(*TORCHRUN, script)
