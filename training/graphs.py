"""A whole step as one launch: recorded once as a CUDA graph, and replayed.

A step of these networks is some hundred small kernels; launching them one by one from Python takes longer
than they run. Where there is no GPU nothing of this is run.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from training.draws import Draws

log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

WARM_UP = 3
"""Calls that run as they are, before a recording: libraries choose and load their kernels in them."""


class Recorded(Generic[T, K]):
    """A function of a batch, and of what is done with it, that is recorded and replayed.

    There is one recording for each second argument. Its first calls, and all after a failure, run as they
    are. What it changes must stay where it is in memory, and what is a Python number is recorded as it was.

    Args:
        function: What to record; it may not wait for the device.
        copy: Copies a result: the next replay overwrites the recorded one.
        draws: Source of all its random numbers; begun anew between replays.
    """

    def __init__(self, function: Callable[[Tensor, K], T], copy: Callable[[T], T], draws: Draws) -> None:
        self._function = function
        self._copy = copy
        self._draws = draws
        self._input: Tensor | None = None
        self._recordings: dict[K, tuple[torch.cuda.CUDAGraph, T]] = {}
        self._plain_calls: Counter[K] = Counter()
        self._failed = False

    def __call__(self, batch: Tensor, now: K) -> T:
        """Runs the function; a batch has the same shape each time."""
        if self._failed:
            return self._function(batch, now)
        if self._plain_calls[now] < WARM_UP:
            self._plain_calls[now] += 1
            return self._aside(batch, now)
        self._input = batch.clone() if self._input is None else self._input.copy_(batch)
        if now not in self._recordings:
            try:
                self._recordings[now] = self._record(self._input, now)
            except RuntimeError as error:
                self._give_up(error)
                return self._function(batch, now)
        graph, result = self._recordings[now]
        graph.replay()
        return self._copy(result)

    def forget(self) -> None:
        """Drops all recordings: what they change has been replaced."""
        self._recordings.clear()
        self._plain_calls.clear()

    def _aside(self, batch: Tensor, now: K) -> T:
        # Gradients remember the stream that they were first made on, and the usual one cannot be recorded.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self._function(batch, now)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, batch: Tensor, now: K) -> tuple[torch.cuda.CUDAGraph, T]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._draws.generator)
        with torch.cuda.graph(graph):
            result = self._function(batch, now)
        return graph, result

    def _give_up(self, error: RuntimeError) -> None:
        log.warning("steps are not recorded as a CUDA graph, which costs speed only: %s", error)
        self._failed = True
        self._recordings.clear()
        self._draws.renew()  # a recording that broke off leaves a generator of no more use
