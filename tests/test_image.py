"""The image as far as it can be tested without building it; ``make image-test`` builds and runs it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings

DOCKERFILE = Path("Dockerfile").read_text(encoding="utf-8")
SENT = re.findall(r"^!(.+)$", Path(".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is sent to the builder, and nothing else."""
    folder = tmp_path_factory.mktemp("context")
    for path in map(Path, SENT):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, place)
    return folder


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_sent(context: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert len(sources) > 5
    for source in sources:
        assert (context / source).exists(), source


@pytest.mark.parametrize(
    ("words", "shown"), [(["app", "--help"], "--model"), (["seedling", "models"], "avatars")]
)
def test_what_is_sent_is_enough_for_the_service_and_the_command(
    context: Path, words: list[str], shown: str
) -> None:
    """In a folder that has no more than the image, where the project is not installed."""
    code = (
        "import runpy, sys; sys.path = [p for p in sys.path if p != sys.argv[1]]; sys.path.insert(0, '.');"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
        "sys.argv = sys.argv[2:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path.cwd()), *words],
        cwd=context,
        env=env | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert shown in done.stdout


def test_variables_of_the_image_are_settings() -> None:
    found = re.findall(r"\bSEEDLING_(\w+)=", DOCKERFILE)
    assert {"HOST", "PORT", "PROVIDER"} <= set(found)
    assert {name.lower() for name in found} <= set(Settings.model_fields)
