"""What the engine is asked for: a request's order, the pictures it is for, the batches they are grown in."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanContext

from app.fair_queue import Waiting

if TYPE_CHECKING:
    import asyncio

Source = int | bytes
"""What a picture is grown from: a seed, 0…2^64-1, or a latent as the bytes of its float32 numbers."""


def name_of(source: Source) -> str:
    """Returns what a picture is called in its metadata and in the log."""
    return str(source) if isinstance(source, int) else "latent " + source[:8].hex()


@dataclass(eq=False, slots=True)
class Job(Waiting):
    """A picture to grow, for every order that wants it."""

    source: Source
    encoded: bool
    """Whether a PNG is wanted, or its pixels."""
    since: float
    """When it was asked for, in seconds of the monotonic clock."""
    orders: "set[Order]" = field(default_factory=set)
    result: Any = None


@dataclass(eq=False, slots=True)
class Order:
    """What one request wants, and the future that brings all of it."""

    jobs: list[Job]
    future: "asyncio.Future[None]"
    missing: int
    expected_s: float
    """How long it was expected to take when it was let in, in seconds."""
    span: SpanContext | None = None
    """Its request's, if that is traced."""

    def deliver(self, error: Exception | None) -> None:
        """Takes note that one of its jobs ended."""
        self.missing -= 1
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif self.missing == 0:
            self.future.set_result(None)


@dataclass(eq=False, slots=True)
class Batch:
    """Pictures that were grown together; times are seconds of the monotonic clock."""

    jobs: list[Job]
    taken: float
    """When they left the queue."""
    grown: float
    results: list[Any] = field(default_factory=list)
    packed: list[float] = field(default_factory=list)
    """When each was packed."""
