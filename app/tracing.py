"""Traces by OpenTelemetry: a request, the wait of its pictures, the batches that they were grown in.

The SDK is the extra ``otel`` and is loaded only if there is somewhere to send traces to. FastAPI makes the
span of a request, and takes it up where ``traceparent`` says; what happens in the engine's threads is told
here when a batch is delivered, with the times that the engine notes anyway.

Source: W3C Trace Context; OpenTelemetry's semantic conventions for HTTP.
"""

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

from models.contract import SeedlingError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from app.orders import Batch, Order

FLUSH_S = 2.0
"""How long the end of the service waits for spans to be sent, in seconds."""

UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})
"""Addresses that machines ask all the time."""

OFF = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
"""FastAPI's own telemetry when there is nowhere to send it: nothing."""


class TracingError(SeedlingError):
    """Traces were asked for and cannot be sent."""


class Tracing:
    """Sends spans to a collector.

    Args:
        collector: Its address for OTLP over HTTP, such as ``http://localhost:4318``.
        version: The service's.
        place: Which of the workers this is.

    Raises:
        TracingError: If the extra is not installed.
    """

    def __init__(self, collector: str, version: str, place: int) -> None:
        self._provider = _open(collector, version, place)
        self._tracer = self._provider.get_tracer("seedling", version)

    @property
    def telemetry(self) -> TelemetryConfig:
        """FastAPI's settings: spans of requests, and nothing else."""
        return TelemetryConfig(
            tracer_provider=self._provider,
            tracing=True,
            metrics=False,
            logs=False,
            operation_spans=False,
            auto_configure=False,
            exclude=lambda scope: scope.get("path") in UNTRACED,
        )

    async def stop(self) -> None:
        """Sends what is left, for some time; a collector that is away must not keep the service."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FLUSH_S)

    @staticmethod
    def current() -> SpanContext | None:
        """Returns the span of the request at hand, if it is recorded."""
        span = trace.get_current_span()
        return span.get_span_context() if span.is_recording() else None

    def tell(self, batch: "Batch") -> None:
        """Tells of a batch: to each request of it when its pictures waited and were grown and packed.

        The batch itself is a span of the request that came first, with links to all; so is each request's
        own part linked to the batch.
        """
        parts = _parts(batch)
        if not parts:
            return
        contexts = [context for context in (order.span for order in parts) if context is not None]
        of_batch = self._span(
            "batch",
            contexts[0],
            (batch.taken, batch.packed[-1]),
            links=contexts,
            attributes={"seedling.pictures": len(batch.jobs)},
        )
        for order, indices in parts.items():
            assert order.span is not None
            since = min(batch.jobs[k].since for k in indices)
            told = {"seedling.pictures": len(indices)}
            self._span("queue", order.span, (since, batch.taken), attributes=told)
            self._span("grow", order.span, (batch.taken, batch.grown), links=[of_batch], attributes=told)
            if batch.jobs[indices[0]].encoded:
                packed = batch.packed[indices[-1]]
                self._span("encode", order.span, (batch.grown, packed), attributes=told)

    def packed(self, began: float, ended: float) -> None:
        """Tells that something was packed for the request at hand; times are of the monotonic clock."""
        if (parent := self.current()) is not None:
            self._span("encode", parent, (began, ended))

    def _span(
        self,
        name: str,
        parent: SpanContext,
        times: tuple[float, float],
        links: list[SpanContext] | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> SpanContext:
        """Records a span that is over; its times are seconds of the monotonic clock."""
        since_1970 = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            name,
            trace.set_span_in_context(NonRecordingSpan(parent)),
            links=[Link(context) for context in links or ()],
            attributes=attributes,
            start_time=since_1970 + int(1e9 * times[0]),
        )
        span.end(since_1970 + int(1e9 * times[1]))
        return span.get_span_context()


def _parts(batch: "Batch") -> "dict[Order, list[int]]":
    """Returns the requests of a batch that are recorded, in order, each with the places of its pictures."""
    parts: dict[Order, list[int]] = {}
    for k, job in enumerate(batch.jobs):
        for order in job.orders:
            if order.span is not None:
                parts.setdefault(order, []).append(k)
    return parts


def _open(collector: str, version: str, place: int) -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise TracingError(
            f"SEEDLING_TRACES (--traces): it takes the extra otel (pip install 'seedling[otel]'): {error}"
        ) from error
    ours: dict[str, str | int] = {
        "service.name": "seedling",
        "service.version": version,
        "seedling.worker": place,
    }
    provider = TracerProvider(
        resource=Resource.create().merge(Resource(dict(ours))).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
