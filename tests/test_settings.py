"""What an operator sets, and what is told of it: help, errors, warnings, the page that lists all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from live import living
from pydantic import SecretStr

from app.configuration import (
    ConfigurationError,
    as_variables,
    changed,
    flag,
    read,
    unknown_variables,
    variable,
)
from app.settings import Settings

ROOT = Path.cwd()
PAGE = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")


class Guarded(Settings):
    """Settings of which one is a secret."""

    key: SecretStr = SecretStr("")
    """A secret."""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without settings, in a folder without a file of them."""
    for name in os.environ:
        if name.upper().startswith("SEEDLING_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_flags_come_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "SEEDLING_PORT=1\nSEEDLING_LANES=1\nSEEDLING_THREADS=1\nOTHER=1\n", encoding="utf-8"
    )
    monkeypatch.setenv("SEEDLING_PORT", "2")
    monkeypatch.setenv("SEEDLING_LANES", "2")
    settings = read(Settings, ["--port", "3"])
    assert (settings.port, settings.lanes, settings.threads) == (3, 2, 1)


@pytest.mark.parametrize(
    ("name", "value", "expected", "got"),
    [
        ("port", "65536", "less than or equal to 65535", "'65536'"),
        ("max_count", "many", "a valid integer", "'many'"),
        ("provider", "tpu", "'auto', 'cpu', 'cuda' or 'openvino'", "'tpu'"),
        ("watch", "maybe", "a valid boolean", "'maybe'"),
        ("batch_sizes", "1,0", "greater than 0", "'0'"),
        ("max_queue", "3", "at least 64", "3"),
    ],
)
def test_an_error_names_flag_and_variable_and_what_was_got_and_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str, got: str
) -> None:
    monkeypatch.setenv(variable(Settings, name), value)
    with pytest.raises(ConfigurationError) as error:
        read(Settings, [])
    [line] = str(error.value).splitlines()
    assert line.startswith(f"SEEDLING_{name.upper()} (--{name.replace('_', '-')}): ")
    assert expected in line
    assert line.endswith(f", got {got}")


def test_every_error_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLING_PORT", "x")
    monkeypatch.setenv("SEEDLING_PNG", "huge")
    with pytest.raises(ConfigurationError) as error:
        read(Settings, [])
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "sizes"), [("1,4", (1, 4)), ("[1, 4]", (1, 4)), ("16", (16,)), ("", ()), ("[]", ())]
)
def test_a_list_is_read_with_and_without_brackets(
    monkeypatch: pytest.MonkeyPatch, text: str, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setenv("SEEDLING_BATCH_SIZES", text)
    assert read(Settings, []).batch_sizes == sizes
    monkeypatch.delenv("SEEDLING_BATCH_SIZES")
    assert read(Settings, [f"--batch-sizes={text}"]).batch_sizes == sizes


def test_a_misspelt_variable_is_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLING_MAX_QUE", "1")
    monkeypatch.setenv("SEEDLING_QQQ", "1")
    monkeypatch.setenv("SEEDLING_PORT", "1")
    monkeypatch.setenv("SEEDLING_CLIENT_KEY", "the command's own")
    Path(".env").write_text("SEEDLING_TREADS=1\nOTHER=1\n", encoding="utf-8")
    assert unknown_variables(Settings) == [
        "SEEDLING_MAX_QUE is not a setting; is SEEDLING_MAX_QUEUE meant?",
        "SEEDLING_QQQ is not a setting",
        "SEEDLING_TREADS is not a setting; is SEEDLING_THREADS meant?",
    ]


def test_what_is_told_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(Settings, ["--batch-sizes", "1,4", "--no-watch", "--model", "/a b", "--max-count=8"])
    assert changed(settings) == [
        "SEEDLING_MODEL=/a b",
        "SEEDLING_WATCH=false",
        "SEEDLING_BATCH_SIZES=1,4",
        "SEEDLING_MAX_COUNT=8",
    ]
    for name, value in as_variables(settings).items():
        monkeypatch.setenv(name, value)
    assert read(Settings, []) == settings


def test_defaults_are_not_told() -> None:
    assert changed(read(Settings, [])) == []


def test_a_secret_is_told_to_workers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLING_KEY", "hunter2")
    settings = read(Guarded, [])
    assert settings.key.get_secret_value() == "hunter2"
    assert changed(settings) == ["SEEDLING_KEY=**********"]
    assert as_variables(settings)["SEEDLING_KEY"] == "**********"
    assert as_variables(settings, secrets=True)["SEEDLING_KEY"] == "hunter2"


def test_help_shows_each_setting_with_its_variable_default_and_choices() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
    )
    shown = " ".join(done.stdout.split())
    for name, field in Settings.model_fields.items():
        assert field.description is not None
        assert f"{flag(name)} " in shown
        assert f"[env: {variable(Settings, name)}]" in shown
        assert f"(default: {field.default})" in shown
        assert " ".join(field.description.split()) in shown
    for choices in ("{auto,cpu,cuda,openvino}", "{auto,float32,tf32,bfloat16}", "{fast,small}", "--no-watch"):
        assert choices in shown


def test_the_page_for_operators_lists_every_setting_as_it_is() -> None:
    rows = {
        found[1]: found
        for found in re.finditer(r"^\| `(\w+)`, `(--[\w-]+)` \| `?(.*?)`? \| (.*) \|$", PAGE, re.MULTILINE)
    }
    assert list(rows) == [variable(Settings, name) for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        _, option, default, text = rows[variable(Settings, name)].groups()
        assert option == flag(name)
        assert text == " ".join(str(field.description).split())
        if name == "model":
            assert default == "the shipped avatars"
        else:
            assert default == (as_variables(Settings())[variable(Settings, name)] or "empty")


def test_the_service_tells_its_settings_and_what_is_misspelt(tmp_path: Path, toy_model: Path) -> None:
    with living(
        tmp_path / "run", {"SEEDLING_MAX_STEP": "8", "PYTHONPATH": str(ROOT)}, model=toy_model, cache_mb=1
    ) as live:
        assert f"INFO: settings, but for defaults:\n  SEEDLING_MODEL={toy_model}\n" in live.log
        assert "  SEEDLING_CACHE_MB=1\n" in live.log
        assert "WARNING: SEEDLING_MAX_STEP is not a setting; is SEEDLING_MAX_STEPS meant?" in live.log
