"""Finds the pictures of a folder or a zip, and works on many; trusts no name and no declared size."""

import contextlib
import dataclasses
import io
import os
import re
import warnings
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.pictures import WHITE, PictureError, load_picture, picture_reasons

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Names of pictures end in one of these, in any case."""

MAX_MEMBER_BYTES = 256 * 2**20
"""Most bytes of one picture in a zip."""

AHEAD = 8
"""Pictures that are worked on before they are asked for, at most, for each thread."""

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that its name says is a picture."""

    name: str
    """Path inside the folder or zip, with forward slashes; relative, and never upwards."""
    open: Callable[[], BinaryIO]
    """Opens the file for reading; may raise ``PictureError`` or anything that a zip raises."""

    def load(self, resolution: int, background: tuple[int, int, int] = WHITE) -> NDArray[np.uint8]:
        """Reads the picture as ``load_picture`` does."""
        with picture_reasons(), self.open() as stream:
            return load_picture(stream, resolution=resolution, background=background)


def map_pictures(
    work: Callable[[T], R], items: Sequence[T], workers: int | None = None
) -> Iterator[R | PictureError]:
    """Does the same work on many pictures, in threads, since Pillow decodes without Python's lock.

    Args:
        work: What to do with one of ``items``; it may raise ``PictureError``.
        items: Any number of things.
        workers: Number of threads; by default, that of processors.

    Yields:
        For each item, in order: what ``work`` returned, or the ``PictureError`` that it raised.
    """

    def attempt(item: T) -> R | PictureError:
        try:
            return work(item)
        except PictureError as error:
            return error

    workers = workers or os.cpu_count() or 1
    # Set here, around all threads, because the filters belong to the whole process.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # a picture that decodes despite oddities is fine
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Not the pool's own map, which keeps the results of all items at once, where they are taken slowly.
        begun = (pool.submit(attempt, item) for item in items)
        ahead = deque(islice(begun, AHEAD * workers))
        try:
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(islice(begun, 1))
                yield result
        finally:
            for future in ahead:
                future.cancel()


@contextlib.contextmanager
def picture_files(source: Path) -> Iterator[list[PictureFile]]:
    """Finds the pictures of a folder, at any depth, or of a zip, which stays open meanwhile.

    Hidden files, ``__MACOSX`` and linked folders are left out.

    Args:
        source: Folder or zip.

    Yields:
        The files, in the order of their names.

    Raises:
        PictureError: If the source does not exist, is neither folder nor zip, or cannot be listed.
    """
    with contextlib.ExitStack() as stack:
        try:
            if source.is_dir():
                found = _in_folder(source)
            else:
                found = _in_zip(stack.enter_context(zipfile.ZipFile(source)))
        except FileNotFoundError:
            raise PictureError(f"{source} does not exist") from None
        except (OSError, zipfile.BadZipFile) as error:
            hint = f"; give the folder that it is in: {source.parent}" if _is_picture(source.name) else ""
            raise PictureError(f"{source} is not a readable folder or zip: {error}{hint}") from error
        yield sorted((file for file in found if _is_picture(file.name)), key=lambda file: file.name)


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in SUFFIXES


def _in_folder(folder: Path) -> list[PictureFile]:
    def fail(error: OSError) -> None:
        raise error

    paths = [Path(root, name) for root, _, names in os.walk(folder, onerror=fail) for name in names]
    return [
        PictureFile(path.relative_to(folder).as_posix(), partial(_open_file, path))
        for path in paths
        if path.is_file() or not path.exists()  # no pipes, which would block; broken links are reported
    ]


def _open_file(path: Path) -> BinaryIO:
    return path.open("rb")


def _in_zip(archive: zipfile.ZipFile) -> list[PictureFile]:
    return [
        PictureFile(_clean_name(info.filename), partial(_open_member, archive, info))
        for info in archive.infolist()
        if not info.is_dir()
    ]


def _clean_name(name: str) -> str:
    parts = re.split(r"[/\\]", re.sub(r"^[A-Za-z]:", "", name))
    kept = [re.sub(r'[<>:"|?*\x00-\x1f\x7f]', "_", part) for part in parts if part not in {"", ".", ".."}]
    return "/".join(kept)


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if info.file_size > MAX_MEMBER_BYTES:
        raise PictureError(f"{info.file_size:,} bytes is over the limit of {MAX_MEMBER_BYTES:,}")
    with archive.open(info) as member:
        return io.BytesIO(member.read(info.file_size))  # bounded: the data may unpack to more than declared
