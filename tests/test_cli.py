"""The command ``seedling``, as a shell runs it."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from conftest import free_port
from noise import save_noise
from PIL import Image

from app.settings import Settings
from models.contract import resolve_seed
from seedling.cli import main

Done = subprocess.CompletedProcess[bytes]
Shell = Callable[..., Done]

SEEDLING = [sys.executable, "-m", "seedling"]


@pytest.fixture
def environment() -> dict[str, str]:
    """What a shell has: no settings, and a narrow window."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SEEDLING_")}
    return plain | {"PYTHONPATH": str(Path.cwd()), "COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture
def shell(tmp_path: Path, environment: dict[str, str]) -> Shell:
    """Runs the command in a folder of its own."""

    def run(*arguments: object, **variables: str) -> Done:
        return subprocess.run(
            [*SEEDLING, *map(str, arguments)],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=environment | variables,
            timeout=120,
        )

    return run


@pytest.fixture
def call(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Shell:
    """Calls the command in this process, as the shell's line would: a process each takes its time."""
    monkeypatch.chdir(tmp_path)
    for name in {*os.environ, *environment} - {"PYTEST_CURRENT_TEST"}:
        if name in environment:
            monkeypatch.setenv(name, environment[name])
        else:
            monkeypatch.delenv(name)

    def run(*arguments: object) -> Done:
        capfdbinary.readouterr()
        code = main(list(map(str, arguments)))
        sys.stdout.flush()
        return Done(arguments, code, *capfdbinary.readouterr())

    return run


def files(folder: Path) -> set[str]:
    """Returns what is in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check(done: Done, code: int, *words: str) -> None:
    """Checks that a command said one thing on one line, and nothing else."""
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (code, b"", 1), said
    assert said.startswith("error: ")
    for word in words:
        assert word in said


# --- Pictures -------------------------------------------------------------------------------------


def test_a_picture_without_a_service_is_the_service_s(
    shell: Shell, service: httpx.Client, toy_model: Path, tmp_path: Path
) -> None:
    done = shell("generate", "alice", "--model", toy_model, "--size", 64, "--shape", "circle")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"alice.png\n", b"")
    assert (tmp_path / "alice.png").read_bytes() == service.get(
        "/images/alice.png?size=64&shape=circle"
    ).content


def test_a_picture_of_a_service_goes_to_stdout_alone(shell: Shell, service: httpx.Client, url: str) -> None:
    done = shell(
        "generate", "alice", "-o", "-", "--format", "webp", "--with", "bob", "--weights", "2,1", "--url", url
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == service.get("/images/alice.webp?with=bob&weights=2,1").content


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["a", "b"], {"a.png", "b.png"}),
        (["a", "-o", "new/deep/x.JPEG"], {"new/deep/x.JPEG"}),
        (["a", "b", "-o", "faces"], {"faces/a.png", "faces/b.png"}),
        (["a", "-o", "faces/"], {"faces/a.png"}),
        (["7", "-n", "3", "-o", "f/{seed}.webp"], {"f/7.webp", "f/8.webp", "f/9.webp"}),
        (["a", "--radius", "0.2", "-n", "2", "--variant", "4"], {"a-4.png", "a-5.png"}),
        (["../up", "-o", "{seed}.avif"], {f"{resolve_seed('../up')}.avif"}),
    ],
)
def test_files_are_called_after_their_seeds(
    call: Shell, url: str, tmp_path: Path, arguments: list[str], names: set[str]
) -> None:
    done = call("generate", *arguments, "--url", url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert files(tmp_path) == names
    for name in names:
        with Image.open(tmp_path / name) as image:
            ending = Path(name).suffix.lower().removeprefix(".")
            assert image.format == {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}[ending]


def test_what_is_there_is_kept_unless_it_is_named(call: Shell, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("mine", encoding="utf-8")
    check(call("generate", "a", "--url", url), 2, "a.png is there already", "--force")
    assert (tmp_path / "a.png").read_text(encoding="utf-8") == "mine"
    assert call("generate", "a", "-o", "a.png", "--url", url).returncode == 0
    assert call("generate", "a", "--force", "--url", url).returncode == 0


def test_paths_are_what_their_names_say(call: Shell, service: httpx.Client, url: str, tmp_path: Path) -> None:
    for arguments, query in (
        (["-o", "m.webp", "--loop"], "loop=true&format=webp"),
        (["--steps", "3"], "steps=3"),
        (
            ["-o", "x.png", "--format", "apng", "--via", "c", "--easing", "ease-in"],
            "via=c&easing=ease-in&format=apng",
        ),
    ):
        done = call("interpolate", "a", "b", *arguments, "--url", url)
        assert (done.returncode, done.stderr) == (0, b"")
        written = tmp_path / done.stdout.decode().strip()
        assert written.read_bytes() == service.get(f"/interpolate?from=a&to=b&{query}").content
    assert files(tmp_path) == {"m.webp", "a-b.png", "x.png"}


def test_a_path_without_a_service(shell: Shell, toy_model: Path, tmp_path: Path) -> None:
    done = shell("interpolate", "a", "b", "--steps", 100, "-o", "all.zip", "--model", toy_model)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(zipfile.ZipFile(tmp_path / "all.zip").namelist()) == 100


def test_a_terminal_shows_how_far_it_is_and_a_pipe_does_not(
    environment: dict[str, str], url: str, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*SEEDLING, "generate", "a", "-n", "200", "--size", "256", "-o", "many/", "--url", url],
        cwd=tmp_path,
        env=environment | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            shown += part
        assert process.stdout is not None
        first = resolve_seed("a")
        assert process.stdout.read().decode() == f"200 pictures, many/{first}.png to many/{first + 199}.png\n"
    os.close(ours)
    assert process.returncode == 0
    assert b"growing" in shown
    assert b"%" in shown


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
    script = shell("--show-completion", "bash").stdout.decode()
    assert "complete" in script or "COMP_WORDS" in script


def test_pictures_are_verified(call: Shell, url: str, service: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "ours.png").write_bytes(service.get("/images/7.png").content)
    Image.new("RGB", (16, 16)).save(tmp_path / "other.png")
    one = call("verify", "ours.png", "--url", url)
    assert (one.returncode, one.stdout.split()[:2]) == (0, [b"ours.png:", b"identical:"])
    both = call("verify", "ours.png", "other.png", "--url", url)
    assert both.returncode == 1
    assert b"other.png: unknown: " in both.stdout
    assert call("verify", "ours.png", "--url", url, "--seed", "8", "--model", "toy").returncode == 1
    assert call("verify", "nothing.png", "--url", url).returncode == 2
