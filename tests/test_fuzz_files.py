"""Whatever is in a file that people write, or that was damaged, it is read or told, and no fault of ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzzing import FEW, JSON, MANY, run
from hypothesis import strategies as st

from app import signing
from app.configuration import ConfigurationError, read
from app.keyring import KeyFileError, Keyring, parse
from app.model_files import look
from app.settings import Settings
from training import journal

LINES = st.lists(st.text(max_size=50) | st.sampled_from(["a:key:" + "0" * 64, "b:sign:x", "#"]), max_size=6)
QUERIES = st.binary(max_size=60) | st.builds(
    lambda until, sig: b"a=1&key=b&expires=%b&sig=%b" % (str(until).encode(), sig),
    st.integers(-1, 10**20),
    st.binary(max_size=50) | st.just(b"A" * 43),
)
CARDS = st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode())
JOURNAL = st.lists(
    st.binary(max_size=40)
    | JSON.map(lambda one: json.dumps(one).encode())
    | st.fixed_dictionaries(
        {"step": JSON, "kind": st.sampled_from([*journal.KINDS, "x"]), "values": JSON}
    ).map(lambda one: json.dumps(one).encode())
    | st.just(9_999).map(lambda depth: b"[" * depth),
    max_size=5,
)


def read_keys(_: Path, lines: list[str]) -> None:
    try:
        parse("\n".join(lines))
    except KeyFileError:
        return


def check_signature(folder: Path, query: bytes) -> None:
    file = folder / "keys"
    file.write_text(f"b:sign:{'s' * 43}\n", encoding="utf-8")
    try:
        assert signing.check(Keyring(file), b"/images/1.png", query) is None
    except signing.SignatureError:
        return


def read_environment(folder: Path, content: str) -> None:
    (folder / ".env").write_text(content, encoding="utf-8")
    try:
        read(Settings, [])
    except ConfigurationError:
        return


def see_model(folder: Path, card: bytes) -> None:
    """A file whose metadata is anything, and one that is anything."""
    pair = b"\x0a\x08seedling\x12" + _varint(len(card)) + card
    (folder / "a.onnx").write_bytes(b"\x72" + _varint(len(pair)) + pair)
    (folder / "b.onnx").write_bytes(card)
    assert all(seen.card is not None or seen.error for seen in look(folder, {}).values())


def _varint(number: int) -> bytes:
    some = b""
    while number > 0x7F:
        some += bytes([number & 0x7F | 0x80])
        number >>= 7
    return some + bytes([number])


def read_log(folder: Path, lines: list[bytes]) -> None:
    (folder / "log.jsonl").write_bytes(b"\n".join([*lines, b""]))
    journal.read_journal(folder)


OF_FILES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], None]]] = {
    "keys": (LINES, read_keys),
    "signatures": (QUERIES, check_signature),
    "environments": (
        st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
        | st.tuples(st.sampled_from(["PORT", "MODEL", "KEYS", "TIMEOUT_MS", "X"]), st.text(max_size=20)).map(
            lambda pair: f"SEEDLING_{pair[0]}={pair[1].encode('utf-8', 'replace').decode()}"
        ),
        read_environment,
    ),
    "cards": (CARDS, see_model),
    "journals": (JOURNAL, read_log),
}


@pytest.mark.parametrize("name", OF_FILES)
def test_whatever_is_in_a_file_is_read_or_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strategy, trial = OF_FILES[name]
    run(FEW, strategy, lambda case: trial(tmp_path, case))


@pytest.mark.soak
@pytest.mark.parametrize("name", OF_FILES)
def test_many_files_are_read_or_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strategy, trial = OF_FILES[name]
    print(f"{name}: {run(MANY, strategy, lambda case: trial(tmp_path, case))} cases")  # noqa: T201
