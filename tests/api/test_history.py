"""Finding earlier jobs again."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.api.history.images import PAGE_IMAGES
from safelight.api.history.tables import lines
from safelight.api.jobs.table import PAGE_JOBS
from safelight.db.statements import load
from tests.api.conftest import image, serving, submitted
from tests.api.doors import as_caller, key_for
from tests.api.problems import refusal
from tests.engine.test_long_backlog import nodes
from tests.engine.test_statistics import fill


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

    by_metadata = await plan(pool, metadata='{"case": "50"}')
    newest = await plan(pool)
    of_everybody = await plan(pool, account=None)

    assert "jobs_metadata" in by_metadata
    assert "jobs_newest" in newest
    assert "jobs_pkey" in of_everybody
    assert "Sort" not in newest + of_everybody


async def plan(pool: asyncpg.Pool, *, account: str | None = "default", metadata: str | None = None) -> str:
    """Of a statement that was prepared, as the driver does it, and asked often: then the server is free to plan it once
    for all filters."""
    sql = load("history")
    given = [f"'{each}'" if each is not None else "NULL" for each in (account, metadata)]
    arguments = f"{given[0]}, NULL, NULL, 21, NULL, NULL, {given[1]}, false, NULL, NULL, NULL, NULL"
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(sql.plan_anew)
        await conn.execute(f"PREPARE asked AS {sql.jobs}")
        plans = [await conn.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({arguments})") for _ in range(7)]
        await conn.execute("DEALLOCATE asked")
    return plans[-1]


async def test_a_list_shows_jobs_in_several_states(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    made = [(await submitted(client))["id"] for _ in range(4)]
    for job_id, status in zip(made, ("failed", "partial", "completed", "partial"), strict=True):
        await pool.execute("UPDATE jobs SET status = $2 WHERE id = $1", job_id, status)

    assert await listed(client, status=["failed", "partial"]) == [made[3], made[1], made[0]]
    assert await listed(client, status=["failed"]) == [made[0]]
    first = (await client.get("/v1/jobs", params={"status": ["failed", "partial"], "limit": 1})).json()
    same = {"status": ["partial", "failed"], "limit": 5, "cursor": first["next_cursor"]}
    assert await listed(client, **same) == [made[1], made[0]], "in whatever order they are named"
    refusal(await client.get("/v1/jobs", params={**same, "status": ["partial"]}), 400, "invalid-cursor")


async def test_what_is_asked_of_an_image_one_image_has_to_meet(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    picky = {"provider": "picky", "model": "picky-1"}
    job = await submitted(client, images=[image("a", group="cover", **picky), image("b", group="back")])
    other = await submitted(client, images=[image("a", group="back", **picky)])
    error = '{"kind": "SAFETY", "code": "X", "message": "", "retryable": false, "billed": "no"}'
    await pool.execute(
        "UPDATE images SET status = 'refused', error = $2::jsonb WHERE job_id = $1 AND id = 'b'",
        job["id"],
        json.loads(error),
    )

    assert await listed(client, provider="picky") == [other["id"], job["id"]]
    assert await listed(client, model="placeholder-1") == [job["id"]]
    assert await listed(client, error_kind="SAFETY") == [job["id"]]
    assert await listed(client, provider="picky", group="back") == [other["id"]]
    assert await listed(client, provider="picky", error_kind="SAFETY") == []
    assert await listed(client, provider="nobody") == []


async def test_a_time_has_two_ends(client: httpx2.AsyncClient):
    made = [await submitted(client) for _ in range(3)]
    between = {"created_after": made[0]["created_at"], "created_before": made[2]["created_at"]}
    assert await listed(client, **between) == [made[1]["id"]]


async def test_the_jobs_of_all_accounts_are_an_admins_to_see(deps: ApiDependencies, pool: asyncpg.Pool):
    async with serving(deps) as client:
        mine = (await submitted(client))["id"]
        theirs = (await submitted(client, account="studio"))["id"]
        assert await listed(client) == [mine]
        assert await listed(client, account="studio") == [theirs]
        assert await listed(client, account="*") == [theirs, mine]
        page = (await client.get("/v1/jobs", params={"account": "*"})).json()["jobs"]
        assert [each["account"] for each in page] == ["studio", "default"]
        assert [each["account"] for each in await images(client, account="*")] == ["studio", "default"]
    key, _ = await key_for(pool, "studio")
    async with serving(replace(deps, may_run_open=False)) as client, as_caller(client, key) as studio:
        assert await listed(studio) == [theirs]
        assert [each["job_id"] for each in await images(studio)] == [theirs]
        for path in ("/v1/jobs", "/v1/images"):
            for account in ("*", "default", "nobody"):
                refusal(await studio.get(path, params={"account": account}), 404, "not-found")


async def images(client: httpx2.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    response = await client.get("/v1/images", params=filters)
    assert response.status_code == 200, response.text
    return response.json()["images"]


async def test_single_images_are_listed_across_jobs(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    first = await submitted(client, images=[image("a", group="cover", style="noir"), image("b")])
    second = await submitted(client, images=[image("c"), image("d", group="cover")], metadata={"case": "7"})
    await pool.execute("UPDATE images SET status = 'completed' WHERE id IN ('a', 'c')")

    assert [each["id"] for each in await images(client)] == ["c", "d", "a", "b"]
    assert [each["id"] for each in await images(client, status="completed")] == ["c", "a"]
    assert [each["id"] for each in await images(client, group="cover")] == ["d", "a"]
    assert [each["id"] for each in await images(client, **{"metadata.case": "7"})] == ["c", "d"]
    assert [each["id"] for each in await images(client, created_before=second["created_at"])] == ["a", "b"]
    [shown] = await images(client, group="cover", status="completed")
    assert shown == {
        "job_id": first["id"],
        "account": "default",
        "id": "a",
        "group": "cover",
        "style": "noir",
        "status": "completed",
        "url": f"/v1/jobs/{first['id']}/images/a",
        "provider": "placeholder",
        "model": "placeholder-1",
        "attempt_count": 0,
        "retry_count": 0,
        "cost_usd": "0.000",
        "metadata": {},
        "created_at": first["created_at"],
        "started_at": None,
        "completed_at": None,
    }


async def test_images_are_read_page_by_page_across_jobs(client: httpx2.AsyncClient):
    for n in range(3):
        await submitted(client, images=[image(f"{n}-{position}") for position in range(3)])
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 2}
    while True:
        page = (await client.get("/v1/images", params=asked)).json()
        seen += [each["id"] for each in page["images"]]
        if page["next_cursor"] is None:
            break
        asked = {"limit": 2, "cursor": page["next_cursor"]}
        await submitted(client, images=[image("later")])
    assert seen == [f"{n}-{position}" for n in (2, 1, 0) for position in range(3)]
    jobs = (await client.get("/v1/jobs", params={"limit": 1})).json()["next_cursor"]
    for other in ({"cursor": jobs}, {"cursor": asked["cursor"], "status": "failed"}):
        refusal(await client.get("/v1/images", params=other), 400, "invalid-cursor")


async def test_a_page_of_images_is_found_by_index_and_not_sorted_out_of_all(pool: asyncpg.Pool):
    await fill(pool, jobs=4000, images=5)
    sql = load("history")
    for account, index in (("account-7", "jobs_newest"), (None, "jobs_pkey")):
        arguments = (account, None, None, 21, None, None, None, None, None, None, None, None)
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute(sql.plan_anew)
            explained = json.loads(await conn.fetchval("EXPLAIN (FORMAT JSON) " + sql.images, *arguments))
        plan = list(nodes(explained[0]["Plan"]))
        assert index in {node.get("Index Name") for node in plan}
        scanned = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
        assert not scanned & {"jobs", "images", "attempts"}
        assert "Incremental Sort" in {node["Node Type"] for node in plan}


async def test_the_history_comes_as_a_table(client: httpx2.AsyncClient):
    plain = await submitted(client)
    odd = await submitted(client, metadata={"case": 'A "quoted", long\nname', "sum": "=1+1"})

    shown = await client.get("/v1/jobs", headers={"Accept": "text/csv"})

    assert shown.status_code == 200
    assert shown.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert shown.headers["content-disposition"] == 'attachment; filename="jobs.csv"'
    assert shown.headers["cache-control"] == "no-store"
    assert shown.content.count(b"\r\n") == 3
    rows = list(csv.DictReader(io.StringIO(shown.content.decode(), newline="")))
    assert [row["id"] for row in rows] == [odd["id"], plain["id"]]
    assert json.loads(rows[0]["metadata"]) == odd["metadata"]
    told = {**plain, **{f"images_{name}": n for name, n in plain["counts"].items()}, **plain["cost"]}
    for name, cell in rows[1].items():
        if name != "metadata":
            value = told.get(name)
            assert cell == ("" if value is None else str(value).lower() if isinstance(value, bool) else str(value)), (
                name
            )


async def test_what_a_table_is_asked_for_counts_in_this_order(client: httpx2.AsyncClient):
    await submitted(client)
    for path in ("/v1/jobs", "/v1/images", "/v1/stats"):
        for asked, accept, is_table in (
            ({}, "*/*", False),
            ({}, "text/html,application/xhtml+xml,*/*;q=0.8", False),
            ({}, "text/csv", True),
            ({}, "text/csv;q=0.4, application/json;q=0.5", False),
            ({}, "application/json, text/csv", False),
            ({"format": "csv"}, "application/json", True),
            ({"format": "json"}, "text/csv", False),
        ):
            shown = await client.get(path, params=asked, headers={"Accept": accept})
            assert shown.headers["content-type"].startswith("text/csv" if is_table else "application/json"), asked


async def test_a_table_has_all_there_is_however_many_pages_that_takes(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await fill(pool, jobs=2 * PAGE_JOBS + 100, images=3)
    expected = await pool.fetch("SELECT job_id, id FROM images ORDER BY job_id DESC, position")

    jobs = await table(client, "/v1/jobs", account="*")
    pictures = await table(client, "/v1/images", account="*")

    assert [row["id"] for row in jobs] == list(dict.fromkeys(row["job_id"] for row in expected))
    assert len(pictures) > 2 * PAGE_IMAGES
    assert [(row["job_id"], row["id"]) for row in pictures] == [tuple(row) for row in expected]
    assert {row["cost_usd"] for row in pictures} == {"0.001"}
    assert [row["id"] for row in await table(client, "/v1/jobs", account="*", limit=7)] == [
        row["id"] for row in jobs[:7]
    ]
    page = (await client.get("/v1/jobs", params={"account": "*", "limit": 100})).json()
    rest = await table(client, "/v1/jobs", account="*", cursor=page["next_cursor"])
    assert [row["id"] for row in rest] == [row["id"] for row in jobs[100:]]


async def table(client: httpx2.AsyncClient, path: str, **asked: Any) -> list[dict[str, str]]:
    shown = await client.get(path, params={**asked, "format": "csv"})
    assert shown.status_code == 200, shown.text
    return list(csv.DictReader(io.StringIO(shown.content.decode(), newline="")))


async def test_a_table_that_cannot_be_read_to_its_end_breaks_off(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await fill(pool, jobs=PAGE_JOBS + 1, images=1)
    # Its last page is the only one with this job, whose figures the database then cannot work out.
    await pool.execute("UPDATE jobs SET priority = 2 WHERE id = (SELECT min(id) FROM jobs)")
    await pool.execute(
        "CREATE OR REPLACE FUNCTION charge_of(of_job text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN"
        " IF EXISTS (SELECT FROM jobs WHERE id = of_job AND priority = 2) THEN"
        " RAISE EXCEPTION 'no' USING ERRCODE = '57P01'; END IF; RETURN NULL; END $$"
    )
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get("/v1/jobs", params={"account": "*", "format": "csv"})


def test_a_text_that_looks_like_a_formula_is_shown_as_a_text():
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("http://x","y")'):
        [[cell]] = csv.reader(io.StringIO(lines([[text]]).decode(), newline=""))
        assert cell == f"'{text}"
    assert lines([["a=1", " =1", "1-1", -1, -0.5, True, None, ""]]) == b"a=1, =1,1-1,-1,-0.5,true,,\r\n"
    assert lines([["é🗝", 'say "no"', "a,b"]]) == 'é🗝,"say ""no""","a,b"\r\n'.encode()
