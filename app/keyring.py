"""Who may ask: a file of names and hashes of their keys, read again when it changes."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.model_files import take_stamp
from models.contract import SeedlingError

log = logging.getLogger("seedling")

PREFIX = "seedling_"
"""How every key begins, so that what looks for secrets in what is published finds them."""

LOOK_S = 1.0
"""How often the file is looked at while there are requests, in seconds."""

_LINE = re.compile(r"([a-z0-9-]{1,64}):(?:(key|admin):([0-9a-f]{64})|(sign):([A-Za-z0-9_-]{43,}))")

EXPECTED = "name:key:HASH, name:admin:HASH or name:sign:SECRET, as python -m app.keys writes them"


class KeyFileError(SeedlingError):
    """A file of keys that cannot be read."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    admin: bool = False
    """Whether calls for operators are open to it."""
    until: int | None = None
    """When the permission ends, in seconds since 1970, if it is a signed address's; None for a key's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the file."""

    kind: str
    """``key``, ``admin`` or ``sign``."""
    secret: bytes
    """SHA-256 of a key; or what addresses are signed with, as it is."""


Entries = Mapping[str, Sequence[Entry]]
Stamp = tuple[int, int, int]


def hash_key(key: str) -> bytes:
    """Returns what is kept of a key: 32 bytes.

    Plain SHA-256, for a key is 256 random bits and not a password: nothing is guessed, however fast.
    """
    return hashlib.sha256(key.encode()).digest()


def parse(text: str) -> Entries:
    """Reads the lines of a file of keys; ``#`` begins a comment.

    Raises:
        KeyFileError: If a line is none. It names the line's number and never what is in it.
    """
    entries: dict[str, list[Entry]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        found = _LINE.fullmatch(content)
        if found is None:
            raise KeyFileError(f"line {number}: expected {EXPECTED}")
        name, hashed, digest, sign, secret = found.groups()
        entry = Entry(hashed, bytes.fromhex(digest)) if hashed else Entry(sign, secret.encode())
        entries.setdefault(name, []).append(entry)
    return entries


class Keyring:
    """The keys that are good now.

    Args:
        path: The file.

    Raises:
        KeyFileError: If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp, self._entries = _read(path)
        self._looked = time.monotonic()
        self._fault = ""
        self._tell()

    def caller(self, key: str) -> Caller | None:
        """Returns whose key it is, or None.

        The name, which is no secret, is looked up; the hashes of its keys are compared in constant time.
        """
        digest = hash_key(key)
        name = key.removeprefix(PREFIX).partition("_")[0]
        good = [
            entry
            for entry in self._entries.get(name, ())
            if entry.kind != "sign" and hmac.compare_digest(entry.secret, digest)
        ]
        return Caller(name, admin=any(entry.kind == "admin" for entry in good)) if good else None

    def signing_secrets(self, name: str) -> list[bytes]:
        """Returns what addresses of a name may be signed with."""
        return [entry.secret for entry in self._entries.get(name, ()) if entry.kind == "sign"]

    def refresh(self) -> None:
        """Reads the file again if it has changed; a file that is wrong changes nothing."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        try:
            if take_stamp(self._path) == self._stamp:
                return
            self._stamp, self._entries = _read(self._path)
        except (KeyFileError, OSError) as error:
            self._complain(str(error))
        else:
            self._fault = ""
            self._tell()

    def _complain(self, fault: str) -> None:
        """Logs what is wrong with the file, each fault once."""
        if fault != self._fault:
            log.error("%s; the keys that were good before are still", fault)
        self._fault = fault

    def _tell(self) -> None:
        count = sum(map(len, self._entries.values()))
        log.info("keys: %d, of %d names, from %s", count, len(self._entries), self._path)


def _read(path: Path) -> tuple[Stamp, Entries]:
    try:
        stamp, text = take_stamp(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise KeyFileError(f"the file of keys {path} cannot be read: {why}") from None
    try:
        return stamp, parse(text)
    except KeyFileError as error:
        raise KeyFileError(f"the file of keys {path}, {error}") from None
