"""Which file is which model: names are given to the files of a folder, and stay where they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from app.engine import Engine
from app.model_files import Sighting, look

Status = Literal["ready", "loading", "broken"]

GONE = "its file is gone; what was loaded from it goes on being served"


@dataclass(eq=False, slots=True)
class Entry:
    """A model by name, or a file that has no name of its own."""

    name: str
    file: Sighting
    """What is on the disk for it; without a card where that is broken or gone."""
    engine: Engine | None = None
    """What serves it: of an older file while the new one is being loaded, or is broken or gone."""
    due: bool = True
    """Whether the file is yet to be loaded."""
    error: str = ""
    """What is wrong with the file."""

    @property
    def status(self) -> Status:
        """Whether pictures can be had."""
        if self.engine is not None and not self.engine.fault:
            return "ready"
        return "broken" if self.error else "loading"

    def take(self, file: Sighting, error: str = "") -> None:
        """Notes what is on the disk now, to be loaded if nothing is wrong with it."""
        if file != self.file:
            self.file, self.due, self.error = file, not error, error


class Shelf:
    """Models by name, and the files that cannot be one.

    Args:
        root: A model file, or a folder of them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._is_folder = root.is_dir()
        self.named: dict[str, Entry] = {}
        self.strays: list[Entry] = []
        """Files without a card, or with another file's name; called by their paths."""

    def __iter__(self) -> Iterator[Entry]:
        yield from self.named.values()
        yield from self.strays

    def look(self, *, thorough: bool = False) -> dict[Path, Sighting]:
        """Looks at the disk; thoroughly, it reads again even what has not changed. Changes nothing here.

        Raises:
            OSError: If the folder is not there any more, as when a network mount fails.
        """
        if self._is_folder:
            self.root.stat()
        known = {} if thorough else {entry.file.path: entry.file for entry in self}
        return look(self.root, known)

    def arrange(self, seen: Mapping[Path, Sighting], keep: str = "") -> list[Entry]:
        """Gives files to names. A name stays with its file, and else takes the first file by path.

        Args:
            seen: What is on the disk.
            keep: The name that stays when its file goes.

        Returns:
            What is not here any more.
        """
        self.strays = []
        claims: dict[str, list[Sighting]] = {}
        for file in seen.values():
            if file.card is not None:
                claims.setdefault(file.card.name, []).append(file)
        for name, files in claims.items():
            self._claim(name, files)
        left = {entry.file.path: entry for name, entry in self.named.items() if name not in claims}
        for path, file in seen.items():
            if file.card is None:
                self._see_broken(file, left.pop(path, None))
        return [entry for entry in left.values() if not self._stays(entry, keep)]

    def _claim(self, name: str, files: list[Sighting]) -> None:
        entry = self.named.setdefault(name, Entry(name, files[0]))
        mine = next((file for file in files if file.path == entry.file.path), files[0])
        entry.take(mine)
        for file in files:
            if file is not mine:
                self._set_aside(file, f"the name {name!r} belongs to {self._short(mine.path)}")

    def _see_broken(self, file: Sighting, entry: Entry | None) -> None:
        """Leaves a model in place whose file is broken, perhaps because it is being written."""
        if entry is not None and entry.engine is not None:
            entry.take(file, file.error)
            return
        if entry is not None:
            del self.named[entry.name]
        self._set_aside(file, file.error)

    def _stays(self, entry: Entry, keep: str) -> bool:
        """Tells whether a model whose file is gone stays; if not, takes it out."""
        if entry.name == keep:
            entry.take(replace(entry.file, card=None), GONE)
            return True
        del self.named[entry.name]
        return False

    def _set_aside(self, file: Sighting, why: str) -> None:
        self.strays.append(Entry(self._short(file.path), file, due=False, error=why))

    def _short(self, path: Path) -> str:
        """Returns a path as clients may see it."""
        return path.name if path == self.root else str(path.relative_to(self.root))
