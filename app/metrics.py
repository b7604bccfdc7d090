"""What the service counts, in the forms that Prometheus reads: ``GET /metrics``.

Nothing is written for Prometheus while requests are answered: what the parts of the service count for
themselves is read when it is asked for.
"""

import asyncio
import json
import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate

import onnxruntime
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.cache import AnswerCache
from app.registry import Registry
from app.tally import Histogram, HttpTally, ModelTally

router = APIRouter(tags=["operations"])

OPENMETRICS = "application/openmetrics-text"


class _Nowhere(CollectorRegistry):
    """Keeps the client library's collectors out of its global registry."""


_PROCESS: tuple[Collector, ...] = (ProcessCollector(registry=_Nowhere()), GCCollector(registry=_Nowhere()))


class Told:
    """Families that were collected already, as the library wants to collect them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Returns the families."""
        return self._families


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, OPENMETRICS: {}}, "description": "The metrics"}},
)
async def metrics(request: Request) -> Response:
    """Tell what all workers have counted, for Prometheus."""
    app = request.app
    told = [tell(app), *await app.state.siblings.ask()]
    try:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
    except (TypeError, ValueError):  # a version that is no number
        encode, media_type = choose_encoder("")
    content = await asyncio.to_thread(lambda: encode(Told(_join(told))))
    return Response(content, headers={"content-type": media_type, "cache-control": "no-store"})


def tell(app: FastAPI) -> bytes:
    """Returns what this worker has counted, as JSON; each value with the worker's place."""
    place = str(app.state.siblings.place)
    families = [
        [
            *(family.name, family.documentation, family.type, family.unit),
            [[sample.name, {"worker": place} | sample.labels, sample.value] for sample in family.samples],
        ]
        for family in collect(app)
    ]
    return json.dumps(families).encode()


def _join(told: Iterable[bytes]) -> Iterator[Metric]:
    """Makes one family of what each worker says of it, and counts the workers."""
    joined: dict[str, Metric] = {}
    workers = 0
    for text in told:
        workers += 1
        for name, documentation, kind, unit, samples in json.loads(text):
            family = joined.setdefault(name, Metric(name, documentation, kind, unit))
            for sample in samples:
                family.add_sample(*sample)
    yield from joined.values()
    yield GaugeMetricFamily("seedling_workers", "Workers that answered for these metrics.", workers)


def collect(app: FastAPI) -> Iterator[Metric]:
    """Yields every family of this worker."""
    registry: Registry = app.state.registry
    yield from _http(app.state.tally)
    yield from _cache(app.state.cache)
    tallies = dict(registry.tallies)  # at once: a thread that loads a model may add one
    yield from _pictures(tallies)
    yield from _queue(registry, tallies, app.state.settings.timeout_s(None))
    yield from _models(registry)
    yield _gauge(
        "seedling_workers_expected",
        "Workers that the setting asks for.",
        {(): app.state.settings.workers},
        (),
    )
    build = (app.version, platform.python_version(), onnxruntime.__version__)
    yield _gauge(
        "seedling_build_info", "What runs; always 1.", {build: 1}, ("version", "python", "onnxruntime")
    )
    if (access_log := app.state.access_log) is not None:
        yield _counter(
            "seedling_access_log_dropped_lines",
            "Lines of the access log that were not written, for the reader was too slow.",
            {(): access_log.dropped},
            (),
        )
    for collector in _PROCESS:
        yield from collector.collect()


Values = dict[tuple[str, ...], float]


def _counter(name: str, text: str, values: Values, labels: tuple[str, ...]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family


def _gauge(name: str, text: str, values: Values, labels: tuple[str, ...]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family


def _histogram(name: str, text: str, values: dict[str, Histogram], label: str) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for given, histogram in values.items():
        bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric([given], buckets, histogram.total)
    return family


def _http(tally: HttpTally) -> Iterator[Metric]:
    routes = tally.routes
    answers: Values = {
        (name, method, str(status)): count
        for name, route in routes.items()
        for (method, status), count in route.answers.items()
    }
    yield _counter("seedling_requests", "Requests answered.", answers, ("route", "method", "status"))
    yield _histogram(
        "seedling_request_seconds",
        "Time from a request's headers to the last byte of its answer; without refusals at the door.",
        {name: route.seconds for name, route in routes.items()},
        "route",
    )
    yield _counter(
        "seedling_sent_bytes",
        "Bytes of the answers' bodies.",
        {(name,): route.sent for name, route in routes.items()},
        ("route",),
    )
    refused: Values = {(cause,): count for cause, count in tally.refused.items()}
    yield _counter("seedling_rejections", "Requests refused.", refused, ("cause",))
    yield _gauge("seedling_requests_open", "Requests that are being answered.", {(): tally.open}, ())
    yield _gauge("seedling_connections", "Connections that are open.", {(): len(tally.connections)}, ())


def _cache(cache: AnswerCache) -> Iterator[Metric]:
    yield _counter("seedling_cache_hits", "Answers found in the memory of answers.", {(): cache.hits}, ())
    yield _counter("seedling_cache_misses", "Answers looked for there in vain.", {(): cache.misses}, ())
    yield _gauge("seedling_cache_bytes", "Memory that it takes.", {(): cache.size}, ())
    yield _gauge("seedling_cache_limit_bytes", "Most that it may take.", {(): cache.max_bytes}, ())


def _pictures(tallies: dict[str, ModelTally]) -> Iterator[Metric]:
    each = tallies.items()
    yield _counter(
        "seedling_pictures_asked",
        "Pictures that were let in.",
        {(name,): tally.asked for name, tally in each},
        ("model",),
    )
    ends: Values = {
        (name, outcome): getattr(tally, outcome)
        for name, tally in each
        for outcome in ("grown", "shared", "dropped", "failed")
    }
    yield _counter("seedling_pictures", "What became of them.", ends, ("model", "outcome"))
    yield _gauge(
        "seedling_streams_open",
        "Streams of pictures that are being sent.",
        {(name,): tally.streams for name, tally in each},
        ("model",),
    )
    for name, text, histograms in (
        ("wait_seconds", "Time that each picture waited.", {n: t.wait for n, t in each}),
        ("batch_pictures", "Pictures grown together.", {n: t.batch for n, t in each}),
        ("engine_seconds", "Time to grow each batch.", {n: t.engine for n, t in each}),
        ("encode_seconds", "Time to pack each picture, sheet or archive.", {n: t.encode for n, t in each}),
    ):
        yield _histogram(f"seedling_{name}", text, histograms, "model")


def _queue(registry: Registry, tallies: dict[str, ModelTally], timeout_s: float) -> Iterator[Metric]:
    queued: Values = dict.fromkeys(((name, state) for name in tallies for state in ("waiting", "growing")), 0)
    limits: Values = {}
    rates: Values = {}
    for engine in registry.engines:  # an old one and the one that took its place have one name
        name = engine.model.card.name
        for state, count in engine.queued.items():
            queued[name, state] += count
        limits[name,] = engine.admission.room(timeout_s)
        rates[name,] = engine.admission.drain.pictures_per_s()
    yield _gauge("seedling_queue_pictures", "Pictures in the queue.", queued, ("model", "state"))
    yield _gauge(
        "seedling_queue_limit_pictures",
        "Most pictures that are let into the queue: what it has room for, or what can be done in time.",
        limits,
        ("model",),
    )
    yield _gauge(
        "seedling_drain_pictures_per_second",
        "Pictures a second when there is enough to do, as measured last.",
        rates,
        ("model",),
    )


def _models(registry: Registry) -> Iterator[Metric]:
    info: Values = {}
    statuses: Values = {}
    for entry in registry.entries():
        status = "broken" if entry.error else entry.status  # also where an older file is served on
        statuses[status,] = statuses.get((status,), 0) + 1
        if (engine := entry.engine) is not None:
            default = str(entry.name == registry.default_name).lower()
            model = engine.model
            info[entry.name, engine.edition, model.provider, model.precision, default] = 1
    labels = ("model", "edition", "provider", "precision", "default")
    yield _gauge("seedling_model_info", "What is served; always 1.", info, labels)
    for status in ("ready", "loading", "broken"):
        statuses.setdefault((status,), 0)
    yield _gauge("seedling_models", "Models and model files, by their state.", statuses, ("status",))
    loads: Values = {(outcome,): registry.loads[outcome] for outcome in ("ok", "failed")}
    yield _counter("seedling_model_loads", "Model files that were loaded or failed to.", loads, ("outcome",))
