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

LAZY_GENERATORS = "2.14"
"""From this release of torch on a graph finds the generators of its random numbers itself, and it warns where
it is told of one."""


class Recorded(Generic[T, K]):
    """A function of a batch, and of what is done with it, that is recorded and replayed.

    There is one recording for each second argument. Its first calls, and all after a failure, run as they
    are. What it changes must stay where it is in memory, and what is a Python number is recorded as it was.

    Args:
        copy: Copies a result: the next replay overwrites the recorded one.
        draws: Source of all random numbers of the function; begun anew between replays.
    """

    def __init__(self, copy: Callable[[T], T], draws: Draws) -> None:
        self._copy = copy
        self._draws = draws
        self._beside: torch.cuda.Stream | None = None
        self._input: Tensor | None = None
        self._recordings: dict[K, tuple[torch.cuda.CUDAGraph, T]] = {}
        self._plain_calls: Counter[K] = Counter()
        self._failed = False

    def __call__(self, function: Callable[[Tensor, K], T], batch: Tensor, now: K) -> T:
        """Runs the function, which may not wait for the device and is the same each time.

        It is not kept: its owner, who owns this too, would else outlive its last use, with all its memory.

        Args:
            function: What to record.
            batch: Of the same shape each time.
            now: What is done with it.
        """
        if self._failed:
            return function(batch, now)
        if self._plain_calls[now] < WARM_UP:
            self._plain_calls[now] += 1
            return self._aside(function, batch, now)
        self._input = batch.clone() if self._input is None else self._input.copy_(batch)
        if now not in self._recordings:
            try:
                self._recordings[now] = self._record(function, self._input, now)
            except RuntimeError as error:
                self._give_up(error)
                return function(batch, now)
        graph, result = self._recordings[now]
        graph.replay()
        return self._copy(result)

    def forget(self) -> None:
        """Drops all recordings: what they change has been replaced."""
        self._recordings.clear()
        self._plain_calls.clear()

    def _aside(self, function: Callable[[Tensor, K], T], batch: Tensor, now: K) -> T:
        # Gradients remember the stream that they were first made on, and the usual one cannot be recorded.
        # It is one for all calls, since each keeps the memory that was once used on it.
        if self._beside is None:
            self._beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            result = function(batch, now)
        torch.cuda.current_stream().wait_stream(self._beside)
        return result

    def _record(
        self, function: Callable[[Tensor, K], T], batch: Tensor, now: K
    ) -> tuple[torch.cuda.CUDAGraph, T]:
        graph = torch.cuda.CUDAGraph()
        if torch.__version__ < LAZY_GENERATORS:
            graph.register_generator_state(self._draws.generator)
        usual = torch.cuda.current_stream()
        # This thread alone is watched: the one that reads pictures ahead may take memory meanwhile. And torch
        # leaves its stream for a recording current where one cannot be ended.
        with torch.cuda.stream(usual), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = function(batch, now)
        return graph, result

    def _give_up(self, error: RuntimeError) -> None:
        log.warning("steps are not recorded as a CUDA graph, which costs speed only: %s", error)
        self._failed = True
        self._recordings.clear()
        self._draws.renew()  # a recording that broke off leaves a generator of no more use
