"""The batching engine: requests become pictures, and pictures of all requests share the lanes."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from app.admission import Admission
from app.fair_queue import FairQueue
from app.lanes import Lanes
from app.model import Model
from app.orders import Batch, Job, Order, Source, name_of
from app.png import Effort, png
from app.provenance import XMP
from app.refusals import STOPPING, EngineFaultError, EngineStoppedError, OverloadError
from app.runners import Pictures
from app.samples import pack_samples
from app.tally import ModelTally

if TYPE_CHECKING:
    from app.tracing import Tracing

T = TypeVar("T")

GRACE_S = 3.0
"""How long the threads may take over their last batches when the engine stops, in seconds."""


class Engine:
    """Grows pictures for many requests at once.

    A request is admitted or refused at once, by the room in the queue and the measured drain rate. A lane
    takes as many pictures as wait when it is free: with one client nothing ever waits for company, and under
    load batches fill while the lanes are busy. Public methods belong to the event loop's thread.

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
        self._effort = effort
        self._queue: FairQueue[Job] = FairQueue()
        self._jobs: dict[tuple[Source, bool], Job] = {}
        self.admission = Admission(self._queue, max_queue, model.layout.pictures_per_s)
        threads = max(cpus, len(model.runners))
        self._lanes = Lanes(model, self._queue, self._pack, threads)
        self._packers = ThreadPoolExecutor(threads, "pack")
        self._loop: asyncio.AbstractEventLoop
        self._over = False
        self.on_fault: Callable[[], None] = lambda: None
        """What is called when no picture can be grown any more."""
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
        later = self._loop.call_soon_threadsafe
        self._lanes.start(lambda batch: later(self._deliver, batch), lambda: later(self._break))

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

    def _break(self) -> None:
        """Fails what waits, and calls for help."""
        self._fail_waiting(EngineFaultError(self.fault))
        self.on_fault()

    async def stop(self) -> None:
        """Ends the threads once the batches that they are at are done; what waits fails."""
        self.give_up()
        await asyncio.to_thread(self._lanes.join, GRACE_S)
        self._packers.shutdown(wait=False)

    @property
    def fault(self) -> str:
        """Why no picture can be grown, where that is so; the engine does not mend itself."""
        return self._lanes.fault

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

    def arrived(self) -> None:
        """Takes note that a picture which was let in has been asked for, or was not wanted from here."""
        self.arriving -= 1

    def check(self, count: int, timeout_s: float) -> None:
        """Refuses what could not be queued, or not be done in time; before anything is spent on it.

        Args:
            count: Pictures to grow.
            timeout_s: For how long the caller would wait, in seconds.

        Raises:
            OverloadError: If there is no room for them, or no time.
            EngineStoppedError: If the service is about to end, or the session is broken.
        """
        error = self.refusal(count, timeout_s)
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame, which would hold it in turn

    def refusal(
        self, count: int, timeout_s: float, *, coming: int = 0
    ) -> OverloadError | EngineStoppedError | None:
        """Returns what ``check`` would raise; what is not raised costs less, and refusals come in floods.

        Args:
            count: Pictures to grow.
            timeout_s: For how long the caller would wait, in seconds.
            coming: Pictures to count as if they were queued already.
        """
        if self._over:
            return EngineStoppedError(STOPPING)
        if self.fault:
            return EngineFaultError(self.fault)
        return self.admission.refusal(count, timeout_s, coming)

    async def _serve(self, sources: Sequence[Source], timeout_s: float, *, encoded: bool) -> list[Any]:
        began = time.monotonic()
        order = self._admit(sources, timeout_s, encoded=encoded)
        try:
            async with asyncio.timeout(timeout_s):
                await order.future
        except TimeoutError:
            raise self.admission.late(order.expected_s, timeout_s) from None
        finally:
            self._leave(order)
        self.admission.served(order.expected_s, time.monotonic() - began, timeout_s)
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
        order = Order(
            [jobs[source] for source in sources],
            self._loop.create_future(),
            len(jobs),
            self.admission.expected_s(new, timeout_s),
        )
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
        self.admission.drain.delivered(len(batch.jobs), more_wait=self._queue.waiting > 0)
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

    # --- Files ---------------------------------------------------------------------------------------

    def _pack(self, job: Job, picture: Pictures) -> bytes | Pictures:
        return self.png(picture, self.describe(job.source)) if job.encoded else picture

    def png(self, pixels: Pictures, text: dict[str, str]) -> bytes:
        """Packs a picture or a sheet, (H, W, C) uint8, with metadata, as the settings say."""
        return png(pixels, text, self._effort, XMP)

    def describe(self, source: Source) -> dict[str, str]:
        """Returns the metadata of a picture's PNG."""
        return {"Software": "Seedling", "Seed": name_of(source), "Model": self.model.sha256}
