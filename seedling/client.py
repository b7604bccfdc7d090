"""Clients of a service: ``Client``, and ``AsyncClient`` for programs with an event loop."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx
from numpy.typing import ArrayLike

from seedling import asks
from seedling.asks import Ask, ReadLine
from seedling.errors import AddressError, NoAnswerError
from seedling.patience import Patience
from seedling.picture import Picture
from seedling.vocabulary import PathOptions, PictureOptions, Seed, ServedModel, Verification

T = TypeVar("T")

DEFAULT_URL = "http://localhost:8000"
"""Where a service is that nobody told to be elsewhere."""


class _Asker:
    """What both clients have: where the service is, how long it is waited for, what is sent to it."""

    def __init__(self, url: str, timeout_s: float, *, retry: bool) -> None:
        self._base = check_address(url)
        self._timeout_s = timeout_s
        self._retry = retry

    def url(self, seed: Seed, **options: Unpack[PictureOptions]) -> str:
        """Returns the address of a picture, for an ``<img>`` tag; asks nothing.

        Raises:
            SeedError: If the seed is none.
        """
        return self._base + asks.address_of(seed, options)

    def _patience(self) -> Patience:
        return Patience(self._timeout_s, retry=self._retry)

    def _request(
        self, http: httpx.Client | httpx.AsyncClient, ask: Ask[T], patience: Patience
    ) -> httpx.Request:
        """Returns what is sent; it says how long the answer is waited for, so that no may be said at once."""
        return http.build_request(
            "GET" if ask.body is None and ask.content is None else "POST",
            ask.address,
            json=ask.body,
            content=ask.content,
            headers={
                "Accept": "*/*" if ask.body is None else "application/x-ndjson",
                "X-Timeout-Ms": str(math.ceil(1000 * patience.left_s)),
            }
            | ({} if ask.content is None else {"Content-Type": "image/png"}),
            timeout=patience.left_s,
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


class Client(_Asker):
    """Asks a service for pictures. Threads may share one; connections are kept open.

    An answer that says when to ask again, as 429 and 503 do, is asked for again then, while there is time.

    Args:
        url: Where the service is.
        timeout_s: How long a call may take in all, or the next picture of a stream, in seconds.
        retry: Whether to ask again.
        key: What a service with keys asks for.
        headers: Sent with each request, for what may stand before the service.
        transport: What sends the requests, if not the network.

    Raises:
        AddressError: If the address is none.
    """

    def __init__(  # noqa: PLR0913 - each has a name
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        retry: bool = True,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, timeout_s, retry=retry)
        self._http = httpx.Client(
            base_url=self._base, headers=with_key(headers, key), transport=transport, follow_redirects=True
        )

    def image(self, seed: Seed, **options: Unpack[PictureOptions]) -> Picture:
        """Returns the picture of a seed, or of a place that is named by seeds.

        Args:
            seed: An integer 0…2^64-1, or a text of 1…256 characters.
            **options: Where from there, and how it is shown: ``seedling.vocabulary``.

        Raises:
            SeedError: If the seed is none.
            ServiceError: If the service says no.
            NoAnswerError: If it says nothing.
        """
        return self._call(asks.image(self._base, seed, options))

    def generate(self, seed: Seed, count: int = 1, **options: Unpack[PictureOptions]) -> list[Picture]:
        """Returns the pictures of consecutive seeds, or with a radius the neighbours of one; as ``image``."""
        return list(self.stream(seed, count, **options))

    def stream(
        self, seed: Seed, count: int, **options: Unpack[PictureOptions]
    ) -> Generator[Picture, None, None]:
        """Yields what ``generate`` returns, each as soon as it is grown, no faster than it is read."""
        yield from self._grow(asks.seeds(self._base, seed, count, options))

    def latents(self, latents: ArrayLike, **options: Unpack[PictureOptions]) -> list[Picture]:
        """Returns the pictures of latents, (N, z_dim) or (z_dim,) of numbers in [-10, 10]; as ``image``."""
        return list(self._grow(asks.latents(self._base, latents, options)))

    def interpolate(self, a: Seed, b: Seed, **options: Unpack[PathOptions]) -> bytes:
        """Returns the path from seed to seed: a strip as PNG, or what ``format`` says; as ``image``."""
        return self._call(asks.path(a, b, options))

    def verify(
        self, content: bytes, seed: Seed | None = None, **options: Unpack[PictureOptions]
    ) -> Verification:
        """Tells whether a picture was grown by a model of the service; as ``image``.

        Args:
            content: A PNG.
            seed: The seed that it should be of; what its metadata says when missing.
            **options: With a seed, the rest of what it should be.
        """
        return self._call(asks.verify(content, seed, options))

    def models(self) -> list[ServedModel]:
        """Returns what is served, the default first; as ``image``."""
        return self._call(asks.models())

    def ready(self) -> bool:
        """Tells whether a service is there and can grow pictures."""
        try:
            return self._http.get("/readyz", timeout=self._timeout_s).is_success
        except httpx.RequestError:
            return False

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, ask: Ask[T]) -> httpx.Response:
        """Returns the beginning of a good answer."""
        patience = self._patience()
        while True:
            with self._told():
                answer = self._http.send(self._request(self._http, ask, patience), stream=True)
                if answer.is_success:
                    return answer
                answer.read()
            if (pause_s := patience.pause_s(answer)) is None:
                raise asks.error_of(answer)
            time.sleep(pause_s)

    def _call(self, ask: Ask[T]) -> T:
        answer = self._open(ask)
        with self._told():
            answer.read()
            return ask.read(answer)

    def _grow(self, ask: Ask[ReadLine]) -> Generator[Picture, None, None]:
        answer = self._open(ask)
        with contextlib.closing(answer), self._told():
            read_line = ask.read(answer)
            for line in answer.iter_lines():
                yield read_line(line)


class AsyncClient(_Asker):
    """As ``Client``, for programs with an event loop; every method but ``url`` is awaited or iterated.

    Args:
        url: As of ``Client``, and so are the others.
        timeout_s: In seconds.
        retry: Whether to ask again.
        key: What a service with keys asks for.
        headers: Sent with each request.
        transport: What sends the requests, if not the network.

    Raises:
        AddressError: If the address is none.
    """

    def __init__(  # noqa: PLR0913 - each has a name
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        retry: bool = True,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, timeout_s, retry=retry)
        self._http = httpx.AsyncClient(
            base_url=self._base, headers=with_key(headers, key), transport=transport, follow_redirects=True
        )

    async def image(self, seed: Seed, **options: Unpack[PictureOptions]) -> Picture:
        """As ``Client.image``."""
        return await self._call(asks.image(self._base, seed, options))

    async def generate(self, seed: Seed, count: int = 1, **options: Unpack[PictureOptions]) -> list[Picture]:
        """As ``Client.generate``."""
        return [picture async for picture in self.stream(seed, count, **options)]

    async def stream(
        self, seed: Seed, count: int, **options: Unpack[PictureOptions]
    ) -> AsyncGenerator[Picture, None]:
        """As ``Client.stream``; a program that stops early closes the generator (``aclose``)."""
        async with contextlib.aclosing(self._grow(asks.seeds(self._base, seed, count, options))) as pictures:
            async for picture in pictures:
                yield picture

    async def latents(self, latents: ArrayLike, **options: Unpack[PictureOptions]) -> list[Picture]:
        """As ``Client.latents``."""
        return [picture async for picture in self._grow(asks.latents(self._base, latents, options))]

    async def interpolate(self, a: Seed, b: Seed, **options: Unpack[PathOptions]) -> bytes:
        """As ``Client.interpolate``."""
        return await self._call(asks.path(a, b, options))

    async def verify(
        self, content: bytes, seed: Seed | None = None, **options: Unpack[PictureOptions]
    ) -> Verification:
        """As ``Client.verify``."""
        return await self._call(asks.verify(content, seed, options))

    async def models(self) -> list[ServedModel]:
        """As ``Client.models``."""
        return await self._call(asks.models())

    async def ready(self) -> bool:
        """As ``Client.ready``."""
        try:
            return (await self._http.get("/readyz", timeout=self._timeout_s)).is_success
        except httpx.RequestError:
            return False

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self, ask: Ask[T]) -> httpx.Response:
        patience = self._patience()
        while True:
            with self._told():
                answer = await self._http.send(self._request(self._http, ask, patience), stream=True)
                if answer.is_success:
                    return answer
                await answer.aread()
            if (pause_s := patience.pause_s(answer)) is None:
                raise asks.error_of(answer)
            await asyncio.sleep(pause_s)

    async def _call(self, ask: Ask[T]) -> T:
        answer = await self._open(ask)
        with self._told():
            await answer.aread()
            return ask.read(answer)

    async def _grow(self, ask: Ask[ReadLine]) -> AsyncGenerator[Picture, None]:
        answer = await self._open(ask)
        async with contextlib.aclosing(answer):
            with self._told():
                read_line = ask.read(answer)
                async for line in answer.aiter_lines():
                    yield read_line(line)


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
