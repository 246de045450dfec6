"""Sends spans to a collector, by OTLP over HTTP, with OpenTelemetry's SDK: the extra `otel`.

Where to, how often, how many and with which headers is said by OpenTelemetry's own variables, which the SDK reads.
Spans wait in a queue of limited length and leave in batches from a thread of their own; with a collector that is slow
or down the newest push out the oldest, and nobody waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from safelight import __version__
from safelight.tracing.recorder import OpenTelemetryRecorder
from safelight.tracing.spans import recording

FLUSH_SECONDS = 3.0
"""What a process that stops gives the collector for its last spans. Chosen: no stop is delayed by more."""
_SAY_SECONDS = 60.0
_UNNAMED = "unknown_service"

log = structlog.get_logger(__name__)


def provider_of(process: str) -> TracerProvider:
    """What samples spans and sends them to the collector that OpenTelemetry's variables name; `process` is what this
    one is called in the resource. Raises ValueError for a variable that the SDK cannot read.

    It is not made the process's global one: libraries that record by themselves would put addresses into spans.
    """
    exporter = OTLPSpanExporter()
    provider = TracerProvider(resource=_resource(process), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Quiet(exporter)))
    return provider


@asynccontextmanager
async def exporting(provider: TracerProvider) -> AsyncIterator[None]:
    """Spans of this process are recorded and sent for as long as the block lasts. At the end what waits is sent, within
    `FLUSH_SECONDS`, or dropped."""
    try:
        with recording(OpenTelemetryRecorder(provider)):
            yield
    finally:
        await _flush(provider)


class _Quiet(SpanExporter):
    """Says now and then that spans are lost, in one line, in place of a few for each try."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._said_at: float | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # whatever a batch meets, the thread that sends goes on
            result = SpanExportResult.FAILURE
            self._note_lost(len(spans), type(error).__name__)
        else:
            if result is not SpanExportResult.SUCCESS:
                self._note_lost(len(spans), "the collector did not take them")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _note_lost(self, spans: int, why: str) -> None:
        self._lost += spans
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= _SAY_SECONDS:
            log.warning("traces were not sent", spans=self._lost, why=why)
            self._lost, self._said_at = 0, now


def _resource(process: str) -> Resource:
    resource = Resource.create({"safelight.process": process})
    if str(resource.attributes.get(SERVICE_NAME, _UNNAMED)).startswith(_UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: "safelight", SERVICE_VERSION: __version__}))
    return resource


async def _flush(provider: TracerProvider) -> None:
    """In a thread that nobody waits for when it takes too long, not even the interpreter at its end."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, name="flush traces", daemon=True).start()
    try:
        async with asyncio.timeout(FLUSH_SECONDS):
            await done.wait()
    except TimeoutError:
        log.warning("the last traces were not sent in time", seconds=FLUSH_SECONDS)
