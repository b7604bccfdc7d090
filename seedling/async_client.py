"""A client of a service for programs with an event loop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx
from numpy.typing import ArrayLike

from seedling import asks
from seedling.asker import Asker
from seedling.asks import Ask, ReadLine
from seedling.picture import Picture
from seedling.vocabulary import PathOptions, PictureOptions, Seed, ServedModel, Verification

T = TypeVar("T")


class AsyncClient(Asker[httpx.AsyncClient, httpx.AsyncBaseTransport]):
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

    def _connect(
        self, headers: Mapping[str, str], transport: httpx.AsyncBaseTransport | None
    ) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._base, headers=headers, transport=transport, follow_redirects=True
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
                answer = await self._http.send(self._request(ask, patience), stream=True)
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
