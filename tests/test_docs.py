"""The pages in docs/ keep their word: their commands and programs are run, what they name is there."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import StartService

PAGES = sorted(Path("docs").glob("*.md"))
DECISIONS = sorted(Path("docs/adr").glob("*.md"))
RUN = ("curl ", "seedling ")
"""How a line begins that is run; commands that train, install or measure have tests of their own."""
ADDRESS = "http://localhost:8000"


def blocks(page: Path, language: str) -> list[str]:
    """Returns the code of a page that is in a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def commands(page: Path) -> list[str]:
    """Returns the commands of a page that are run, a line each."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(RUN)]


@pytest.fixture(scope="module")
def shipped(start: StartService) -> Iterator[httpx.Client]:
    """The service with the shipped model."""
    with start() as client:
        yield client


@pytest.fixture
def environment(shipped: httpx.Client) -> dict[str, str]:
    """What a reader's shell has: the commands of the environment, and the edition in a variable."""
    edition = shipped.get("/v1/models").json()["data"][0]["edition"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "EDITION": edition, "PYTHONPATH": str(Path.cwd())}


def run(words: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Runs what a page shows, in a folder of its own."""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=120
    )
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_every_command_of_a_page_works(
    page: Path, shipped: httpx.Client, environment: dict[str, str], tmp_path: Path
) -> None:
    for line in commands(page):
        here = line.replace(ADDRESS, str(shipped.base_url).rstrip("/"))
        here = re.sub(r"^curl ", "curl --fail-with-body --silent --show-error ", here)
        run(["bash", "-o", "pipefail", "-c", here], tmp_path, environment)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_every_program_of_a_page_works(
    page: Path, shipped: httpx.Client, environment: dict[str, str], tmp_path: Path
) -> None:
    for program in blocks(page, "python"):
        here = program.replace(ADDRESS, str(shipped.base_url).rstrip("/"))
        here = here.replace("localhost:8000", f"{shipped.base_url.host}:{shipped.base_url.port}")
        run([sys.executable, "-W", "error", "-c", here], tmp_path, environment)


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS, Path("README.md"), Path("CONTRIBUTING.md")], ids=str)
def test_modules_targets_and_tests_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m ((?:app|bench|export|seedling|training)\b(?:\.\w+)*)", text))
    assert [name for name in sorted(modules) if importlib.util.find_spec(name) is None] == []
    targets = re.findall(r"^([a-z-]+):", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    code = "\n".join([*re.findall(r"`(make [^`\n]*)`", text), *blocks(page, "(?:sh|text)")])
    assert set(re.findall(r"^(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]+)", code, re.MULTILINE)) <= {*targets}
    files = {file.name: file.read_text(encoding="utf-8") for file in Path("tests").glob("*.py")}
    tests = " ".join(re.findall(r"def (test_\w+)", " ".join(files.values()))) + " "
    for name, rest in re.findall(r"`(test_\w+)(\.py|…|)`", text):
        assert f"{name}.py" in files if rest == ".py" else name + ("" if rest else " ") in tests


def test_the_site_builds_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    """Strict mode refuses a link to what is not there."""
    shutil.copytree("docs", tmp_path / "docs")
    shutil.copy("zensical.toml", tmp_path)  # a link would be followed, and the site built elsewhere
    run([str(Path(sys.executable).with_name("zensical")), "build", "--strict"], tmp_path, dict(os.environ))
    pages = list((tmp_path / "site").glob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert (
            re.findall(r'<(?:script|link rel="stylesheet"|img)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', html)
            == []
        )


def test_every_page_is_in_the_menu() -> None:
    menu = Path("zensical.toml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f'"{page.name}"' not in menu] == []
