"""Pictures by the command ``seedling``: grown, written under their names, verified."""

import os
import pty
import subprocess
import zipfile
from pathlib import Path

import httpx
import pytest
from PIL import Image
from shell import SEEDLING, Shell, check, files

from models.contract import resolve_seed


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
