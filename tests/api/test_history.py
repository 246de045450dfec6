"""Finding earlier jobs again."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx2

from safelight.db.statements import load
from tests.api.conftest import image, submitted
from tests.api.problems import refusal


async def listed(client: httpx2.AsyncClient, **filters: Any) -> list[str]:
    response = await client.get("/v1/jobs", params=filters)
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()["jobs"]]


async def test_jobs_are_found_by_what_their_caller_wrote_on_them(client: httpx2.AsyncClient):
    one = (await submitted(client, metadata={"case": "1", "mood": "noir"}))["id"]
    two = (await submitted(client, metadata={"case": "2", "mood": "noir"}))["id"]
    await submitted(client)

    assert await listed(client, **{"metadata.mood": "noir"}) == [two, one]
    assert await listed(client, **{"metadata.case": "1"}) == [one]
    assert await listed(client, **{"metadata.case": "2", "metadata.mood": "noir"}) == [two]
    assert await listed(client, **{"metadata.case": "2", "metadata.mood": "bright"}) == []
    assert await listed(client, **{"metadata.Case": "1"}) == []
    assert await listed(client, **{"metadata.case": ""}) == []


async def test_jobs_are_found_by_the_group_of_an_image(client: httpx2.AsyncClient):
    both = (await submitted(client, images=[image("a", group="cover"), image("b", group="back")]))["id"]
    cover = (await submitted(client, images=[image("a", group="cover")]))["id"]
    none = (await submitted(client))["id"]

    assert await listed(client, group="cover") == [cover, both]
    assert await listed(client, group="back") == [both]
    assert await listed(client, group="") == [none]
    assert await listed(client, group="nowhere") == []


async def test_jobs_are_found_by_their_time(client: httpx2.AsyncClient):
    first, second = await submitted(client), await submitted(client)
    made = datetime.fromisoformat(first["created_at"])

    assert await listed(client, created_after=first["created_at"]) == [second["id"]]
    assert await listed(client, created_after=(made - timedelta(seconds=1)).isoformat()) == [second["id"], first["id"]]
    assert await listed(client, created_after=second["created_at"]) == []


async def test_filters_that_come_together_must_all_be_met(client: httpx2.AsyncClient):
    wanted = await submitted(client, images=[image(group="cover")], metadata={"case": "1"})
    other = await submitted(client, images=[image(group="cover")], metadata={"case": "1"})
    await submitted(client, images=[image(group="back")], metadata={"case": "1"})
    await submitted(client, images=[image(group="cover")], metadata={"case": "2"})
    await client.post(other["urls"]["cancel"])

    found = await listed(client, status="pending", group="cover", **{"metadata.case": "1"})

    assert found == [wanted["id"]]


async def test_a_filtered_list_is_read_page_by_page_and_its_cursors_are_good_for_it_alone(client: httpx2.AsyncClient):
    filters = {"metadata.case": "1", "group": "cover", "status": "pending", "created_after": "2020-01-01T00:00:00Z"}
    made = [(await submitted(client, images=[image(group="cover")], metadata={"case": "1"}))["id"] for _ in range(5)]
    await submitted(client)

    first = (await client.get("/v1/jobs", params={**filters, "limit": 3})).json()
    cursor = first["next_cursor"]
    rest = (await client.get("/v1/jobs", params={**filters, "limit": 3, "cursor": cursor})).json()

    assert [each["id"] for each in first["jobs"] + rest["jobs"]] == made[::-1]
    assert rest["next_cursor"] is None
    same_moment = {**filters, "created_after": "2020-01-01T01:00:00+01:00", "cursor": cursor}
    assert (await client.get("/v1/jobs", params=same_moment)).status_code == 200
    for other in (
        {**filters, "metadata.case": "2"},
        {**filters, "metadata.mood": "noir"},
        {**filters, "group": "back"},
        {**filters, "status": "failed"},
        {**filters, "created_after": "2020-01-02T00:00:00Z"},
        {},
        *({name: value for name, value in filters.items() if name != left_out} for left_out in filters),
    ):
        refusal(await client.get("/v1/jobs", params={**other, "cursor": cursor}), 400, "invalid-cursor")


async def test_a_parameter_that_does_not_exist_is_named(client: httpx2.AsyncClient):
    response = await client.get("/v1/jobs?statsu=failed&limit=5&gruop=x")

    problem = refusal(response, 422, "unknown-field")
    assert [each["parameter"] for each in problem["errors"]] == ["statsu", "gruop"]


async def test_metadata_is_looked_up_in_its_index_and_the_newest_in_theirs(pool: asyncpg.Pool):
    await pool.execute(
        "INSERT INTO jobs (id, account, request_fingerprint, outputs, metadata, deadline_seconds, on_deadline,"
        " run_started_at, deadline_at, run_ends_at, created_at)"
        " SELECT 'job_' || lpad(n::text, 26, '0'), CASE n % 50 WHEN 0 THEN 'default' ELSE 'other' END, '', '[]',"
        " jsonb_build_object('case', n::text), 1, 'fail', now(),"
        " now(), now(), now() FROM generate_series(1, 20000) AS n"
    )
    await pool.execute("VACUUM ANALYZE jobs")

    by_metadata = await plan(pool, metadata={"case": "50"})
    newest = await plan(pool)
    of_everybody = await plan(pool, account=None)

    assert "jobs_metadata" in by_metadata
    assert "jobs_newest" in newest
    assert "jobs_pkey" in of_everybody
    assert "Sort" not in newest + of_everybody


async def plan(pool: asyncpg.Pool, *, account: str | None = "default", metadata: Any = None) -> str:
    """Of a statement that was asked so often that the server would rather not plan it anew."""
    sql = load("history")
    arguments = (account, None, None, 21, None, None, metadata, False, None, None, None, None)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(sql.plan_anew)
        explained = "EXPLAIN (FORMAT JSON) " + sql.jobs
        plans = [json.dumps(await conn.fetchval(explained, *arguments)) for _ in range(7)]
    return plans[-1]
