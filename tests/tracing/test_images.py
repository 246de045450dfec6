"""The spans of an image at work, and of the webhooks that tell of it."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.testing import capture_logs

from safelight.domain.ids import JobId, WorkerId
from safelight.domain.order import JobOrder
from safelight.engine.orders.submit import submit
from safelight.settings import Settings
from safelight.tracing.spans import SpanName, span
from tests.delivery import stage
from tests.delivery.receiver import receiving, status
from tests.engine.by_hand import admit_again, pipeline_of, run
from tests.engine.test_claim import fall_silent, register
from tests.orders import attempts_of, image, order, vendor_image
from tests.tracing.recorded import Spans, parent_id, recorded, said, span_id, trace_id

CANARY = "canary-in-a-prompt"


async def register_for_gemini(pool: asyncpg.Pool) -> WorkerId:
    worker_id = await register(pool)
    await pool.execute("UPDATE workers SET providers = '{gemini}' WHERE id = $1", worker_id)
    return worker_id


async def submitted(pool: asyncpg.Pool, wish: JobOrder) -> JobId:
    """As within a request."""
    with span("POST /v1/jobs"):
        return (await submit(pool, wish, run_limit_seconds=3600)).job_id


def shape(spans: Spans) -> dict[str, str | None]:
    """Each span's name, with the name of the one that it is a part of."""
    names = {span_id(each): each.name for each in spans.all}
    return {each.name: names.get(parent_id(each) or "") for each in spans.all}


async def test_an_image_is_a_span_of_the_request_that_ordered_it(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    worker_id = await register_for_gemini(pool)
    with recorded() as spans:
        wish = order(replace(vendor_image("one"), prompt=CANARY))
        job_id = await submitted(pool, wish)
        async with pipeline_of(settings, pool, worker_id) as pipeline:
            await run(pipeline, await admit_again(pool, queue))

    assert shape(spans) == {
        "POST /v1/jobs": None,
        "image": "POST /v1/jobs",
        "commit": "image",
        "provider.submit": "image",
        "stage": "image",
        "render": "image",
        "receive": "image",
        "store": "image",
        "settle": "image",
    }
    assert {trace_id(each) for each in spans.all} == {trace_id(spans.one("POST /v1/jobs"))}
    (attempt,) = await attempts_of(pool, job_id)
    assert said(spans.one("image")) == {
        "job_id": job_id,
        "image_id": "one",
        "provider": "gemini",
        "model": "gemini-3.1-flash-lite-image",
        "attempt": 1,
        "outcome": "completed",
        "cost_microusd": attempt["cost_microusd"],
    }
    assert said(spans.one("provider.submit"))["outcome"] == "picture"
    assert CANARY not in spans.text
    assert not spans.one("image").status.description


async def test_no_vendor_hears_of_a_trace(settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    worker_id = await register_for_gemini(pool)
    async with receiving() as vendor:
        vendor.answer = status(500)
        gemini = settings.providers["gemini"].model_copy(update={"base_url": vendor.url("")})
        settings = settings.model_copy(update={"providers": {**settings.providers, "gemini": gemini}})
        with recorded() as spans:
            await submitted(pool, order(vendor_image("one")))
            async with pipeline_of(settings, pool, worker_id) as pipeline:
                await run(pipeline, await admit_again(pool, queue))
    (call,) = vendor.messages
    assert not {"traceparent", "tracestate", "baggage"} & set(call.headers)
    asked = spans.one("provider.submit")
    assert (said(asked)["outcome"], said(asked)["http.response.status_code"]) == ("error", 500)
    assert said(asked)["error.type"] == "ProviderError"
    assert asked.events == (), "no exception's message"
    assert said(spans.one("image"))["outcome"] == "released"


async def test_an_image_of_a_worker_that_died_goes_on_in_its_trace(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    dead, alive = await register(pool), await register(pool)
    with recorded() as spans:
        await submitted(pool, order(image("one")))
        hint = await admit_again(pool, queue)
        async with pipeline_of(settings, pool, dead) as pipeline:
            assert await pipeline.claim(hint) is not None
        await fall_silent(pool, dead)
        async with pipeline_of(settings, pool, alive) as pipeline:
            await run(pipeline, hint)
    assert said(spans.one("image"))["outcome"] == "completed"
    assert trace_id(spans.one("image")) == trace_id(spans.one("POST /v1/jobs"))


async def test_what_an_attempt_logs_names_the_image_and_its_trace(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    worker_id = await register(pool)
    with recorded() as spans:
        job_id = await submitted(pool, order(image("one")))
        async with pipeline_of(settings, pool, worker_id) as pipeline:
            settings.blobs.rename(settings.home / "elsewhere")
            settings.blobs.write_bytes(b"no folder")
            with capture_logs(processors=[merge_contextvars]) as lines:
                await run(pipeline, await admit_again(pool, queue))
    assert [line["event"] for line in lines] == ["rendering or storing failed"]
    about = {"job_id": job_id, "image_id": "one", "attempt": 1, "provider": "placeholder"}
    about["trace_id"] = trace_id(spans.one("image"))
    assert {name: lines[0][name] for name in about} == about
    assert get_contextvars() == {}


async def test_a_webhook_tells_its_receiver_of_the_trace_of_its_job(pool: asyncpg.Pool) -> None:
    async with receiving() as receiver, stage.courier(pool):
        with recorded() as spans:
            endpoint_id, secret = await stage.endpoint(pool, receiver.url(f"/hook?token={CANARY}"))
            with span("POST /v1/jobs"):
                job_id = await stage.job(pool)
            await stage.nothing_waits(pool)
    (message,) = receiver.messages
    posted = spans.one(SpanName.WEBHOOK)
    ordered = spans.one("POST /v1/jobs")
    assert message.headers["traceparent"] == f"00-{trace_id(ordered)}-{span_id(posted)}-03", "sampled, at random"
    assert parent_id(posted) == span_id(ordered)
    assert said(posted) == {
        "job_id": job_id,
        "endpoint_id": endpoint_id,
        "delivery_id": message.id,
        "event_type": "job.created",
        "attempt": 1,
        "http.response.status_code": 204,
    }
    message.verified(secret)
    assert CANARY not in spans.text
    assert secret.removeprefix("whsec_") not in spans.text


async def test_a_webhook_that_is_not_taken_is_a_span_that_failed(pool: asyncpg.Pool) -> None:
    async with receiving() as receiver, stage.courier(pool):
        receiver.answer = status(500, body=b"the receiver's own words")
        with recorded() as spans, capture_logs():
            await stage.endpoint(pool, receiver.url())
            await stage.job(pool)
            await stage.failed(pool, 1)
    posted = spans.named("webhook")[0]
    assert said(posted)["http.response.status_code"] == 500
    assert said(posted)["error.type"] == "not_taken"
    assert "own words" not in spans.text
