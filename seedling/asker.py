"""What the two clients share: where a service is, and what is sent to it."""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, Unpack

import httpx

from seedling import asks
from seedling.asks import Ask
from seedling.errors import AddressError, NoAnswerError
from seedling.patience import Patience
from seedling.vocabulary import PictureOptions, Seed

T = TypeVar("T")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)
Transport = TypeVar("Transport", httpx.BaseTransport, httpx.AsyncBaseTransport)

DEFAULT_URL = "http://localhost:8000"
"""Where a service is that nobody told to be elsewhere."""


class Asker(ABC, Generic[Http, Transport]):
    """What both clients have: where the service is, how long it is waited for, what is sent to it.

    The parameters are those that ``Client`` tells of.
    """

    def __init__(  # noqa: PLR0913 - each has a name
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        retry: bool = True,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._base = check_address(url)
        self._timeout_s = timeout_s
        self._retry = retry
        self._http: Http = self._connect(with_key(headers, key), transport)

    @abstractmethod
    def _connect(self, headers: Mapping[str, str], transport: Transport | None) -> Http:
        """Returns what sends requests, with these headers."""

    def url(self, seed: Seed, **options: Unpack[PictureOptions]) -> str:
        """Returns the address of a picture, for an ``<img>`` tag; asks nothing.

        Raises:
            SeedError: If the seed is none.
        """
        return self._base + asks.address_of(seed, options)

    def _patience(self) -> Patience:
        return Patience(self._timeout_s, retry=self._retry)

    def _request(self, ask: Ask[T], patience: Patience) -> httpx.Request:
        """Returns what is sent; it says how long the answer is waited for, so that no may be said at once."""
        streamed = ask.body is not None
        return self._http.build_request(
            "GET" if ask.body is None and ask.content is None else "POST",
            ask.address,
            json=ask.body,
            content=ask.content,
            headers={
                "Accept": "application/x-ndjson" if streamed else "*/*",
                "X-Timeout-Ms": str(math.ceil(1000 * patience.left_s)),
            }
            | ({} if ask.content is None else {"Content-Type": "image/png"}),
            timeout=httpx.Timeout(patience.left_s, read=self._timeout_s if streamed else patience.left_s),
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tells of a missing answer in the words of this package."""
        try:
            yield
        except httpx.TimeoutException:
            raise NoAnswerError(f"{self._base} did not answer within {self._timeout_s:g} s") from None
        except httpx.RequestError as error:
            raise NoAnswerError(f"{self._base} gave no answer: {error or type(error).__name__}") from error
        except (KeyError, ValueError) as error:
            raise NoAnswerError(f"{self._base} answered, but not as Seedling does: {error!r}") from error


def with_key(headers: Mapping[str, str] | None, key: str | None) -> dict[str, str]:
    """Returns headers, and that of a key if there is one (RFC 6750)."""
    return {**(headers or {}), **({} if key is None else {"Authorization": f"Bearer {key}"})}


def check_address(url: str) -> str:
    """Returns what stands before every path of a service.

    Raises:
        AddressError: If the address is none.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise AddressError(f"expected the address of a service, such as {DEFAULT_URL}, got {url!r}")
    return url.rstrip("/")
