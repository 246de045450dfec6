"""A request's span, and the line that the log has of it."""

from __future__ import annotations

import asyncpg
import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from tests.api.conftest import job
from tests.api.doors import bearer, key_for
from tests.tracing.recorded import CALLER, CALLER_SPAN, CALLER_TRACE, parent_id, recorded, said, span_id, trace_id
from tests.tracing.test_context import BROKEN

CANARY = "canary-in-a-query"


async def kept_context(pool: asyncpg.Pool, answer: httpx2.Response) -> str | None:
    assert answer.status_code == 202, answer.text
    return await pool.fetchval("SELECT trace_context FROM jobs WHERE id = $1", answer.json()["id"])


async def test_a_request_is_a_span_of_its_callers_trace_and_its_job_belongs_there(
    pool: asyncpg.Pool, client: httpx2.AsyncClient
) -> None:
    headers = {"traceparent": CALLER, "tracestate": "vendor=1"}
    with recorded() as spans:
        answer = await client.post("/v1/jobs", json=job(), headers=headers)
        kept = await kept_context(pool, answer)
        await client.get(f"/v1/jobs/{answer.json()['id']}?wait={CANARY}")
        await client.get("/healthz")

    span = spans.one("POST /v1/jobs")
    assert (trace_id(span), parent_id(span)) == (CALLER_TRACE, CALLER_SPAN)
    assert kept == f"00-{CALLER_TRACE}-{span_id(span)}-01 vendor=1"
    assert said(span) == {
        "http.request.method": "POST",
        "http.route": "/v1/jobs",
        "http.response.status_code": 202,
        "request_id": answer.headers["x-request-id"],
    }
    assert spans.one("GET /v1/jobs/{job_id}").parent is None
    assert not [name for name in spans.names if "healthz" in name]
    assert CANARY not in spans.text


async def test_a_broken_traceparent_is_ignored(pool: asyncpg.Pool, client: httpx2.AsyncClient) -> None:
    with recorded() as spans:
        for header in BROKEN:
            if not header.isascii() or not header.isprintable():
                continue  # no client sends it
            kept = await kept_context(pool, await client.post("/v1/jobs", json=job(), headers={"traceparent": header}))
            assert kept is not None
            assert trace_id(spans.all[-1]) == kept[3:35] != CALLER_TRACE
            assert spans.all[-1].parent is None


async def test_a_trace_is_handed_on_where_nothing_is_recorded(pool: asyncpg.Pool, client: httpx2.AsyncClient) -> None:
    assert (
        await kept_context(pool, await client.post("/v1/jobs", json=job(), headers={"traceparent": CALLER})) == CALLER
    )
    assert await kept_context(pool, await client.post("/v1/jobs", json=job())) is None


async def test_a_trace_that_is_not_sampled_is_handed_on_and_not_recorded(
    pool: asyncpg.Pool, client: httpx2.AsyncClient
) -> None:
    with recorded() as spans:
        headers = {"traceparent": CALLER[:-2] + "00"}
        kept = await kept_context(pool, await client.post("/v1/jobs", json=job(), headers=headers))
    assert kept is not None
    assert (kept[3:35], kept[-2:]) == (CALLER_TRACE, "00")
    assert spans.all == ()


async def test_a_request_is_one_line_that_names_its_key_and_no_query(
    pool: asyncpg.Pool, client: httpx2.AsyncClient
) -> None:
    key, key_id = await key_for(pool, "acme")
    with recorded(), capture_logs() as lines:
        answer = await client.get(f"/v1/jobs?cursor={CANARY}", headers=bearer(key) | {"traceparent": CALLER})
        await client.get(f"/v1/{key}/%0a", headers=bearer(key))
        await client.get("/healthz")
        await client.get("/v1/jobs")
    told = [line for line in lines if line["event"] == "request"]
    assert [(each["log_level"], each["path"], each["status"]) for each in told] == [
        ("info", "/v1/jobs", answer.status_code),
        ("info", "[it held a key]", 404),
        ("debug", "/healthz", 200),
        ("info", "/v1/jobs", 401),
    ]
    first = told[0]
    assert (first["method"], first["route"], first["key_id"]) == ("GET", "/v1/jobs", key_id)
    assert first["request_id"] == answer.headers["x-request-id"]
    assert first["duration_ms"] > 0
    assert told[3]["key_id"] is None
    assert CANARY not in str(lines)
    assert key not in str(lines)


async def test_a_method_that_is_not_served_names_no_span(client: httpx2.AsyncClient) -> None:
    with recorded() as spans:
        await client.request("PROPFIND", "/v1/jobs")
    assert [name.split()[0] for name in spans.names] == ["_OTHER"]


async def test_the_web_framework_records_nothing_by_itself(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)  # as an agent would set it
    await client.get(f"/v1/jobs?cursor={CANARY}")
    assert exporter.get_finished_spans() == ()
