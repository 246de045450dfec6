"""How many requests a minute a caller may make: who is counted, what is not, and how the refusal reads."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from safelight.api.app import ApiDependencies, create_app
from safelight.api.edge.openapi import Application
from safelight.api.edge.rate import RequestRate
from safelight.domain.access import ANYBODY, Caller, KeyScope
from safelight.domain.errors import Unavailable
from safelight.domain.ids import new_key_id
from safelight.domain.keys import new_key
from safelight.settings import Settings
from safelight.wiring.api import api_of
from tests.api import wire
from tests.api.conftest import Serve, job, listening, submitted
from tests.api.doors import as_caller, bearer, key_for
from tests.api.problems import refusal

SOMEBODY = Caller(account="acme", scopes=frozenset({KeyScope.READ}), key_id="key_one")


async def test_requests_beyond_the_rate_of_their_key_are_refused_before_their_body_is_read(
    serve_with: Serve, pool: asyncpg.Pool
):
    key, key_id = await key_for(pool, "acme")
    other, _ = await key_for(pool, "acme")
    async with serve_with(may_run_open=False, requests_per_minute=3) as http, as_caller(http, key) as client:
        assert [(await client.get("/v1/jobs")).status_code for _ in range(3)] == [200, 200, 200]

        with capture_logs() as logs:
            refused = await client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": "mine"})

        problem = refusal(refused, 429, "rate-limited")
        assert problem["retryable"]
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert "3 a minute" in problem["detail"]
        [line] = [each for each in logs if each["event"] == "request"]
        assert (line["status"], line["key_id"]) == (429, key_id)
        assert await pool.fetchval("SELECT count(*) FROM jobs") == 0
        async with wire.connection(client) as (reader, writer), asyncio.timeout(30):
            writer.write(
                wire.request("POST", "/v1/jobs", (("Authorization", f"Bearer {key}"), ("Content-Length", "50")), b"")
            )
            refusal(await wire.answer_of(reader), 429, "rate-limited")  # nothing of the body has been sent
        again = await client.post(
            "/v1/jobs", json=job(), headers={"Idempotency-Key": "mine"} | bearer(other)
        )  # the account's other key has a count of its own
        assert (again.status_code, again.headers.get("idempotency-replayed")) == (202, None)


async def test_a_client_of_openai_is_told_in_openai_s_own_form(serve_with: Serve, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "acme")
    async with serve_with(may_run_open=False, requests_per_minute=1) as http, as_caller(http, key) as client:
        assert (await client.get("/openai/v1/models")).status_code == 200

        refused = await client.post("/openai/v1/images/generations", json={"prompt": "A brass key"})

    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert refused.headers["x-should-retry"] == "true"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_probes_figures_and_strangers_are_not_counted(serve_with: Serve, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "acme")
    async with serve_with(may_run_open=False, requests_per_minute=1) as http:
        await http.get("/v1/jobs", headers=bearer(key))
        refusal(await http.get("/v1/jobs", headers=bearer(key)), 429, "rate-limited")

        assert (await http.get("/api/metrics/image-generation", headers=bearer(key))).status_code == 200
        for _ in range(2):
            for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/problems/rate-limited"):
                assert (await http.get(path, headers=bearer(key))).status_code == 200, path
            refusal(await http.get("/v1/jobs"), 401, "unauthenticated")
            refusal(await http.get("/v1/jobs", headers=bearer(new_key(new_key_id()))), 401, "unauthenticated")
            link = "/v1/jobs/job_1/images/one?expires=1&key=a&signature=b"
            refusal(await http.get(link), 403, "invalid-signature")
        told = (await http.get("/metrics")).text
    assert 'safelight_http_requests_total{method="GET",route="none",status="429"}' in told


async def test_where_no_key_is_needed_addresses_are_counted_and_pictures_are_not(serve_with: Serve):
    async with serve_with(requests_per_minute=2) as client:
        address = (await submitted(client))["urls"]["self"]
        assert (await client.get(address)).status_code == 200
        problem = refusal(await client.get(address), 429, "rate-limited")
        assert problem["detail"].startswith("This address")

        elsewhere = {"X-Forwarded-For": "192.0.2.1"}
        assert (await client.get(address, headers=elsewhere)).status_code == 200
        for path in ("/images/one", "/images/one/card", "/images/one"):
            refusal(await client.get(address + path), 409, "image-not-ready")
        refusal(await client.post(address + "/cancel"), 429, "rate-limited")


async def test_the_dashboard_asks_for_somebody_without_being_counted(tmp_path: Path, database: str):
    settings = Settings(home=tmp_path, database_url=database, requests_per_minute=1)
    async with api_of(settings, database) as app:
        assert isinstance(app, Application)
        async with listening(app) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
            assert (await client.get("/v1/jobs")).status_code == 200
            for _ in range(2):
                assert (await client.get("/dashboard/queue")).status_code == 200
            refusal(await client.get("/v1/jobs"), 429, "rate-limited")


async def test_there_is_no_limit_until_one_is_set(tmp_path: Path):
    assert Settings(home=tmp_path).requests_per_minute is None
    rate = RequestRate(None)
    for _ in range(1000):
        await rate.require_room(request(), SOMEBODY)


async def test_room_comes_back_by_and_by():
    rate = RequestRate(6000)
    while await has_room(rate, request()):
        pass

    deadline = time.monotonic() + 30
    while not await has_room(rate, request()):
        assert time.monotonic() < deadline


async def test_of_too_many_callers_the_one_heard_of_longest_ago_is_forgotten():
    rate = RequestRate(1, most_callers=2)
    assert [await has_room(rate, request(each), ANYBODY) for each in ("192.0.2.1", "192.0.2.2")] == [True, True]
    assert not await has_room(rate, request("192.0.2.1"), ANYBODY)

    assert await has_room(rate, request("2001:db8::3"), ANYBODY)

    assert [await has_room(rate, request(each), ANYBODY) for each in ("192.0.2.1", "192.0.2.2")] == [False, True]


@pytest.mark.parametrize("said", [(None, "unknown", "a" * 9000, ""), ("fe80::1%eth0", "fe80::1%" + "a" * 9000)])
async def test_nobody_is_another_one_for_calling_an_address_otherwise(said: tuple[str | None, ...]):
    rate = RequestRate(1)
    assert [await has_room(rate, request(each), ANYBODY) for each in said] == [True] + [False] * (len(said) - 1)


def test_the_document_says_where_requests_are_counted(deps: ApiDependencies):
    document = create_app(deps).openapi()
    for path, methods in document["paths"].items():
        is_counted = path.startswith(("/v1/", "/openai/"))
        for method, operation in methods.items():
            assert ("429" in operation["responses"]) == is_counted, (method, path)


async def has_room(rate: RequestRate, asked: Request, caller: Caller = SOMEBODY) -> bool:
    try:
        await rate.require_room(asked, caller)
    except Unavailable:
        return False
    return True


def request(client: str | None = "192.0.2.1", path: str = "/v1/jobs") -> Request:
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    return Request({**scope, "client": (client, 1) if client is not None else None})
