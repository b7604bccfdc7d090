"""Why an engine does not grow what it is asked for."""

from typing import Literal

from models.contract import SeedlingError

STOPPING = "the service is stopping"

RETRY_S = 5.0
"""How often it is tried to open a session anew that no longer works, in seconds."""


class OverloadError(SeedlingError):
    """A request that the engine could not serve in time.

    Args:
        message: Why.
        retry_after_s: When it should have room again, in seconds.
        cause: The same in a word: there was no room, no time, or less time than it seemed.
    """

    def __init__(
        self, message: str, retry_after_s: float, cause: Literal["full", "deadline", "late"] = "full"
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.cause = cause


class EngineStoppedError(SeedlingError):
    """The engine stopped before the picture was grown."""


class EngineFaultError(EngineStoppedError):
    """The session no longer grows what it grew at start; it is being opened anew."""

    retry_after_s = RETRY_S
