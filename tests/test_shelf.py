"""Which file is which model: what a folder gives names to, and what happens when files come and go."""

import json
from pathlib import Path

import onnx
import pytest

from app import model_files
from app.shelf import GONE, Shelf
from models.contract import ModelCard, ModelSpec


def card(name: object) -> dict[str, str]:
    made = ModelCard(name="", spec=ModelSpec(), weights_sha256="", precision="float32").to_metadata()
    return {"seedling": json.dumps(json.loads(made["seedling"]) | {"name": name})}


def write(path: Path, name: object, *, weights: int = 10) -> Path:
    """Writes a file with a card, and of a graph no more than bytes that stand for it."""
    model = onnx.ModelProto(ir_version=10, doc_string="x" * weights)
    onnx.helper.set_model_props(model, {"other": "1"} | card(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def fill(folder: Path, **names: str) -> Shelf:
    for file, name in names.items():
        write(folder / f"{file}.onnx", name)
    shelf = Shelf(folder)
    shelf.arrange(shelf.look())
    return shelf


def named(shelf: Shelf) -> dict[str, str]:
    return {name: entry.file.path.name for name, entry in shelf.named.items()}


def test_files_are_named_by_their_cards_one_folder_deep(tmp_path: Path) -> None:
    write(tmp_path / "one" / "x.onnx", "deep")
    for unseen in (".hidden.onnx", ".hidden/x.onnx", "one/two/x.onnx", "x.txt"):
        write(tmp_path / unseen, "unseen")
    shelf = fill(tmp_path, a="cats", b="dogs")
    assert named(shelf) == {"cats": "a.onnx", "dogs": "b.onnx", "deep": "x.onnx"}
    assert not shelf.strays
    assert {entry.status for entry in shelf} == {"loading"}


def test_one_file_is_a_shelf_of_one(tmp_path: Path) -> None:
    shelf = Shelf(write(tmp_path / "any.name", "cats"))
    shelf.arrange(shelf.look())
    assert named(shelf) == {"cats": "any.name"}


def test_a_card_is_read_past_weights_and_not_for_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", "cats", weights=5_000_000)
    [seen] = model_files.look(path, {}).values()
    assert seen.card is not None
    assert seen.card.name == "cats"
    first = onnx.helper.make_model(onnx.GraphProto())  # the metadata before the rest, too
    path.write_bytes(
        onnx.ModelProto(
            metadata_props=[onnx.StringStringEntryProto(key="seedling", value=card("dogs")["seedling"])]
        ).SerializeToString()
        + first.SerializeToString()
    )
    [seen] = model_files.look(path, {}).values()
    assert seen.card is not None
    assert seen.card.name == "dogs"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no 'seedling' metadata"),
        (b"not a model", "not an ONNX file"),
        (b"\x00\x00\x00\x00", "not an ONNX file"),
        (b"\xff" * 40, "not an ONNX file"),
        (b"\x3a\xff\xff\xff\xff\x0f", "cut short"),
        (b"\x08", "cut short"),
        (b"\x72\x04\x0a\x02\xff\xff", "utf-8"),
    ],
)
def test_what_is_no_model_is_set_aside_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    shelf = fill(tmp_path, good="cats")
    [stray] = shelf.strays
    assert (stray.name, stray.status) == ("bad.onnx", "broken")
    assert why in stray.error
    assert list(shelf.named) == ["cats"]


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.onnx", "cats").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x.onnx").write_bytes(whole[:length])
        [seen] = model_files.look(tmp_path, {}).values()
        assert seen.card is None, length
        assert seen.error


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: object) -> None:
    write(tmp_path / "x.onnx", name)
    [seen] = model_files.look(tmp_path, {}).values()
    assert seen.card is None
    assert repr(name) in seen.error


def test_a_name_belongs_to_the_first_file_and_stays_there(tmp_path: Path) -> None:
    shelf = fill(tmp_path, b="cats", c="cats")
    assert named(shelf) == {"cats": "b.onnx"}
    write(tmp_path / "a.onnx", "cats")
    shelf.arrange(shelf.look())
    assert named(shelf) == {"cats": "b.onnx"}
    assert {stray.name: stray.error for stray in shelf.strays} == dict.fromkeys(
        ["a.onnx", "c.onnx"], "the name 'cats' belongs to b.onnx"
    )
    (tmp_path / "b.onnx").unlink()
    assert shelf.arrange(shelf.look()) == []
    assert named(shelf) == {"cats": "a.onnx"}
    assert shelf.named["cats"].due


def test_a_file_that_has_not_changed_is_not_due_again(tmp_path: Path) -> None:
    shelf = fill(tmp_path, a="cats")
    entry = shelf.named["cats"]
    entry.due, entry.error = False, "it could not be loaded"
    shelf.arrange(shelf.look())
    assert (entry.due, entry.status) == (False, "broken")
    write(tmp_path / "a.onnx", "cats", weights=11)
    shelf.arrange(shelf.look())
    assert (entry.due, entry.status) == (True, "loading")


def test_a_model_whose_file_goes_is_given_up_but_for_the_one_that_is_kept(tmp_path: Path) -> None:
    shelf = fill(tmp_path, a="cats", b="dogs")
    content = (tmp_path / "a.onnx").read_bytes()
    (tmp_path / "a.onnx").unlink()
    (tmp_path / "b.onnx").unlink()
    assert [entry.name for entry in shelf.arrange(shelf.look(), keep="cats")] == ["dogs"]
    assert shelf.named["cats"].error == GONE
    (tmp_path / "a.onnx").write_bytes(content)
    shelf.arrange(shelf.look(), keep="cats")
    assert (shelf.named["cats"].error, shelf.named["cats"].due) == ("", True)


def test_a_folder_that_goes_takes_nothing_with_it(tmp_path: Path) -> None:
    write(tmp_path / "mount" / "a.onnx", "cats")
    shelf = fill(tmp_path / "mount")
    (tmp_path / "mount").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        shelf.look()
