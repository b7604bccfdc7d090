"""What an answer is written to the network in."""

import asyncio

from app.one_write import OneWrite


class Wire(asyncio.Transport):
    """Takes down each call to the system that a transport would make."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []
        self.closed_after = -1

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """One call."""
        self.calls.append(data)

    def writelines(self, list_of_data: list[bytes]) -> None:  # type: ignore[override]
        """One call, too."""
        self.calls.append(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.closed_after >= 0

    def close(self) -> None:
        """The end."""
        self.closed_after = len(self.calls)


async def _answer(*turns: tuple[bytes, ...]) -> Wire:
    """Writes an answer in some turns of the event loop."""
    wire = Wire()
    answer = OneWrite(wire, asyncio.get_running_loop())
    for turn in turns:
        for part in turn:
            answer.write(part)
        await asyncio.sleep(0)
    answer.close()
    return wire


def test_head_and_body_are_one_write() -> None:
    wire = asyncio.run(_answer((b"head ", b"body")))
    assert wire.calls == [b"head body"]
    assert wire.closed_after == 1


def test_a_head_does_not_wait_for_a_body_that_is_yet_to_be_made() -> None:
    wire = asyncio.run(_answer((b"head",), (b"first",), (b"second", b"third")))
    assert wire.calls == [b"head", b"first", b"second", b"third"]


def test_what_follows_a_body_is_written_as_it_comes() -> None:
    wire = asyncio.run(_answer((b"head ", b"first", b"second")))
    assert wire.calls == [b"head first", b"second"]


def test_a_head_without_a_body_is_written_before_the_end() -> None:
    async def end_at_once() -> Wire:
        wire = Wire()
        answer = OneWrite(wire, asyncio.get_running_loop())
        answer.write(b"head")
        answer.close()
        await asyncio.sleep(0)
        return wire

    wire = asyncio.run(end_at_once())
    assert wire.calls == [b"head"]
    assert wire.closed_after == 1
