"""How long a call may take, and whether an answer is worth asking for again."""

import datetime as dt
import time
from email.utils import parsedate_to_datetime

import httpx

LEAST_S = 0.001
"""What is left of a time that is over, in seconds: a request must say something."""


class Patience:
    """How long one call may still take.

    Args:
        timeout_s: How long it may take in all, in seconds.
        retry: Whether to ask again.
    """

    def __init__(self, timeout_s: float, *, retry: bool) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._retry = retry

    @property
    def left_s(self) -> float:
        """What is left, in seconds."""
        return max(LEAST_S, self._deadline - time.monotonic())

    def pause_s(self, answer: httpx.Response) -> float | None:
        """Returns in how many seconds to ask again, or None if an error is the last word."""
        pause = retry_after_s(answer)
        in_time = pause is not None and time.monotonic() + pause < self._deadline
        return pause if self._retry and in_time else None


def retry_after_s(answer: httpx.Response) -> float | None:
    """Returns in how many seconds an answer says to ask again; it may say when instead (RFC 9110, 10.2.3)."""
    said = answer.headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        pause = parsedate_to_datetime(said) - dt.datetime.now(dt.UTC)
    except (ValueError, TypeError):  # no date, or one without a time zone
        return None
    return max(0.0, pause.total_seconds())
