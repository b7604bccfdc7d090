"""A memory of answers, bounded in bytes."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer as it was sent."""

    headers: dict[str, str]
    body: bytes


ENTRY_BYTES = 1000
"""What an answer takes beside its body, about: its key, its headers, its place."""


class AnswerCache:
    """The answers that were asked for last, by address.

    Args:
        max_bytes: Most memory for them, in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        """Bytes in use."""
        self.hits = 0
        """Answers that were asked for and here."""
        self.misses = 0
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def get(self, address: bytes) -> Answer | None:
        """Returns the answer at an address, which is then the newest, or None."""
        answer = self._answers.get(address)
        if answer is None:
            self.misses += 1
        else:
            self.hits += 1
            self._answers.move_to_end(address)
        return answer

    def __contains__(self, address: bytes) -> bool:
        return address in self._answers

    def put(self, address: bytes, answer: Answer) -> None:
        """Remembers an answer, and forgets those not asked for the longest until there is room."""
        if (old := self._answers.pop(address, None)) is not None:
            self.size -= _size(address, old)
        self._answers[address] = answer
        self.size += _size(address, answer)
        while self.size > self.max_bytes:
            oldest, forgotten = self._answers.popitem(last=False)
            self.size -= _size(oldest, forgotten)

    def __len__(self) -> int:
        return len(self._answers)


def _size(address: bytes, answer: Answer) -> int:
    return ENTRY_BYTES + len(address) + len(answer.body)
