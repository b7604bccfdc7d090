"""Model files as they lie on disk: found in a folder and known by their cards, without loading them."""

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.contract import ModelCard, ModelFileError, SeedlingError

METADATA_PROPS, KEY, VALUE = 14, 1, 2
"""The field of an ONNX file that holds its metadata, pair by pair, and the fields of a pair."""

VARINT, BYTES = 0, 2
SIZES = {1: 8, 5: 4}
"""How protobuf numbers the ways in which a field is written; two of them have a fixed number of bytes."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file as it was seen."""

    path: Path
    stamp: tuple[int, int, int]
    """When it was changed, in ns, its bytes and its inode: other content has other numbers."""
    card: ModelCard | None
    error: str = ""
    """Why there is no card."""

    @property
    def created(self) -> int:
        """When the file was written, in seconds since 1970."""
        return self.stamp[0] // 1_000_000_000


def look(root: Path, known: Mapping[Path, Sighting]) -> dict[Path, Sighting]:
    """Looks at what there is to serve.

    Args:
        root: A model file, or a folder of ``*.onnx`` and of folders that hold some; hidden ones do not count.
        known: What was seen before; a file that has not changed is not read again.

    Returns:
        What is there, by path, in the order of the paths.
    """
    seen: dict[Path, Sighting] = {}
    for path in _find(root):
        try:
            stamp = take_stamp(path)
        except OSError:  # it is not there, or not any more
            continue
        old = known.get(path)
        seen[path] = old if old is not None and old.stamp == stamp else _see(path, stamp)
    return seen


def take_stamp(path: Path) -> tuple[int, int, int]:
    """Returns what changes with a file's content: time in ns, bytes, inode.

    Raises:
        OSError: If there is no such file.
    """
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _find(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    found = [*root.glob("*.onnx"), *root.glob("*/*.onnx")]
    return sorted(
        path
        for path in found
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _see(path: Path, stamp: tuple[int, int, int]) -> Sighting:
    try:
        with path.open("rb") as file:
            return Sighting(path, stamp, _read_card(file))
    except OSError as error:
        return Sighting(path, stamp, None, f"it cannot be read: {error.strerror}")
    except (SeedlingError, ValueError, RecursionError) as error:  # not UTF-8; too many brackets
        return Sighting(path, stamp, None, str(error))


def _read_card(file: BinaryIO) -> ModelCard:
    card = ModelCard.from_metadata(dict(_metadata(file)))
    if not isinstance(card.name, str) or not card.name:
        raise ModelFileError(f"its card has the name {card.name!r}, expected a text")
    return card


def _metadata(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Reads the metadata of an ONNX file and passes over the rest, weights among it.

    Source: https://protobuf.dev/programming-guides/encoding, and ``ModelProto`` in ONNX's onnx.proto.
    """
    for number, length in _fields(file, os.fstat(file.fileno()).st_size):
        if number == METADATA_PROPS:
            content = io.BytesIO(file.read(length))
            pair = {field: content.read(size).decode() for field, size in _fields(content, length)}
            yield pair.get(KEY, ""), pair.get(VALUE, "")


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Walks a message up to its end: yields each field that has a length, and the file is at its start.

    Raises:
        ModelFileError: If it is no protobuf, or is cut short.
    """
    while file.tell() < end:
        number, kind = divmod(_varint(file), 8)
        if number == 0 or kind not in {VARINT, BYTES, *SIZES}:
            raise ModelFileError("it is not an ONNX file")
        value = _varint(file) if kind in {VARINT, BYTES} else 0
        length = value if kind == BYTES else SIZES.get(kind, 0)
        after = file.tell() + length
        if after > end:
            raise ModelFileError("it is cut short, or still being written")
        if kind == BYTES:
            yield number, length
        file.seek(after)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ModelFileError("it is cut short, or still being written")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ModelFileError("it is not an ONNX file")
