"""Signed addresses: what an ``<img>`` tag may show for a while, of a service that asks for keys."""

import base64
import hmac
import time

DAY_S = 86_400


def sign(address: str, name: str, secret: str, *, days: int = 7) -> str:
    """Returns an address with the permission to look at it, which ends with a day, UTC.

    All that is signed within a day has the same address, so that caches keep its picture.

    Args:
        address: From the first ``/`` on, escaped as a browser sends it: ``/images/alice%40example.com.webp``.
        name: Whose secret it is.
        secret: What ``python -m app.keys sign NAME`` showed.
        days: How long the permission lasts at least; a day longer at most.
    """
    until = (int(time.time()) // DAY_S + 1 + days) * DAY_S
    told = f"{address}{'&' if '?' in address else '?'}key={name}&expires={until}"
    digest = hmac.digest(secret.encode(), told.encode(), "sha256")
    return f"{told}&sig={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
