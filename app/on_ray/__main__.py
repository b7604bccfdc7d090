"""Serves on Ray: ``python -m app.on_ray replicas=2``, in the cluster of ``RAY_ADDRESS`` or its own."""

import contextlib
import os
import signal
import sys
import threading

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from pydantic import ValidationError
from ray import serve

from app.__main__ import complain
from app.configuration import ConfigurationError, read
from app.on_ray.deployment import Options, build
from app.settings import Settings
from models.contract import SeedlingError

NAME = "seedling"
"""Of the application in Ray."""

STORE_BYTES = 200_000_000
"""Memory of a cluster of its own through which large answers go from replicas to Ray's proxy."""


def main() -> int:
    """Serves until a signal comes; returns the exit code."""
    try:
        settings = read(Settings, [])
        application = build(read_options(sys.argv[1:]))
    except SeedlingError as error:
        return complain(error)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address)
    else:
        ray.init("local", include_dashboard=False, object_store_memory=STORE_BYTES)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    for number in (signal.SIGINT, signal.SIGTERM):  # Ray's own handler would leave what is under way
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serve.run(application, name=NAME)  # pictures are asked for before it returns
        threading.Event().wait()
    serve.delete(NAME)  # its replicas finish what they have at hand; a shutdown alone would cut off the proxy
    if not address:
        serve.shutdown()
    return 0


def read_options(words: list[str]) -> Options:
    """Reads ``name=value`` words.

    Raises:
        ConfigurationError: If one is wrong.
    """
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        known = ", ".join(Options.model_fields)
        lines = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}, got {item['input']!r}; options are {known}"
            for item in error.errors()
        ]
        raise ConfigurationError("\n".join(lines)) from None


if __name__ == "__main__":
    sys.exit(main())
