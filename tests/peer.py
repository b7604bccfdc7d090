"""A client that is used by hand, byte by byte, and what the system says of a process."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx


class Peer:
    """One connection."""

    def __init__(self, client: httpx.Client, receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(30)
        where = urlsplit(str(client.base_url))
        self.socket.connect((where.hostname, where.port))
        self.stream = self.socket.makefile("rb")

    @property
    def port(self) -> int:
        """Its own port."""
        return int(self.socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.socket.sendall(data)

    def ask(self, path: str, *headers: str, body: bytes = b"", method: str = "") -> None:
        """Sends a request."""
        method = method or ("POST" if body else "GET")
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Reads one answer with a length: status, headers, body."""
        first = self.stream.readline()
        if not first:
            raise ConnectionResetError("there is no answer")
        lines = iter(lambda: self.stream.readline().decode().strip(), "")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if "chunked" in headers.get("transfer-encoding", ""):
            return int(first.split()[1]), headers, b"".join(self._chunks())
        length = int(headers["content-length"])
        body = self.stream.read(length)
        assert len(body) == length, "the answer was cut"
        return int(first.split()[1]), headers, body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.stream.readline() or b"x", 16):  # no line where one must be: it was cut
            yield self.stream.read(size + 2)[:-2]
        self.stream.readline()

    def problem(self) -> tuple[int, str]:
        """Reads an answer that says no and ends the connection: its status and its detail."""
        status, headers, body = self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        problem: dict[str, Any] = json.loads(body)
        assert problem["status"] == status
        assert self.ended()
        return status, problem["detail"]

    def ended(self) -> bool:
        """Waits until the other side has ended the connection; False if something comes instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            self.stream.close()
            self.socket.close()


def status_mb(pid: int, field: str = "VmRSS") -> float:
    """Returns what ``/proc/PID/status`` says of a process's memory, in MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def children(pid: int) -> list[int]:
    """Returns the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]


def server_of(peer: Peer, pids: list[int]) -> int:
    """Returns which process has the other end of a connection."""
    port = f":{peer.port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(port):
            mark = f"socket:[{fields[9]}]"
            for pid in pids:
                if mark in _files(pid):
                    return pid
    raise AssertionError("nobody has the other end")


def _files(pid: int) -> Iterator[str]:
    """Yields what a process has open; it may end meanwhile, or close a file."""
    with contextlib.suppress(FileNotFoundError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield str(file.readlink())
