"""What browsers are told: headers on every answer, policies for the pages, which other sites may ask."""

import base64
import hashlib
import re
from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    # Pictures are for the pages of others.
    "cross-origin-resource-policy": "cross-origin",
}
"""On every answer. That HTTPS is meant for ever is told by what speaks HTTPS, which is not this service."""

_CLOSED = ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'")

PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("connect", "img", "manifest", "script", "style")),
        *_CLOSED,
    ]
)
"""What the page may load: what this service serves, and nothing that is written into the page itself."""

ALLOWED = (
    "Authorization",
    "Content-Type",
    "If-None-Match",
    "Traceparent",
    "X-API-Key",
    "X-Request-Id",
    "X-Timeout-Ms",
)
"""Headers that scripts of other sites may send."""

EXPOSED = (
    "ETag",
    "Content-Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Seedling-Count",
    "Seedling-Edition",
    "Seedling-Model",
    "Seedling-Precision",
    "Seedling-Provider",
    "Seedling-Seed",
    "X-Request-Id",
)
"""Headers that scripts of other sites may read."""

_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


class OtherOrigins(CORSMiddleware):
    """Lets scripts of some other sites ask; without it browsers let none.

    Args:
        app: The application.
        origins: Those sites, such as ``https://example.org``; ``*`` is all.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            # No cookies, so nothing that a browser adds by itself; keys are added by the script.
            allow_headers=ALLOWED,
            expose_headers=EXPOSED,
        )


def reference_policy(html: bytes) -> str:
    """Returns what a page that shows the API's description may load: its script, by its hash, and its files.

    Such a page is another's: it comes with a script in it, and writes styles.
    """
    scripts = [base64.b64encode(hashlib.sha256(it).digest()).decode() for it in _SCRIPT.findall(html)]
    return "; ".join(
        [
            "default-src 'none'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "script-src 'self'" + "".join(f" 'sha256-{script}'" for script in scripts),
            "style-src 'self' 'unsafe-inline'",
            "worker-src blob:",
            *_CLOSED,
        ]
    )
