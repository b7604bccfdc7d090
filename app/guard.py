"""The guard before every route: who asks, and whether they may. Plain ASGI; not there without keys or limits.

Source: RFC 6750 (bearer tokens), RFC 9110 sections 11.6 and 15.5.
"""

import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import signing
from app.exchange import current
from app.keyring import Caller, Keyring
from app.problems import respond

if TYPE_CHECKING:
    from app.quota import Account, Quotas

OPEN = ("/livez", "/readyz", "/docs", "/redoc", "/openapi.json")
"""What anyone may ask for: health, and the description of the API."""

OPEN_FOLDER = "/static-offline-docs/"
"""Files of the pages that show the description."""

ADMIN = re.compile(r"/(admin(/.*)?|metrics)\n?", re.DOTALL)
"""What only a key for operators opens. Patterns of routes end in ``$``, which lets a newline stand behind."""

ACCOUNT = "seedling.account"
"""Where a request has what its caller may still ask for."""

_PUBLIC = re.compile(rb"public, max-age=(\d+).*")


class DeniedError(Exception):
    """A request that may not be answered.

    Args:
        status: 401 or 403.
        detail: Why.
        wrong: Whether there was a key, and it is not good.
    """

    def __init__(self, status: int, detail: str, *, wrong: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        # RFC 6750: no error code where no key was given.
        self.headers = {"WWW-Authenticate": 'Bearer realm="seedling"' + ', error="invalid_token"' * wrong}


class Guard:
    """Lets in who may come in.

    Args:
        app: What it guards.
        keyring: Who may ask; None lets in everyone.
        quotas: How much each may ask for; None sets no limit.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring | None, quotas: "Quotas | None") -> None:
        self.app = app
        self._keyring = keyring
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        caller = None
        if self._keyring is not None:
            self._keyring.refresh()
            path, query = scope["raw_path"], scope["query_string"]
            try:
                caller = find_caller(self._keyring, scope["method"], path, query, dict(scope["headers"]))
                _check_admin(caller, scope["path"])
            except DeniedError as denied:
                problem = respond(scope["path"], denied.status, str(denied), denied.headers)
                await problem(scope, receive, send)
                return
            if (exchange := current.get()) is not None:
                exchange.caller = caller.name
            # What follows knows nothing of signatures: neither the cache, nor parameters, nor logs.
            scope["query_string"] = signing.unsigned(query)
        account = None
        if self._quotas is not None:
            account = scope[ACCOUNT] = self._quotas.open(caller.name if caller else None, scope["client"])
        await self.app(scope, receive, _finish(send, caller, account))


def is_open(path: str) -> bool:
    """Tells whether anyone may ask for a path."""
    return path in OPEN or path.startswith(OPEN_FOLDER)


def find_caller(
    keyring: Keyring, method: str, path: bytes, query: bytes, headers: Mapping[bytes, bytes]
) -> Caller:
    """Returns who asks.

    Args:
        keyring: Who may ask.
        method: The request's method; only GET and HEAD have signed addresses.
        path: As it was sent, escapes included.
        query: As it was sent.
        headers: By name in lower case.

    Raises:
        DeniedError: 401 without a good key, 403 for an address whose signature is not good.
    """
    key = headers.get(b"x-api-key")
    if key is None:
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        key = credentials.strip() if scheme.lower() == b"bearer" else None
    if key is not None:
        caller = keyring.caller(key.decode("latin-1"))
        if caller is None:
            raise DeniedError(HTTPStatus.UNAUTHORIZED, "the key is not one of this service's", wrong=True)
        return caller
    if method in {"GET", "HEAD"}:
        try:
            signer = signing.check(keyring, path, query)
        except signing.SignatureError as error:
            raise DeniedError(HTTPStatus.FORBIDDEN, str(error)) from None
        if signer is not None:
            return signer
    raise DeniedError(
        HTTPStatus.UNAUTHORIZED, "expected a key, as Authorization: Bearer KEY or X-API-Key: KEY, got none"
    )


def _check_admin(caller: Caller, path: str) -> None:
    if ADMIN.fullmatch(path) and not caller.admin:
        raise DeniedError(HTTPStatus.FORBIDDEN, f"{path} is open to keys for operators alone")


def _finish(send: Send, caller: Caller | None, account: "Account | None") -> Send:
    """Returns what sends an answer with what its headers say of caches, and of the caller's quotas."""

    async def send_finished(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            if caller is not None:
                headers = [(name, narrow(name, value, caller.until)) for name, value in headers]
            message["headers"] = headers if account is None else [*headers, *account.headers()]
        await send(message)

    return send_finished


def narrow(name: bytes, value: bytes, until: int | None) -> bytes:
    """Returns the value of a header: caches between here and the caller may not give away what needs a key.

    What needs a key is the caller's alone. A signed address is its own permission, so that a shared cache may
    keep the answer as long as the permission lasts.
    """
    if name != b"cache-control" or (found := _PUBLIC.fullmatch(value)) is None:
        return value
    if until is None:
        return value.replace(b"public", b"private", 1)
    return b"public, max-age=%d" % min(int(found[1]), max(0, until - int(time.time())))
