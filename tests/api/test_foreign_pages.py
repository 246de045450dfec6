"""A page on the web that makes a browser of this machine call a service that needs no key."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from tests.api.conftest import job, serving
from tests.api.doors import admin_key, bearer
from tests.api.problems import refusal

FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site"},
)


@pytest.mark.parametrize("headers", FOREIGN)
async def test_nothing_that_changes_something_is_taken_from_it(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, headers: dict[str, str]
):
    form = {"prompt": (None, "a cat"), "image": ("a.png", b"x", "image/png")}
    ordered = await client.post("/openai/v1/images/edits", files=form, headers=headers)
    assert (ordered.status_code, ordered.json()["error"]["type"]) == (403, "invalid_request_error")
    refusal(await client.post("/v1/queue/pause", headers=headers), 403, "foreign-page")
    refusal(await client.post("/v1/uploads", files={"file": b"x"}, headers=headers), 403, "foreign-page")
    assert (await client.get("/v1/queue", headers=headers)).json()["paused"] is False


async def test_programs_and_the_services_own_pages_are_taken_as_ever(client: httpx2.AsyncClient):
    own = str(client.base_url).rstrip("/")
    for headers in ({}, {"Origin": own}, {"Sec-Fetch-Site": "same-origin", "Origin": own}, {"Sec-Fetch-Site": "none"}):
        assert (await client.post("/v1/jobs", json=job(), headers=headers)).status_code == 202


async def test_a_key_counts_wherever_it_is_sent_from(deps: ApiDependencies, pool: asyncpg.Pool):
    key = await admin_key(pool)
    async with serving(replace(deps, may_run_open=False)) as client:
        headers = {**bearer(key), "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/v1/queue/pause", headers=headers)).status_code == 200
