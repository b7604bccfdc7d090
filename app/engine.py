"""The batching engine: requests become pictures, and pictures of all requests share the lanes."""

import asyncio
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import SpanContext

from app.drain import DrainRate
from app.fair_queue import FairQueue, Waiting
from app.layout import probe
from app.model import Model
from app.png import Effort, png
from app.provenance import XMP
from app.runners import Pictures, Runner
from app.samples import pack_samples
from app.tally import ModelTally
from models.contract import SeedlingError, latent

if TYPE_CHECKING:
    from app.tracing import Tracing

log = logging.getLogger("seedling")

T = TypeVar("T")

MARGIN = 1.1
"""What is told to take so long took a little less a moment ago: the rate wobbles."""

GRACE_S = 3.0
"""How long the threads may take over their last batches when the engine stops, in seconds."""

STOPPING = "the service is stopping"

RETRY_S = 5.0
"""How often it is tried to open a session anew that no longer works, in seconds."""

Source = int | bytes
"""What a picture is grown from: a seed, 0…2^64-1, or a latent as the bytes of its float32 numbers."""


class OverloadError(SeedlingError):
    """A request that the engine could not serve in time.

    Args:
        message: Why.
        retry_after_s: When it should have room again, in seconds.
        cause: The same in a word: there was no room, no time, or less time than it seemed.
    """

    def __init__(
        self, message: str, retry_after_s: float, cause: Literal["full", "deadline", "late"] = "full"
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.cause = cause


class EngineStoppedError(SeedlingError):
    """The engine stopped before the picture was grown."""


class EngineFaultError(EngineStoppedError):
    """The session no longer grows what it grew at start; it is being opened anew."""

    retry_after_s = RETRY_S


@dataclass(eq=False, slots=True)
class Job(Waiting):
    """A picture to grow, for every order that wants it."""

    source: Source
    encoded: bool
    """Whether a PNG is wanted, or its pixels."""
    since: float
    """When it was asked for, in seconds of the monotonic clock."""
    orders: "set[Order]" = field(default_factory=set)
    result: Any = None


@dataclass(eq=False, slots=True)
class Order:
    """What one request wants, and the future that brings all of it."""

    jobs: list[Job]
    future: "asyncio.Future[None]"
    missing: int
    span: SpanContext | None = None
    """Its request's, if that is traced."""

    def deliver(self, error: Exception | None) -> None:
        """Takes note that one of its jobs ended."""
        self.missing -= 1
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif self.missing == 0:
            self.future.set_result(None)


@dataclass(eq=False, slots=True)
class Batch:
    """Pictures that were grown together; times are seconds of the monotonic clock."""

    jobs: list[Job]
    taken: float
    """When they left the queue."""
    grown: float
    results: list[Any] = field(default_factory=list)
    packed: list[float] = field(default_factory=list)
    """When each was packed."""


class Engine:
    """Grows pictures for many requests at once.

    A request is admitted or refused at once, by the room in the queue and the measured drain rate. A thread
    that has a free lane takes as many pictures as wait, up to the largest batch: with one client nothing
    ever waits for company, and under load batches fill while the lanes are busy. The same thread packs
    the pictures, while another uses the lane. Public methods belong to the event loop's thread.

    Args:
        model: The loaded model.
        max_queue: Most pictures that wait or are being grown.
        effort: How PNGs are packed.
        cpus: Processors to use for packing.
        tally: Where it counts; one of its own when missing.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_queue: int = 1024,
        effort: Effort = "fast",
        cpus: int = 1,
        tally: ModelTally | None = None,
    ) -> None:
        self.model = model
        self.tally = tally or ModelTally()
        self.tracing: Tracing | None = None
        """Where it tells of the batches of requests that are traced; to be set before it starts."""
        self.max_queue = max_queue
        self._effort = effort
        self._queue: FairQueue[Job] = FairQueue()
        self._jobs: dict[tuple[Source, bool], Job] = {}
        self._drain = DrainRate(model.layout.pictures_per_s)
        self._lanes: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        for runner in model.runners:
            self._lanes.put(runner)
        workers = max(cpus, len(model.runners))
        self._threads = [
            threading.Thread(target=self._work, name=f"lane-{k}", daemon=True) for k in range(workers)
        ]
        self._packers = ThreadPoolExecutor(workers, "pack")
        self._loop: asyncio.AbstractEventLoop
        self._over = False
        self.fault = ""
        """Why no picture can be grown, where that is so; the engine does not mend itself."""
        self.on_fault: Callable[[], None] = lambda: None
        """What is called when it is so."""
        self.arriving = 0
        """Pictures that were let in at the door and have not been asked for here yet."""
        self.leases = 0
        """Requests that use the engine; one that is exchanged stops when there are none."""
        files = [self.png(picture, {}) for picture in model.probe]
        packed = hashlib.sha256(b"".join([*files, pack_samples(model.probe[0])])).hexdigest()
        self.edition = f"{model.sha256[:12]}-{model.provider}-{model.precision}-{packed[:8]}"
        """Whatever decides a picture's bytes beside its seed, fit for an address.

        The same file can round otherwise on another kind of processor, or with another release of a library.
        A few pictures, grown and packed at start, tell: where their bytes differ, the edition does.
        """

    def start(self) -> None:
        """Starts the threads, for the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def give_up(self) -> None:
        """Fails what waits, and refuses what comes from now on."""
        self._over = True
        self._fail_waiting(EngineStoppedError(STOPPING))
        self._queue.close()

    def _fail_waiting(self, error: Exception) -> None:
        for job in list(self._jobs.values()):
            if self._queue.drop(job):
                self.tally.dropped += 1
                self._settle(job, error)

    async def stop(self) -> None:
        """Ends the threads once the batches that they are at are done; what waits fails."""
        self.give_up()
        deadline = time.monotonic() + GRACE_S
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, deadline - time.monotonic()))
        self._packers.shutdown(wait=False)

    # --- Requests ------------------------------------------------------------------------------------

    async def pngs(self, seeds: Sequence[int], timeout_s: float) -> list[bytes]:
        """Grows the pictures of seeds and packs each as PNG, its seed and model in its metadata.

        Args:
            seeds: 0…2^64-1.
            timeout_s: For how long the caller would wait, in seconds.

        Raises:
            OverloadError: If they would not be, or were not, done in that time.
        """
        return await self._serve(seeds, timeout_s, encoded=True)

    async def pixels(self, sources: Sequence[Source], timeout_s: float) -> Pictures:
        """Grows pictures, (N, H, W, C) uint8; as ``pngs``, and the sources may be latents."""
        return np.stack(await self._serve(sources, timeout_s, encoded=False))

    async def pack(self, work: Callable[..., T], *args: object) -> T:
        """Runs work that would hold up the event loop, such as packing a sheet, in a thread."""

        def timed() -> tuple[T, float, float]:
            began = time.monotonic()
            return work(*args), began, time.monotonic()

        packed, began, ended = await self._loop.run_in_executor(self._packers, timed)
        self.tally.encode.observe(ended - began)
        if self.tracing is not None:
            self.tracing.packed(began, ended)
        return packed

    @property
    def queued(self) -> dict[str, int]:
        """Pictures that wait and that are being grown, by that word."""
        return {"waiting": self._queue.waiting, "growing": self._queue.taken}

    @property
    def drain_per_s(self) -> float:
        """Pictures a second that it grows when it has enough to do, as measured."""
        return self._drain.pictures_per_s

    def arrived(self) -> None:
        """Takes note that a picture which was let in has been asked for, or was not wanted from here."""
        self.arriving -= 1

    def check(self, count: int, timeout_s: float, *, coming: int = 0) -> None:
        """Refuses what could not be queued, or not be done in time; before anything is spent on it.

        Args:
            count: Pictures to grow.
            timeout_s: For how long the caller would wait, in seconds.
            coming: Pictures to count as if they were queued already.

        Raises:
            OverloadError: If there is no room for them, or no time.
            EngineStoppedError: If the service is about to end, or the session is broken.
        """
        if self._over:
            raise EngineStoppedError(STOPPING)
        if self.fault:
            raise EngineFaultError(self.fault)
        load = self._queue.waiting + self._queue.taken + coming
        if load + count > self.max_queue:
            message = (
                f"the queue holds {load} pictures of at most {self.max_queue}; there is no room for {count}"
            )
            raise OverloadError(message, self._drain.seconds_for(load + count - self.max_queue))
        # Counting what is ahead walks the queue, so the bound that needs no walk is tried first.
        if self._drain.seconds_for(load + count) * MARGIN <= timeout_s:
            return
        seconds = self._drain.seconds_for(self._queue.ahead_of(count) + coming + count) * MARGIN
        if seconds > timeout_s:
            # In tens, for refusals are rendered once a message.
            message = (
                f"the pictures would take about {round(1000 * seconds, -1):.0f} ms, and the request allows "
                f"{1000 * timeout_s:.0f} ms"
            )
            raise OverloadError(message, seconds - timeout_s, "deadline")

    async def _serve(self, sources: Sequence[Source], timeout_s: float, *, encoded: bool) -> list[Any]:
        order = self._admit(sources, timeout_s, encoded=encoded)
        try:
            async with asyncio.timeout(timeout_s):
                await order.future
        except TimeoutError:
            message = f"the pictures were not done in the {1000 * timeout_s:.0f} ms that the request allows"
            raise OverloadError(message, self._drain.seconds_for(self._queue.waiting), "late") from None
        finally:
            self._leave(order)
        return [job.result for job in order.jobs]

    def _admit(self, sources: Sequence[Source], timeout_s: float, *, encoded: bool) -> Order:
        """Queues what a request wants, or refuses it; what is on its way for another is shared.

        Raises:
            OverloadError: If there is no room for it, or no time.
        """
        now = time.monotonic()
        jobs = {source: self._jobs.get((source, encoded)) or Job(source, encoded, now) for source in sources}
        new = sum(job.state == "new" for job in jobs.values())
        self.check(new, timeout_s)
        self.tally.asked += len(sources)
        self.tally.shared += len(sources) - new
        order = Order([jobs[source] for source in sources], self._loop.create_future(), len(jobs))
        if self.tracing is not None:
            order.span = self.tracing.current()
        for source, job in jobs.items():
            job.orders.add(order)
            self._jobs[source, encoded] = job
        self._queue.put(list(jobs.values()))
        return order

    def _leave(self, order: Order) -> None:
        """Takes an order's name off its jobs; a job that nobody wants leaves the queue."""
        for job in order.jobs:
            job.orders.discard(order)
            if not job.orders and self._queue.drop(job):
                del self._jobs[job.source, job.encoded]
                self.tally.dropped += 1

    def _deliver(self, batch: Batch) -> None:
        """Hands results to all who want them; on the event loop's thread."""
        self._queue.done(len(batch.jobs))
        self._drain.delivered(len(batch.jobs), more_wait=self._queue.waiting > 0)
        self._count(batch)
        if self.tracing is not None:
            self.tracing.tell(batch)
        for job, result in zip(batch.jobs, batch.results, strict=True):
            self._settle(job, result)

    def _count(self, batch: Batch) -> None:
        tally = self.tally
        tally.batch.observe(len(batch.jobs))
        tally.engine.observe(batch.grown - batch.taken)
        began = batch.grown
        for job, result, packed in zip(batch.jobs, batch.results, batch.packed, strict=True):
            tally.wait.observe(batch.taken - job.since)
            if isinstance(result, Exception):
                tally.failed += 1
                continue
            tally.grown += 1
            if job.encoded:
                tally.encode.observe(packed - began)
            began = packed

    def _settle(self, job: Job, result: Any) -> None:  # noqa: ANN401 - a PNG, pixels, or an error
        del self._jobs[job.source, job.encoded]
        job.result = result
        for order in job.orders:
            order.deliver(result if isinstance(result, Exception) else None)

    # --- Threads -------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Grows and packs batches until the queue is closed."""
        limit = self.model.layout.batch_sizes[-1]
        while True:
            lane = self._lanes.get()
            try:
                jobs = self._queue.take(limit)
                if not jobs:
                    return
                taken = time.monotonic()
                pictures = self._grow(self._runner(lane), jobs)
            finally:
                self._lanes.put(lane)
            batch = Batch(jobs, taken, time.monotonic())
            for job, picture in zip(jobs, pictures, strict=True):
                batch.results.append(self._pack(job, picture))
                batch.packed.append(time.monotonic())
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _runner(self, lane: Runner) -> Runner:
        """Returns the lane's runner, or for a picture that is alone the one that is fastest at that."""
        busy = self._queue.taken + self._queue.waiting > 1
        return lane if busy else self.model.alone or lane

    def _grow(self, runner: Runner, jobs: list[Job]) -> list[Pictures | Exception]:
        """Grows a batch; when it fails its halves are tried, so that a bad picture fails alone."""
        try:
            return list(runner.run(np.stack([self._latent(job.source) for job in jobs])))
        except Exception as error:  # whatever a library raises belongs to the request, not to the thread
            if self.fault or not self._is_sound(runner):
                self._report(error)
                return [EngineFaultError(self.fault)] * len(jobs)
            if len(jobs) == 1:
                log.exception("picture %s could not be grown", _name(jobs[0].source))
                return [error]
        half = len(jobs) // 2
        return self._grow(runner, jobs[:half]) + self._grow(runner, jobs[half:])

    def _is_sound(self, runner: Runner) -> bool:
        """Tells whether a runner that failed still grows what it grew at start: if so it is not to blame."""
        try:
            grown = runner.run(probe(1, self.model.card.spec.z_dim))
        except Exception:  # noqa: BLE001 - as in _grow
            return False
        return np.array_equal(grown[0], self.model.probe[0])

    def _report(self, error: Exception) -> None:
        """Says, once, that the session is broken."""
        if not self.fault:
            name = self.model.card.name
            self.fault = f"the model {name!r} cannot grow pictures now; its session is being opened anew"
            log.error(
                "model %s on %s: its session no longer grows what it grew at start, not ready: %s",
                *(name, self.model.provider, error),
            )
            self._loop.call_soon_threadsafe(self._break)

    def _break(self) -> None:
        """Fails what waits, and calls for help."""
        self._fail_waiting(EngineFaultError(self.fault))
        self.on_fault()

    def _latent(self, source: Source) -> NDArray[np.float32]:
        if isinstance(source, bytes):
            return np.frombuffer(source, np.float32)
        return latent(source, self.model.card.spec.z_dim)

    def _pack(self, job: Job, picture: Pictures | Exception) -> Any:  # noqa: ANN401 - as _settle
        if isinstance(picture, Exception) or not job.encoded:
            return picture
        try:
            return self.png(picture, self.describe(job.source))
        except Exception as error:
            log.exception("picture %s could not be packed", _name(job.source))
            return error

    def png(self, pixels: Pictures, text: dict[str, str]) -> bytes:
        """Packs a picture or a sheet, (H, W, C) uint8, with metadata, as the settings say."""
        return png(pixels, text, self._effort, XMP)

    def describe(self, source: Source) -> dict[str, str]:
        """Returns the metadata of a picture's PNG."""
        return {"Software": "Seedling", "Seed": _name(source), "Model": self.model.sha256}


def _name(source: Source) -> str:
    return str(source) if isinstance(source, int) else "latent " + source[:8].hex()
