"""Every way to ask wrongly: the answer is a problem of its own kind, nothing is created, and no key is used up."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs

from safelight.api.app import ApiDependencies
from tests.api import wire
from tests.api.bad_heads import BAD_HOSTS, HEAD, NO_HTTP
from tests.api.bad_request import JSON, BadRequest
from tests.api.bad_requests import bad_requests
from tests.api.conftest import Serve, image, job, serving, submitted
from tests.api.problems import refusal

TABLES = ("jobs", "images", "events", "attempts")
ALL_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"


async def rows(pool: asyncpg.Pool) -> list[int]:
    return [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]


async def all_rows(pool: asyncpg.Pool) -> dict[str, int]:
    """How many there are in each table: whatever is created is one of them."""
    tables = [row["tablename"] for row in await pool.fetch(ALL_TABLES)]
    return {table: await pool.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables}


@asynccontextmanager
async def nothing_happens(pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No row comes or goes, and nothing is logged that an operator would have to look at."""
    before = await all_rows(pool)
    assert len(before) > 10
    with capture_logs() as logs:
        yield
    assert await all_rows(pool) == before
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_every_bad_request_is_refused_as_what_it_is(
    client: httpx2.AsyncClient,
    pool: asyncpg.Pool,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
):
    table = list(bad_requests())
    assert len({bad.name for bad in table}) == len(table)

    async with nothing_happens(pool, caplog):
        answers = await in_turns(wire.exchange(client, keyed(bad, number)) for number, bad in enumerate(table))
        for bad, response in zip(table, answers, strict=True):
            with subtests.test(bad.name):
                problem = refusal(response, bad.status, bad.slug)
                if bad.at is not None:
                    assert [each["pointer"] for each in problem["errors"]] == list(bad.at)
                assert (bad.status == 422) == bool(problem["errors"])
                assert "Traceback" not in response.text

    unused = [f"row-{number}" for number, bad in enumerate(table) if has_key_of_its_own(bad)]
    assert len(unused) > 100
    answers = await in_turns(client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": key}) for key in unused)
    for key, accepted in zip(unused, answers, strict=True):
        assert (accepted.status_code, accepted.headers.get("idempotency-replayed")) == (202, None), key


async def in_turns(asked: Iterable[Coroutine[Any, Any, httpx2.Response]], *, at_once: int = 8) -> list[httpx2.Response]:
    turns = asyncio.Semaphore(at_once)

    async def one(each: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
        async with turns:
            return await each

    return list(await asyncio.gather(*map(one, asked)))


def has_key_of_its_own(bad: BadRequest) -> bool:
    named = {name.lower() for name, _ in bad.headers}
    return (bad.method, bad.target) == ("POST", "/v1/jobs") and "idempotency-key" not in named


def keyed(bad: BadRequest, number: int) -> bytes:
    key: tuple[wire.Header, ...] = (("Idempotency-Key", f"row-{number}"),) if has_key_of_its_own(bad) else ()
    return wire.request(bad.method, bad.target, (*bad.headers, *key), bad.body)


async def test_what_is_no_http_is_refused_in_plain_text_and_ends_the_connection(
    client: httpx2.AsyncClient,
    pool: asyncpg.Pool,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
):
    async with nothing_happens(pool, caplog):
        for name, (raw, status) in NO_HTTP.items():
            with subtests.test(name):
                async with wire.connection(client) as (reader, writer), asyncio.timeout(30):
                    writer.write(raw)
                    response = await wire.answer_of(reader)
                    assert await reader.read() == b""
                assert (response.status_code, response.headers["connection"]) == (status, "close")
                assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await client.get("/healthz")).status_code == 200


async def test_a_name_that_is_not_ours_is_refused(
    client: httpx2.AsyncClient,
    pool: asyncpg.Pool,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
):
    body = json.dumps(job()).encode()
    async with nothing_happens(pool, caplog):
        for name, headers in BAD_HOSTS.items():
            with subtests.test(name):
                raw = wire.request("POST", "/v1/jobs", (*headers, *JSON), body, host=None)
                refusal(await wire.exchange(client, raw), 400, "bad-host")


async def test_a_body_that_does_not_arrive_in_time_is_given_up(serve_with: Serve, pool: asyncpg.Pool):
    async with (
        serve_with(body_seconds=0.2) as client,
        wire.connection(client) as (reader, writer),
        asyncio.timeout(30),
    ):
        writer.write(HEAD + b"Idempotency-Key: slow\r\nContent-Length: 50\r\n\r\n{")
        refusal(await wire.answer_of(reader), 408, "request-timeout")
        assert await reader.read() == b""  # the server closes: nobody waits any longer for the rest

        accepted = await client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": "slow"})
        assert accepted.status_code == 202


async def test_a_body_that_drips_is_given_up_in_the_same_time(serve_with: Serve, pool: asyncpg.Pool):
    async with serve_with(body_seconds=0.3) as client, wire.connection(client) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
        answer = asyncio.create_task(wire.answer_of(reader))
        async with asyncio.timeout(30):
            while not answer.done():
                writer.write(b" ")
                await asyncio.wait([answer], timeout=0.02)
        refusal(answer.result(), 408, "request-timeout")
    assert await rows(pool) == [0, 0, 0, 0]


@pytest.mark.parametrize("raw", [b"", b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b"])
async def test_a_request_whose_head_does_not_arrive_is_given_up(deps: ApiDependencies, raw: bytes):
    async with (
        serving(deps, head_seconds=0.2) as client,
        wire.connection(client) as (reader, writer),
        asyncio.timeout(30),
    ):
        writer.write(raw)
        assert (await wire.answer_of(reader)).status_code == 408
        assert await reader.read() == b""


async def test_a_key_of_another_request_is_refused_and_makes_nothing(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    key = {"Idempotency-Key": "mine"}
    await client.post("/v1/jobs", json=job(), headers=key)
    before = await rows(pool)

    for other in (job(images=[image("two")]), job(metadata={"a": "b"}), job(images=[image(), image("two")])):
        refusal(await client.post("/v1/jobs", json=other, headers=key), 422, "idempotency-key-reused")

    assert await rows(pool) == before


async def test_a_key_whose_first_request_is_still_being_accepted_is_in_use(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    first = await submitted(client)
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("UPDATE jobs SET idempotency_key = 'mine' WHERE id = $1", first["id"])
        response = await client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": "mine"})
        await transaction.rollback()

    problem = refusal(response, 409, "idempotency-in-progress")
    assert problem["retryable"]
    assert int(response.headers["retry-after"]) >= 1
    accepted = await client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": "mine"})
    assert (accepted.status_code, await pool.fetchval("SELECT count(*) FROM jobs")) == (202, 2)


async def test_the_same_request_again_is_answered_with_its_job_even_when_that_has_failed(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    key = {"Idempotency-Key": "mine"}
    first = await client.post("/v1/jobs", json=job(), headers=key)
    await pool.execute("UPDATE jobs SET status = 'failed'")

    again = await client.post("/v1/jobs", json=job(), headers=key)

    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_a_job_that_has_ended_cannot_be_canceled_except_again(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    cancel = (await submitted(client))["urls"]["cancel"]
    for status in ("completed", "partial", "failed"):
        await pool.execute("UPDATE jobs SET status = $1", status)
        refusal(await client.post(cancel), 409, "job-already-terminal")

    await pool.execute("UPDATE jobs SET status = 'canceled'")
    assert (await client.post(cancel)).status_code == 200


async def test_an_image_without_a_picture_cannot_be_fetched(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    address = (await submitted(client))["urls"]["self"]
    for status in ("queued", "failed", "refused", "canceled", "uncertain"):
        await pool.execute("UPDATE images SET status = $1", status)
        for path in ("/images/one", "/images/one/card"):
            refusal(await client.get(address + path), 409, "image-not-ready")


@pytest.mark.parametrize(
    ("sqlstate", "slug"), [("53100", "storage-full"), ("53300", "unavailable"), ("57P03", "unavailable")]
)
async def test_a_database_that_cannot_is_no_fault_of_the_request(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, sqlstate: str, slug: str
):
    await pool.execute(
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN RAISE EXCEPTION ''no'' USING ERRCODE = ''{sqlstate}''; END'"
    )
    await pool.execute("CREATE TRIGGER fail BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION fail()")
    key = {"Idempotency-Key": "mine"}

    response = await client.post("/v1/jobs", json=job(), headers=key)

    assert refusal(response, 503, slug)["retryable"]
    assert int(response.headers["retry-after"]) >= 1
    assert await rows(pool) == [0, 0, 0, 0]
    await pool.execute("DROP TRIGGER fail ON images")
    accepted = await client.post("/v1/jobs", json=job(), headers=key)
    assert (accepted.status_code, accepted.headers.get("idempotency-replayed")) == (202, None)


async def test_without_a_database_everything_is_unavailable(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    address = (await submitted(client))["urls"]["self"]
    await pool.close()

    for response in (
        await client.post("/v1/jobs", json=job()),
        await client.get("/v1/jobs"),
        await client.get("/v1/jobs?metadata.a=1"),
        await client.get(address),
        await client.get(f"{address}?wait=20"),
        await client.get(f"{address}/events"),
        await client.get(f"{address}/images/one"),
        await client.post(f"{address}/cancel"),
        await client.post(f"{address}/retry", json={"prompt_overrides": {"one": "Another"}}),
    ):
        refusal(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1


STRANGE = {
    "a quote": "'; DROP TABLE jobs; --",
    "SQL wildcards": "100% _like_ \\% %s %(a)s $1 :name ?",
    "a template": "{{7*7}} ${7*7} {0} {} <%= 7 %> #{7}",
    "markup": "<script>alert(1)</script> &amp; ]]>",
    "right to left": "مفتاح نحاسي \u202e gnp.exe \u2066x\u2069",
    "emoji": "🗝️👩🏽‍🚀🏳️‍🌈 𝔟𝔯𝔞𝔰𝔰",
    "combining": "e\u0301 vs \u00e9; Z\u0351\u036b\u0343a\u0350\u0312lgo",
    "wide": "\uff1b\uff07\u2028\u2029\ufeff\u00a0x",
    "lines": "one\n\ttwo\\n\\u0000",
    "a path": "../../etc/passwd %00 C:\\",
}


async def test_strange_texts_are_kept_byte_for_byte(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
):
    for name, text in STRANGE.items():
        with subtests.test(name):
            for ensure_ascii in (True, False):
                order = job(images=[image(prompt=text)], metadata={text[:64]: text})
                body = json.dumps(order, ensure_ascii=ensure_ascii).encode()
                raw = wire.request("POST", "/v1/jobs", JSON, body)
                response = await wire.exchange(client, raw)
                assert response.status_code == 202, response.text
                accepted = response.json()
                assert accepted["metadata"] == {text[:64]: text}
                assert await pool.fetchval("SELECT prompt FROM images WHERE job_id = $1", accepted["id"]) == text
                found = (await client.get("/v1/jobs", params={f"metadata.{text[:64]}": text, "limit": 1})).json()
                assert [each["id"] for each in found["jobs"]] == [accepted["id"]]
