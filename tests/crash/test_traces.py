"""One trace from a request to the vendor's call and the webhook, through processes that die; and nothing in it, or in
any line of the log, that is secret or a caller's own words."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import asyncpg
import pytest

from safelight.domain.ids import JobId
from safelight.sandbox.server import RunningSandbox
from tests.api.doors import bearer, key_for
from tests.crash.processes import api, started
from tests.delivery.receiver import receiving
from tests.orders import ended, until
from tests.tracing.collector import collecting
from tests.tracing.recorded import CALLER, CALLER_SPAN, CALLER_TRACE

PROMPT, PROVIDER_KEY, URL = "canary-prompt-41c6", "canary-vendor-key-0e9d", "canary-url-token-77aa"
QUERY = "canary-query-2f18"


async def test_a_request_its_images_and_its_webhook_are_one_trace_although_a_worker_dies(
    database: str, pool: asyncpg.Pool, tmp_path: Path, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, key_id = await key_for(pool, "acme")
    log = tmp_path / "all.log"
    async with collecting() as collector, receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        settings = {
            "database_url": database,
            "home": tmp_path,
            "log_json": True,
            "egress_allow": "http://127.0.0.0/8:*",
            "providers__gemini__kind": "gemini",
            "providers__gemini__base_url": sandbox.gemini_url(),
            "providers__gemini__model": "gemini-3.1-flash-lite-image",
            "providers__gemini__api_key": PROVIDER_KEY,
            "lease_seconds": 2,
            "sweep_seconds": 0.3,
            "admission_seconds": 0.1,
            "dequeue_seconds": 0.2,
        }
        async with api(log=log, **settings) as client:
            client.headers.update(bearer(key))
            endpoint = (await client.post("/v1/webhooks", json={"url": receiver.url(f"/hook?token={URL}")})).json()
            wish = {"images": [{"id": "one", "prompt": PROMPT, "provider": "gemini"}]}
            headers = {"traceparent": CALLER, "tracestate": "vendor=7"}
            async with started("worker", log=log, failpoint="claimed:kill@1", **settings) as dying:
                accepted = await client.post("/v1/jobs", json=wish, headers=headers)
                assert accepted.status_code == 202, accepted.text
                async with asyncio.timeout(30):
                    assert await dying.wait() == -signal.SIGKILL
            of_the_dead = len(receiver.messages)  # it may have posted one, and died before it told of it
            async with started("worker", log=log, **settings):
                job_id = accepted.json()["id"]
                assert await ended(pool, JobId(job_id)) == "completed"
                await until(pool, "SELECT count(*) = 0 FROM deliveries WHERE status = 'pending'")
            await client.get(f"/v1/jobs/{job_id}?nothing={QUERY}")
        spans = {span.span_id: span for span in collector.spans if span.trace_id == CALLER_TRACE}
        raw = collector.raw

    def parent(name: str) -> str:
        (span,) = [each for each in spans.values() if each.name == name]
        return spans[span.parent_id].name if span.parent_id in spans else span.parent_id

    assert parent("POST /v1/jobs") == CALLER_SPAN
    assert parent("image") == "POST /v1/jobs", "of the worker that died nothing was sent"
    assert {parent(name) for name in ("provider.submit", "stage", "render", "store", "settle")} == {"image"}
    posted = [span for span in spans.values() if span.name == "webhook"]
    assert {spans[span.parent_id].name for span in posted} == {"POST /v1/jobs"}
    assert {span.said["safelight.job_id"] for span in posted} == {job_id}
    assert {span.process for span in spans.values()} == {"api", "worker"}
    heard = [message.headers["traceparent"].split("-")[2] for message in receiver.messages]
    assert heard[of_the_dead:]
    assert set(heard[of_the_dead:]) <= {span.span_id for span in posted} <= set(heard)
    assert {message.headers["tracestate"] for message in receiver.messages} == {"vendor=7"}

    said = log.read_text()
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (line,) = [each for each in lines if each.get("route") == "/v1/jobs" and each["method"] == "POST"]
    assert (line["status"], line["key_id"], line["trace_id"]) == (202, key_id, CALLER_TRACE)
    assert line["request_id"] == accepted.headers["x-request-id"]
    for canary in (PROMPT, PROVIDER_KEY, URL, QUERY, key, endpoint["secret"].removeprefix("whsec_")):
        assert canary.encode() not in raw, "in a span"
        assert canary not in said, "in a log"
