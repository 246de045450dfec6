"""Sending spans: to a collector that takes them, to one that hangs, to none, and without what it needs."""

from __future__ import annotations

import logging
import sys
import time

import asyncpg
import pytest
from structlog.testing import capture_logs

from safelight.cli.complaint import Complaint
from safelight.cli.traces import traced
from safelight.logs import _SILENT
from safelight.settings import Settings
from safelight.tracing.spans import span
from tests.crash.processes import free_port
from tests.delivery.receiver import hang, receiving
from tests.engine.by_hand import admitted_one, pipeline_of, run
from tests.engine.test_claim import register
from tests.orders import ended, image
from tests.tracing.collector import collecting


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `configure_logging` leaves it."""
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for variable in ("OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        monkeypatch.delenv(variable, raising=False)


async def test_the_last_spans_are_sent_at_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with traced(Settings(), "worker"):
            with span("outer"), span("inner"):
                pass
        await collector.has("outer", "inner")
    inner, outer = collector.spans
    assert (inner.parent_id, inner.trace_id) == (outer.span_id, outer.trace_id)
    assert (inner.service, inner.process) == ("safelight", "worker")


async def test_a_service_is_called_as_opentelemetrys_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
        async with traced(Settings(), "api"):
            with span("one"):
                pass
        await collector.has("one")
    assert [each.service for each in collector.spans] == ["pictures"]


async def test_a_collector_that_hangs_delays_no_image_and_no_stop(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_id = await register(pool)
    async with receiving() as collector:
        collector.answer = hang
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url(""))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        with capture_logs() as lines:
            async with traced(settings, "worker"):
                with span("the first"):
                    pass
                await collector.has(1)
                job_id, hint = await admitted_one(pool, queue, image("one"))
                async with pipeline_of(settings, pool, worker_id) as pipeline:
                    await run(pipeline, hint)
                assert await ended(pool, job_id) == "completed"
                for _ in range(50):
                    with span("more than fit"):
                        pass
                began_at = time.monotonic()
            assert time.monotonic() - began_at < 25, "the collector is given 100 seconds to answer"
    assert [line["event"] for line in lines] == ["the last traces were not sent in time"]


async def test_a_collector_that_is_down_is_told_of_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    with capture_logs() as lines:
        async with traced(Settings(), "worker"):
            for _ in range(20):
                with span("one"):
                    pass
    assert [line["event"] for line in lines if line["event"] == "traces were not sent"] == ["traces were not sent"]
    assert [record.name for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def test_nothing_is_recorded_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert not Settings().sends_traces
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert Settings().sends_traces
    assert not Settings(traces=False).sends_traces
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not Settings().sends_traces
    async with traced(Settings(), "worker"):
        with span("one") as nothing:
            assert nothing.context is None


async def test_what_cannot_be_done_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safelight.tracing.export", None)  # as without the extra
    with pytest.raises(Complaint, match=r"safelight\[otel\]"):
        async with traced(Settings(traces=True), "worker"):
            pass
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    with capture_logs() as lines:
        async with traced(Settings(), "worker"):
            pass
    assert [line["event"] for line in lines] == ["no traces are sent"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(Complaint, match="http/protobuf"):
        async with traced(Settings(traces=True), "worker"):
            pass
