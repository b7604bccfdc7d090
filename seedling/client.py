"""A client of a service that waits for its answers."""

import contextlib
import time
from collections.abc import Generator, Mapping
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


class Client(Asker[httpx.Client, httpx.BaseTransport]):
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

    def _connect(self, headers: Mapping[str, str], transport: httpx.BaseTransport | None) -> httpx.Client:
        return httpx.Client(base_url=self._base, headers=headers, transport=transport, follow_redirects=True)

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
                answer = self._http.send(self._request(ask, patience), stream=True)
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
