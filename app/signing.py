"""Signed addresses: what an ``<img>`` tag may show for a while, without a key in it.

The last three parameters of the query are ``key``, a name; ``expires``, in seconds since 1970; and ``sig``:
the HMAC-SHA256 (RFC 2104) of all that stands before ``&sig=``, from the first ``/`` on, in base64url without
padding. OpenTelemetry's conventions leave a parameter of that name out of traces.
"""

import base64
import hmac
import re
import time
from datetime import UTC, datetime

from app.keyring import Caller, Keyring
from models.contract import SeedlingError

_SIGNED = re.compile(
    rb"(?P<told>(?:(?P<query>[^\n]*)&)?key=(?P<name>[a-z0-9-]{1,64})&expires=(?P<until>[0-9]{1,12}))"
    rb"&sig=(?P<signature>[A-Za-z0-9_-]{43})"
)


class SignatureError(SeedlingError):
    """A signed address that is good no more, or never was."""


def unsigned(query: bytes) -> bytes:
    """Returns a query without the parameters of a signature."""
    found = _SIGNED.fullmatch(query)
    return query if found is None else found["query"] or b""


def check(keyring: Keyring, path: bytes, query: bytes) -> Caller | None:
    """Returns who signed an address; None if it is not signed.

    Args:
        keyring: Who may sign.
        path: As it was sent, escapes included.
        query: As it was sent.

    Raises:
        SignatureError: If the signature is wrong or has expired.
    """
    found = _SIGNED.fullmatch(query)
    if found is None:
        return None
    told, name, until = b"%b?%b" % (path, found["told"]), found["name"].decode(), int(found["until"])
    secrets = keyring.signing_secrets(name)
    if not any(hmac.compare_digest(_signature(secret, told), found["signature"]) for secret in secrets):
        raise SignatureError("the signature is not that of this address")
    if until <= time.time():
        raise SignatureError(
            f"the address was good until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
    return Caller(name, until=until)


def _signature(secret: bytes, told: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(secret, told, "sha256")).rstrip(b"=")
