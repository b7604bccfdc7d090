"""How the service logs: for people or for machines, each line with the request that it is about."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from app.exchange import current

Form = Literal["text", "json"]


def start_logging(form: Form) -> None:
    """Sends what the process logs to its standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)


def stamp(when: float) -> str:
    """Returns a time, in seconds since 1970, as RFC 3339 has it, to the millisecond."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def request_fields() -> dict[str, str]:
    """Returns the ids of the request that is being answered, as far as there are any."""
    exchange = current.get()
    if exchange is None:
        return {}
    found = {"request_id": exchange.request_id, "trace_id": exchange.trace_id}
    return {name: value for name, value in found.items() if value}


class TextFormatter(logging.Formatter):
    """A line for people: how bad it is, what, and of which request."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s: %(message)s%(request)s")

    def format(self, record: logging.LogRecord) -> str:
        """Writes a record."""
        told = " ".join(f"{name}={value}" for name, value in request_fields().items())
        record.request = f" [{told}]" if told else ""
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """A line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes a record."""
        line: dict[str, Any] = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | request_fields()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
