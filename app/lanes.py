"""The lanes of an engine: threads that take pictures from its queue, grow them and pack them."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.fair_queue import FairQueue
from app.layout import probe
from app.model import Model
from app.orders import Batch, Job, Source, name_of
from app.refusals import EngineFaultError
from app.runners import Pictures, Runner
from models.contract import latent

log = logging.getLogger("seedling")


class Lanes:
    """Threads that grow batches for as long as a queue is open.

    A thread that has a free lane takes as many pictures as wait, up to the largest batch, and packs them
    while another thread uses the lane.

    Args:
        model: The loaded model; it has a runner for each lane.
        waiting: Where pictures are taken from.
        pack: Makes of a picture's pixels what its order wants; called in the threads.
        threads: Their number, at least as many as there are lanes.
    """

    def __init__(
        self, model: Model, waiting: FairQueue[Job], pack: Callable[[Job, Pictures], Any], threads: int
    ) -> None:
        self.fault = ""
        """Why no picture can be grown, where that is so; it stays."""
        self._model = model
        self._queue = waiting
        self._pack = pack
        self._free: queue.SimpleQueue[Runner] = queue.SimpleQueue()
        for runner in model.runners:
            self._free.put(runner)
        self._threads = [
            threading.Thread(target=self._work, name=f"lane-{k}", daemon=True) for k in range(threads)
        ]
        self._deliver: Callable[[Batch], object]
        self._tell_fault: Callable[[], object]

    def start(self, deliver: Callable[[Batch], object], tell_fault: Callable[[], object]) -> None:
        """Starts the threads.

        Args:
            deliver: Takes each batch, with a result or an error for each picture; called in the threads.
            tell_fault: Is called once, in a thread, when the session no longer works.
        """
        self._deliver, self._tell_fault = deliver, tell_fault
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> None:
        """Waits, together no longer than some seconds, for the threads to end; the queue must be closed."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        """Grows and packs batches until the queue is closed."""
        limit = self._model.layout.batch_sizes[-1]
        while True:
            lane = self._free.get()
            try:
                jobs = self._queue.take(limit)
                if not jobs:
                    return
                taken = time.monotonic()
                pictures = self._grow(self._runner(lane), jobs)
            finally:
                self._free.put(lane)
            batch = Batch(jobs, taken, time.monotonic())
            for job, picture in zip(jobs, pictures, strict=True):
                batch.results.append(self._packed(job, picture))
                batch.packed.append(time.monotonic())
            self._deliver(batch)

    def _runner(self, lane: Runner) -> Runner:
        """Returns the lane's runner, or for a picture that is alone the one that is fastest at that."""
        busy = self._queue.taken + self._queue.waiting > 1
        return lane if busy else self._model.alone or lane

    def _grow(self, runner: Runner, jobs: list[Job]) -> list[Pictures | Exception]:
        """Grows a batch; when it fails its halves are tried, so that a bad picture fails alone."""
        try:
            return list(runner.run(np.stack([self._latent(job.source) for job in jobs])))
        except Exception as error:  # whatever a library raises belongs to the request, not to the thread
            if self.fault or not self._is_sound(runner):
                self._report(error)
                return [EngineFaultError(self.fault)] * len(jobs)
            if len(jobs) == 1:
                log.exception("picture %s could not be grown", name_of(jobs[0].source))
                return [error]
        half = len(jobs) // 2
        return self._grow(runner, jobs[:half]) + self._grow(runner, jobs[half:])

    def _is_sound(self, runner: Runner) -> bool:
        """Tells whether a runner that failed still grows what it grew at start: if so it is not to blame."""
        try:
            grown = runner.run(probe(1, self._model.card.spec.z_dim))
        except Exception:  # noqa: BLE001 - as in _grow
            return False
        return np.array_equal(grown[0], self._model.probe[0])

    def _report(self, error: Exception) -> None:
        """Says, once, that the session is broken."""
        if not self.fault:
            name = self._model.card.name
            self.fault = f"the model {name!r} cannot grow pictures now; its session is being opened anew"
            log.error(
                "model %s on %s: its session no longer grows what it grew at start, not ready: %s",
                *(name, self._model.provider, error),
            )
            self._tell_fault()

    def _latent(self, source: Source) -> NDArray[np.float32]:
        if isinstance(source, bytes):
            return np.frombuffer(source, np.float32)
        return latent(source, self._model.card.spec.z_dim)

    def _packed(self, job: Job, picture: Pictures | Exception) -> Any:  # noqa: ANN401 - a PNG, pixels, or an error
        if isinstance(picture, Exception):
            return picture
        try:
            return self._pack(job, picture)
        except Exception as error:
            log.exception("picture %s could not be packed", name_of(job.source))
            return error
