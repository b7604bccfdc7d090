"""What can go wrong between a program and a service."""

from models.contract import SeedlingError


class AddressError(SeedlingError, ValueError):
    """Something that is not the address of a service."""


class NoAnswerError(SeedlingError):
    """No answer: nothing listens there, the connection broke, or the time was over."""


class ServiceError(SeedlingError):
    """An answer that says no.

    Args:
        status: Its HTTP status.
        detail: What was got and what was expected.
        retry_after_s: When it should be worth asking again, in seconds; None if the service does not say.
    """

    def __init__(self, status: int, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"the service answered {status}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def is_refusal(self) -> bool:
        """Whether the request itself is what the service objects to, so that it would again."""
        return 400 <= self.status < 500 and self.retry_after_s is None
