"""Keys and one-time submits in real processes: made while a service runs, refused everywhere, raced for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.domain.access import KeyScope
from tests.api.conftest import image, job
from tests.api.doors import bearer, key_for
from tests.crash.processes import api, free_port, ran


async def test_a_service_runs_open_and_says_so_until_a_command_makes_the_first_key(
    database: str, tmp_path: Path
) -> None:
    settings = {"database_url": database, "home": tmp_path}
    async with api(log=tmp_path / "api.log", **settings) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        assert "running open" in (tmp_path / "api.log").read_text()
        made = await ran("keys", "create", "--admin", "--name", "first", **settings)
        assert made.code == 0, made.err
        key = made.out.strip()
        await until_refused(client)
        assert (await client.get("/v1/keys", headers=bearer(key))).json()["keys"][0]["name"] == "first"

        listed = await ran("jobs", "list", "--json", url=str(client.base_url), api_key=key, **settings)
        assert (listed.code, json.loads(listed.out)["jobs"]) == (0, [])
        refused = await ran("jobs", "list", url=str(client.base_url), api_key=None, **settings)
        assert refused.code == 1
        assert "SAFELIGHT_API_KEY" in refused.err

        shown = await ran("keys", "list", "--json", **settings)
        [only] = json.loads(shown.out)["keys"]
        assert key not in shown.out
        assert only["last_used_at"] is not None
        revoked = await ran("keys", "revoke", only["id"], **settings)
        assert revoked.code == 0, revoked.err
        await until_refused(client, bearer(key))


@pytest.mark.parametrize("process", ["api", pytest.param("serve", marks=pytest.mark.slow)])
async def test_where_others_reach_it_a_service_without_keys_does_not_start(
    database: str, tmp_path: Path, process: str
) -> None:
    bind = f"0.0.0.0:{free_port()}"
    refused = await ran(process, database_url=database, home=tmp_path, bind=bind)
    assert refused.code == 1
    assert "safelight keys create --admin" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.slow
async def test_where_others_reach_it_a_service_with_a_key_starts_and_asks_for_it(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    key, _ = await key_for(pool, "default")
    async with api(log=tmp_path / "api.log", host="0.0.0.0", database_url=database, home=tmp_path) as client:
        assert (await client.get("/v1/jobs")).status_code == 401
        assert (await client.get("/v1/jobs", headers=bearer(key))).status_code == 200


async def test_submits_that_race_for_one_key_in_two_processes_make_one_job(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    settings = {"database_url": database, "home": tmp_path}
    async with api(log=tmp_path / "one.log", **settings) as one, api(log=tmp_path / "two.log", **settings) as two:

        async def race(key: str, bodies: list[dict[str, Any]]) -> list[httpx2.Response]:
            """All at once, in turns against the two, each over a line of its own."""
            head = {"Idempotency-Key": key}
            pairs = zip(bodies, [one, two] * len(bodies), strict=False)
            return await asyncio.gather(*(each.post("/v1/jobs", json=body, headers=head) for body, each in pairs))

        same = await race("same", [only("one")] * 100)
        mixed = await race("mixed", [only("even"), only("even"), only("odd"), only("odd")] * 10)

    assert Counter(each.status_code for each in same) == {202: 100}
    assert Counter(each.headers.get("idempotency-replayed") for each in same) == {"true": 99, None: 1}
    [job_id] = {each.json()["id"] for each in same}
    assert await pool.fetchval("SELECT count(*) FROM images WHERE job_id = $1", job_id) == 1
    assert await pool.fetchval("SELECT count(*) FROM events WHERE job_id = $1 AND type = 'job.created'", job_id) == 1

    assert Counter(each.status_code for each in mixed) == {202: 20, 422: 20}
    assert {each.json()["type"] for each in mixed if each.status_code == 422} == {"/problems/idempotency-key-reused"}
    [job_id] = {each.json()["id"] for each in mixed if each.status_code == 202}
    winner = await pool.fetchval("SELECT id FROM images WHERE job_id = $1", job_id)
    assert winner == ("even" if mixed[0].status_code == 202 else "odd")
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 2


def only(image_id: str) -> dict[str, Any]:
    return job(images=[image(image_id, provider="placeholder")])


async def until_refused(client: httpx2.AsyncClient, headers: dict[str, str] | None = None) -> None:
    """Asked again and again: what a process remembers of keys ends by itself, and it tells nobody."""
    async with asyncio.timeout(30):
        while True:
            if (await client.get("/v1/keys", headers=headers)).status_code == 401:
                return
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_key_that_one_process_revokes_is_refused_by_the_other(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    settings = {"database_url": database, "home": tmp_path}
    key, key_id = await key_for(pool, "acme", KeyScope.ADMIN)
    admin, _ = await key_for(pool, "default", KeyScope.ADMIN)
    async with api(log=tmp_path / "one.log", **settings) as one, api(log=tmp_path / "two.log", **settings) as two:
        assert [(await each.get("/v1/jobs", headers=bearer(key))).status_code for each in (one, two)] == [200, 200]
        assert (await one.delete(f"/v1/keys/{key_id}", headers=bearer(admin))).status_code == 204
        assert (await one.get("/v1/jobs", headers=bearer(key))).status_code == 401
        await until_refused(two, bearer(key))
