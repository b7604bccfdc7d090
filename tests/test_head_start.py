"""The model that is opened during the imports: taken where it is still the one, and else left."""

from pathlib import Path

import pytest

from app.head_start import HeadStart
from app.model import Opened, load
from app.settings import Settings
from models.contract import ModelFileError


def test_what_was_begun_is_taken_once(toy_model: Path) -> None:
    settings = Settings(model=toy_model)
    head_start = HeadStart(settings)
    assert head_start._opened is not None
    begun = head_start._opened.result()
    taken: list[Opened] = []

    def open_and_note(settings: Settings, path: Path) -> Opened:
        taken.append(head_start.open_file(settings, path))
        return taken[-1]

    first, second = (load(settings, toy_model, open_and_note) for _ in range(2))
    assert [one is begun for one in taken] == [True, False]
    assert first.sha256 == second.sha256 == load(settings, toy_model).sha256
    assert first.runners[0] is not second.runners[0]


def test_a_file_that_was_exchanged_meanwhile_is_opened_anew(toy_model: Path, tmp_path: Path) -> None:
    served = tmp_path / "model.onnx"
    served.write_bytes(toy_model.read_bytes())
    settings = Settings(model=served)
    head_start = HeadStart(settings)
    new = tmp_path / "new"
    new.write_bytes(b"no model")
    new.replace(served)
    with pytest.raises(ModelFileError, match="cannot be served"):
        load(settings, served, head_start.open_file)


def test_a_missing_file_is_told_as_without_it(tmp_path: Path) -> None:
    settings = Settings(model=tmp_path / "none.onnx")
    with pytest.raises(ModelFileError, match="it cannot be read"):
        load(settings, None, HeadStart(settings).open_file)
