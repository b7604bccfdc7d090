"""The README keeps its word: its commands are run, its files are there."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import StartService
from noise import save_noise
from PIL import Image

from app.settings import SHIPPED_MODEL, Settings
from models.contract import resolve_seed

README = Path("README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
CURLS = [line for line in LINES if line.startswith("curl ")]


@pytest.fixture(scope="module")
def shipped(start: StartService) -> Iterator[httpx.Client]:
    """The service with no settings at all: the shipped model."""
    with start() as client:
        yield client


@pytest.mark.parametrize("line", CURLS)
def test_every_curl_of_the_readme_works(shipped: httpx.Client, tmp_path: Path, line: str) -> None:
    edition = shipped.get("/v1/models").json()["data"][0]["edition"]
    command = line.replace("http://localhost:8000", str(shipped.base_url).rstrip("/"))
    command = command.replace("$EDITION", edition)
    done = subprocess.run(
        [*shlex.split(command), "--fail-with-body", "--silent"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    if "-o" not in line:
        assert done.stdout == "ok" or done.stdout.startswith("ok: ") or json.loads(done.stdout)
        return
    [file] = tmp_path.iterdir()
    if file.suffix == ".zip":
        assert len(zipfile.ZipFile(file).namelist()) == 16
    else:
        with Image.open(file) as img:
            assert img.format in {"PNG", "WEBP"}
            assert img.size[1] % 128 == 0


def test_every_program_and_every_seedling_command_of_the_readme_works(
    shipped: httpx.Client, tmp_path: Path
) -> None:
    programs = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    here = [program.replace("http://localhost:8000", str(shipped.base_url)) for program in programs]
    commands = [shlex.split(line, comments=True) for line in LINES if line.startswith("seedling ")]
    assert programs
    assert commands
    for words in [["-c", program] for program in here] + [["-m", *words] for words in commands]:
        subprocess.run(
            [sys.executable, "-W", "error", *words],
            check=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )
    for name in ("alice.png", "faces/alice.png", "faces/bob.png", "morph.webp"):
        assert (tmp_path / name).is_file()


def test_the_readme_s_training_and_export_options_exist(tmp_path: Path) -> None:
    pictures = save_noise(16, tmp_path / "pictures", side=40)
    [line] = [line for line in LINES if line.startswith("python -m training.train")]
    words = shlex.split(line.replace("~/pictures", str(pictures)), comments=True)
    small = ["--preset", "light", "--ngf", "4", "--ndf", "4", "--batch-size", "2", "--kimg", "0.002"]
    small += ["--quality-samples", "20"]
    done = subprocess.run(
        [sys.executable, *words[1:], *small], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in LINES if line.startswith("python -m export.to_onnx")]
    words = shlex.split(line, comments=True)
    done = subprocess.run(
        [sys.executable, *words[1:]], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.onnx").is_file()


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z][a-z-]+)", README)) <= targets


def test_every_setting_of_the_readme_exists() -> None:
    settings = {f"SEEDLING_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"SEEDLING_[A-Z_]+", README)) <= settings


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "models/pretrained/avatars/README.md"]
)
def test_every_link_leads_somewhere(page: str) -> None:
    text = Path(page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (Path(page).parent / link).exists()] == []


# --- The shipped model ------------------------------------------------------------------------------


def test_the_shipped_model_is_small_enough() -> None:
    assert SHIPPED_MODEL.stat().st_size <= 30_000_000


def test_the_sheet_shows_what_the_shipped_model_grows(shipped: httpx.Client) -> None:
    """Within a level of rounding, since the sheet may have been drawn on another processor."""
    with Image.open(SHIPPED_MODEL.with_name("sheet.png")) as sheet:
        wanted = np.asarray(sheet.convert("RGB")).astype(int)
    answer = shipped.post("/generate", json={"seed": 0, "count": 64})
    with Image.open(io.BytesIO(answer.content)) as img:
        found = np.asarray(img.convert("RGB"))
    assert np.abs(found - wanted).max() <= 1


def test_the_card_tells_the_hash_of_the_file_beside_it(shipped: httpx.Client) -> None:
    [model] = shipped.get("/v1/models").json()["data"]
    card = SHIPPED_MODEL.with_name("README.md").read_text(encoding="utf-8")
    assert model["sha256"] in card
    assert f"{model['training']['pictures_shown']:,}" in card


def test_the_shipped_pictures_differ(shipped: httpx.Client) -> None:
    faces = []
    for seed in ("alice", "bob", "carol", "dave"):
        answer = shipped.get(f"/images/{seed}.png")
        assert answer.headers["seedling-seed"] == str(resolve_seed(seed))
        with Image.open(io.BytesIO(answer.content)) as img:
            faces.append(np.asarray(img).astype(float))
    gaps = [np.abs(a - b).mean() for k, a in enumerate(faces) for b in faces[:k]]
    assert min(gaps) > 10  # of 255, on average over all pixels
