"""Times as people write and read them."""

import re

from training.config import ConfigError

_DURATION = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")


def parse_duration(text: str) -> float:
    """Returns the seconds of a duration as ``25m``, ``1h30m`` or ``90s``.

    Raises:
        ConfigError: If it is none.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    seconds = found and sum(int(found[unit] or 0) * size for unit, size in (("h", 3600), ("m", 60), ("s", 1)))
    if not seconds:
        raise ConfigError(f"a budget is a time as 25m, 1h30m or 90s, got {text!r}")
    return float(seconds)


def tell_duration(seconds: float) -> str:
    """Returns a duration for people: ``90 s``, ``2 min 30 s``, ``25 min``, ``1 h 30 min``."""
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        parts = [(minutes, "min"), (rest, "s")] if seconds >= 100 else [(round(seconds), "s")]
    else:
        hours, minutes = divmod(round(seconds / 60), 60)
        parts = [(hours, "h"), (minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
