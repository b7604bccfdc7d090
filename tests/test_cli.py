"""The command ``seedling``, as a shell runs it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from conftest import free_port
from noise import save_noise
from shell import SEEDLING, Shell, check, files

from app.settings import Settings

# --- What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "--size", "5"], ("size", "16", "got 5")),
        (["a", "--t", "0.5"], ("t is of use with to",)),
        (["a", "--model", "x"], ("'toy', got 'x'",)),
        (["a", "--weights", "2;1"], ("--weights", "such as 2,1", "got '2;1'")),
        (["a", "-o", "a.bmp"], ("--out", ".png", "got 'a.bmp'")),
        (["a", "b", "-o", "a.png"], ("folder or a pattern", "2 pictures")),
        (["a", "b", "-o", "-"], ("folder or a pattern", "got '-'")),
        (["a", "-o", "/proc/x/a.png"], ("/proc/x",)),
        (["a", "--weight", "2"], ("--weight", "--help")),
        (["x" * 257], ("256", "got 257")),
        ([], ("SEED",)),
    ],
)
def test_a_wrong_command_is_a_line(
    call: Shell, url: str, tmp_path: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    check(call("generate", *arguments, "--url", url), 2, *words)
    assert files(tmp_path) == set()


def test_a_service_that_is_not_there_is_another_code(call: Shell) -> None:
    check(call("generate", "a", "--url", f"http://127.0.0.1:{free_port()}"), 1, "gave no answer")
    check(call("models", "--url", "nowhere"), 2, "address of a service", "got 'nowhere'")


def test_a_model_that_is_not_there_is_told(call: Shell) -> None:
    for arguments in (("generate", "a", "--model", "none.onnx"), ("models", "none.onnx")):
        check(call(*arguments), 2, "none.onnx")


def test_what_is_not_installed_is_named_with_how_to_get_it(environment: dict[str, str]) -> None:
    """Where the runtime alone is, as ``make serve`` makes it, importing torch fails just so."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from seedling.cli import main; sys.exit(main(['train', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=environment)
    check(done, 2, "this needs torch, of the extra train: make train-env")


# --- Models ---------------------------------------------------------------------------------------


def test_models_are_told_of_a_service_and_of_files(
    call: Shell, url: str, toy_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_text("not at all", encoding="utf-8")
    (tmp_path / "toy.onnx").symlink_to(toy_model)
    for arguments in (["--url", url], [tmp_path]):
        done = call("models", *arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "16×16" in done.stdout.decode()
        told = {model["id"]: model for model in json.loads(call("models", *arguments, "--json").stdout)}
        assert told["toy"]["spec"]["z_dim"] == 8
        assert ("broken" in told) == (arguments == [tmp_path])
    assert "cannot be read" in told["broken"]["error"] or "not" in told["broken"]["error"]


def test_the_edition_can_be_copied_from_a_narrow_window(call: Shell, url: str, service: httpx.Client) -> None:
    edition = service.get("/v1/models").json()["data"][0]["edition"]
    assert edition in call("models", "--url", url).stdout.decode()


# --- The others' commands -------------------------------------------------------------------------


def test_serve_serves_the_model_that_is_named(
    environment: dict[str, str], toy_model: Path, tmp_path: Path
) -> None:
    port = free_port()
    arguments = ["serve", "--cache-mb", "0", str(toy_model), "--no-watch", f"--port={port}"]
    with subprocess.Popen(
        [*SEEDLING, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/v1/models")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert [model["id"] for model in answer.json()["data"]] == ["toy"]
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read().decode()
        assert process.wait(timeout=20) in {0, -signal.SIGINT}
    assert "SEEDLING_CACHE_MB=0" in told
    assert "Traceback" not in told


def test_serve_s_help_lists_every_setting_under_its_own_name(shell: Shell) -> None:
    told = shell("serve", "--help").stdout.decode()
    assert told.startswith("usage: seedling serve")
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in told


def test_training_export_and_evaluation_are_called_by_name(
    shell: Shell, toy_run: Path, tmp_path: Path
) -> None:
    save_noise(16, tmp_path / "pictures", side=40)
    small = ["--preset", "light", "--ngf", 4, "--ndf", 4, "--batch-size", 2, "--dry-run"]
    done = shell("train", "--data", "pictures", *small)
    assert done.returncode == 0, done.stderr
    done = shell("export", toy_run, "mine.onnx")
    assert done.returncode == 0, done.stderr
    [model] = json.loads(shell("models", "mine.onnx", "--json").stdout)
    assert model["spec"]["img_resolution"] == 16
    check(shell("evaluate", "none.onnx"), 2, "none.onnx")


# --- Help -----------------------------------------------------------------------------------------


def test_help_names_every_command_and_costs_nothing(shell: Shell) -> None:
    done = shell("--help")
    for name in (
        "generate",
        "interpolate",
        "models",
        "serve",
        "train",
        "export",
        "evaluate",
        "prepare",
        "convert",
        "report",
    ):
        assert name in done.stdout.decode()
    assert done.returncode == 0
    bare = shell()
    assert (bare.returncode, bare.stderr) == (2, b"")
    assert shell("--version").stdout.startswith(b"seedling 0.")


@pytest.mark.parametrize("command", ["generate", "interpolate", "models"])
def test_help_fits_a_narrow_window(call: Shell, command: str) -> None:
    told = call(command, "--help").stdout.decode()
    assert max(map(len, told.splitlines())) <= 80
    assert "--url" in told


def test_the_shell_completes_commands_and_values(shell: Shell) -> None:
    def complete(line: str) -> list[str]:
        words = {
            "_SEEDLING_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        return shell(**words).stdout.decode().split()

    assert complete("seedling in") == ["interpolate"]
    assert complete("seedling generate a --shape ci") == ["circle"]
    assert "--background" in complete("seedling generate --ba")
    # Else it asks which shell this is run by, and there may be none.
    script = shell("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    assert b"complete_bash" in script
