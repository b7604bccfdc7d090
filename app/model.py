"""A model file, loaded: what it says of itself, and the runners that grow its pictures."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from app import layout
from app.layout import Layout, Run
from app.memory import return_large_blocks
from app.runners import CARD, CudaRunner, Pictures, Runner, SessionRunner
from app.sessions import ModelFile, ProviderError, choose_precision, choose_provider, read_card
from app.settings import Settings
from models.contract import ModelCard, ModelFileError, SeedlingError

log = logging.getLogger("seedling")

BASE_SIZES = {"cpu": 1, "openvino": 1, "cuda": 64}
"""The batch size that decides a picture's bytes on each provider. A card takes little longer over 64
pictures than over one."""

OTHER_SIZES = {"cpu": (4,), "openvino": (4, 16), "cuda": (1, 16, 256)}
"""Batch sizes that run too if they give the same bytes and are faster."""

PROBE_COUNT = 4
"""Pictures whose bytes tell one kind of processor from another."""

REPEATS = 3
"""Times that a card has to give a batch the same bytes again: a transposed convolution on an H100 gave some
of 64 pictures others each time."""

CUDA_LANES = 2
"""While one lane's pictures are copied from the card, the other's are computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A loaded model file."""

    card: ModelCard
    sha256: str
    """SHA-256 of the file, as hexadecimal."""
    provider: str
    """``cpu``, ``cuda`` or ``openvino``."""
    precision: str
    """The arithmetic: ``float32``, or a cheaper one that was asked for or that the file has."""
    layout: Layout
    runners: tuple[Runner, ...]
    """One for each lane."""
    alone: Runner | None
    """For a picture that is alone in the engine; None takes the lane's, where a runner serves one thread."""
    probe: Pictures
    """Some pictures as they are grown here, (N, H, W, C) uint8."""

    def describe(self) -> dict[str, Any]:
        """Returns what ``/v1/models`` says."""
        return asdict(self.card) | {
            "stored": self.card.precision,
            "sha256": self.sha256,
            "provider": self.provider,
            "precision": self.precision,
            "layout": asdict(self.layout),
        }


@dataclass(frozen=True, slots=True)
class Opened:
    """A model file with its first session, not measured yet."""

    file: ModelFile
    session: ort.InferenceSession


OpenFile = Callable[[Settings, Path], Opened]


def open_file(settings: Settings, path: Path) -> Opened:
    """Opens a model file for the provider that the operator wants, with all threads.

    Raises:
        ModelFileError: If the file is missing, or is not ONNX.
        ProviderError: If the provider or the precision that was asked for cannot be had.
    """
    provider = choose_provider(settings.provider)
    if provider != "cuda":  # whose batches come back as large blocks: to give each back costs 20 copies of it
        return_large_blocks()
    precision = choose_precision(settings.precision, provider)
    try:
        content = path.open("rb")
    except OSError as error:
        raise ModelFileError(f"it cannot be read: {error.strerror}") from error
    try:
        file = ModelFile(content, provider, precision)
        return Opened(file, file.open(1 if provider == "cuda" else settings.cpus))
    except BaseException:
        content.close()
        raise


def load(settings: Settings, path: Path | None = None, open_file: OpenFile = open_file) -> Model:
    """Loads a model file, and measures how to run it best.

    Args:
        settings: What the operator set.
        path: The file; the one that the settings name when missing.
        open_file: What opens it.

    Raises:
        ModelFileError: If the file is missing, is not ONNX, or does not keep the contract.
        ProviderError: If the provider or the precision that was asked for cannot be had.
    """
    path = settings.model if path is None else path
    try:
        opened = open_file(settings, path)
        file = opened.file
        with file.content:
            planner = _cuda if file.provider == "cuda" else _processors
            card, plan, runners, alone = planner(opened, settings)
            sha256 = file.sha256()
    except ProviderError:
        raise
    except (SeedlingError, ValueError, RecursionError) as error:  # its card is not UTF-8, or all brackets
        raise ModelFileError(f"the model file {path} cannot be served: {error}") from error
    grow = layout.in_batches(runners[0].run, min(PROBE_COUNT, plan.batch_sizes[-1]))
    return Model(
        card=card,
        sha256=sha256,
        provider=file.provider,
        precision=card.arithmetic if file.precision == "float32" else file.precision,
        layout=plan,
        runners=runners,
        alone=alone,
        probe=grow(layout.probe(PROBE_COUNT, card.spec.z_dim)),
    )


Plan = tuple[ModelCard, Layout, tuple[Runner, ...], Runner | None]


def _processors(opened: Opened, settings: Settings) -> Plan:
    """Plans for a provider that computes on the processor's cores.

    All lanes share one session, so that the weights are in memory once. It has all threads, which serves a
    lone picture best. Under load, threads of one lane wait for each other; a second session with a
    lane's own share of the threads is kept only if that is clearly faster.
    """
    file, wide, cpus = opened.file, opened.session, settings.cpus
    card = read_card(wide)
    sizes = _find_sizes(SessionRunner(wide).run, file.provider, card, settings)
    shared = lane = SessionRunner(wide, sizes)
    lanes = settings.lanes or cpus
    batch = layout.probe(sizes[-1], card.spec.z_dim)
    ways = {cpus: [shared.run] * lanes}
    share = max(1, cpus // lanes)
    # Where batches gain, a run has more to do between waits, and a second session has little to win.
    if share < cpus and sizes[-1] == 1:
        lane = SessionRunner(file.open(share), sizes)
        if layout.agree(lane.run, shared.run, batch):
            ways[share] = [lane.run] * lanes
    threads, speed = layout.fastest(ways, batch)
    lane = shared if threads == cpus else lane
    plan = Layout(
        lanes=lanes,
        threads=threads,
        alone_threads=cpus,
        batch_sizes=sizes,
        pictures_per_s=round(speed, 1),
    )
    return card, plan, (lane,) * lanes, shared


def _cuda(opened: Opened, settings: Settings) -> Plan:
    """Plans for a CUDA card: lanes with a session and so a stream each."""
    file, session = opened.file, opened.session
    card = read_card(session)
    candidates = settings.batch_sizes or (BASE_SIZES["cuda"], *OTHER_SIZES["cuda"])
    first = card_runner(file, session, sorted(candidates))
    sizes = _find_sizes(first.run, "cuda", card, settings)
    batch = layout.probe(sizes[-1], card.spec.z_dim)
    if not all(layout.agree(first.run, first.run, batch) for _ in range(REPEATS)):
        raise ModelFileError(
            "on this card its pictures have other bytes from run to run, as those of transposed convolutions "
            "may; write it in a form without: python -m export.convert SRC DST --form phases"
        )
    lanes = settings.lanes or CUDA_LANES
    if isinstance(first, SessionRunner):  # it could not be recorded, and several lanes may share it
        runners: list[Runner] = [SessionRunner(first.session, sizes, CARD)] * lanes
    else:
        runners = [CudaRunner(file.open(threads=1), sizes) for _ in range(lanes)]
    plan = Layout(
        lanes=lanes,
        threads=1,
        alone_threads=1,
        batch_sizes=sizes,
        pictures_per_s=round(layout.measure([runner.run for runner in runners], batch), 1),
    )
    return card, plan, tuple(runners), None


def card_runner(
    file: ModelFile, session: ort.InferenceSession, sizes: Sequence[int], device: str = "cuda"
) -> Runner:
    """Returns a runner of CUDA graphs; where they cannot be recorded, after a sentence, one without.

    Args:
        file: What is opened anew in that case.
        session: A session opened with graphs.
        sizes: Batch sizes that may run, ascending.
        device: Where the runner's buffers are.
    """
    try:
        return CudaRunner(session, sizes, device)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base of their own
        reason = str(error).strip().splitlines()[-1]
        log.warning("the model is not recorded as CUDA graphs, which costs speed only: %s", reason)
    return SessionRunner(file.open(threads=1, recorded=False), sizes, CARD)


def _find_sizes(run: Run, provider: str, card: ModelCard, settings: Settings) -> tuple[int, ...]:
    """Returns the batch sizes to run, ascending: they give the same bytes, and larger ones are faster."""
    z_dim = card.spec.z_dim
    if settings.batch_sizes:
        base, *others = sorted(set(settings.batch_sizes))
        sizes = layout.agreeing_sizes(run, base, others, z_dim)
        for size in set(others) - set(sizes):
            log.warning("batch size %d is left out: it would change a picture's bytes", size)
        return tuple(sizes)
    sizes = layout.agreeing_sizes(run, BASE_SIZES[provider], OTHER_SIZES[provider], z_dim)
    return layout.worthwhile_sizes(run, sizes, z_dim)
