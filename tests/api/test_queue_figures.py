"""What a poll shows beyond states: the place in line, the forecast, what is waited for; and the backlog in figures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import orjson
import pytest

from safelight.api.schemas import Job, Queue
from safelight.db.statements import load
from safelight.engine.estimates.outlook import MAX_ACCOUNTS, MAX_AHEAD, MAX_OF_OTHERS
from tests.api.conftest import Serve, image, submitted
from tests.engine.test_claim import register
from tests.engine.test_long_backlog import fill, nodes, read

_ATTEMPT = (
    "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token, worker_id,"
    " sent_at, deadline_at, resolve_at, ended_at, cost_microusd)"
    " SELECT 'att_' || row_id, row_id, 1, 1, $2, provider, model, fingerprint, gen_random_uuid(), gen_random_uuid(),"
    " created_at + make_interval(secs => $3), created_at, created_at, created_at, 0 FROM images WHERE job_id = $1"
)


@pytest.fixture
async def client(serve_with: Serve) -> AsyncIterator[httpx2.AsyncClient]:
    """An API that looks anew at each request."""
    async with serve_with(traffic_seconds=0.0, history_seconds=0.0) as client:
        yield client


async def seen(client: httpx2.AsyncClient, job: dict[str, Any]) -> Job:
    response = await client.get(f"/v1/jobs/{job['id']}")
    assert response.status_code == 200, response.text
    return Job.model_validate_json(response.content)


async def queue_of(client: httpx2.AsyncClient) -> Queue:
    return Queue.model_validate_json((await client.get("/v1/queue")).content)


async def past(client: httpx2.AsyncClient, pool: asyncpg.Pool, *, waited: float, took: list[float]) -> dict[str, Any]:
    """A job that has ended: its images were called after so long, and then took so long."""
    job = await submitted(client, images=[image(f"i{n}") for n in range(len(took))])
    await pool.execute(_ATTEMPT, job["id"], "settled", waited)
    for position, seconds in enumerate(took):
        await pool.execute(
            "UPDATE images SET status = 'completed', completed_at = created_at + make_interval(secs => $3)"
            " WHERE job_id = $1 AND position = $2",
            job["id"],
            position,
            waited + seconds,
        )
    await pool.execute("UPDATE jobs SET status = 'completed' WHERE id = $1", job["id"])
    return job


async def test_a_job_knows_its_place_in_line_and_what_it_waits_for(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await register(pool)
    first = await submitted(client, images=[image(f"i{n}") for n in range(3)])
    second = await submitted(client)
    urgent = await submitted(client, priority="high")
    other = await submitted(client, images=[image(provider="picky", model="picky-1")])

    assert [(await seen(client, each)).queue_position for each in (urgent, first, second, other)] == [1, 2, 5, 1]
    assert (await seen(client, urgent)).current_step == "Waiting to start"
    assert (await seen(client, first)).current_step == "Waiting for 1 other image"
    assert (await seen(client, second)).current_step == "Waiting for 4 other images"
    assert (await seen(client, other)).current_step == "Waiting for a worker", "of the placeholder there is one"

    await pool.execute("UPDATE images SET status = 'canceled' WHERE job_id = ANY($1)", [urgent["id"], first["id"]])
    assert (await seen(client, second)).queue_position == 1
    assert (await seen(client, first)).queue_position is None


async def test_only_those_who_can_go_first_are_counted(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await register(pool)
    of_another_model = await submitted(client, images=[image(f"i{n}") for n in range(3)])
    await pool.execute("UPDATE images SET model = 'placeholder-2' WHERE job_id = $1", of_another_model["id"])
    not_due = await submitted(client, images=[image(f"i{n}") for n in range(2)])
    await pool.execute("UPDATE images SET not_before = '2999-01-01Z' WHERE job_id = $1", not_due["id"])
    of_nobody = await submitted(client)
    await pool.execute("UPDATE images SET provider = 'gone' WHERE job_id = $1", of_nobody["id"])
    job = await submitted(client)
    assert (await seen(client, job)).queue_position == 4

    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at)"
        " VALUES ('placeholder', 'placeholder-2', safelight.now(), safelight.now())"
    )

    assert (await seen(client, job)).queue_position == 1
    assert (await seen(client, of_another_model)).queue_position is None
    assert (await seen(client, not_due)).queue_position is None
    assert (await seen(client, of_nobody)).queue_position is None
    assert (await seen(client, of_nobody)).current_step == "Waiting for a worker"


async def test_a_line_that_is_cut_counts_as_the_whole_one_does_up_to_there(pool: asyncpg.Pool):
    for priority, model, name in ((2, "m", "low"), (1, "n", "mid"), (1, "m", "mid"), (0, "n", "top")):
        await fill(pool, jobs=4, images=5, model=model, name=f"{name}{model}", priority=priority)
    every = await pool.fetch(
        "SELECT priority, not_before, job_id FROM images ORDER BY priority, not_before, job_id, position"
    )
    first: dict[tuple[Any, ...], int] = {}
    for ahead, row in enumerate(every):
        first.setdefault(tuple(row), ahead)
    assert len(every) == 80

    for most in (1, 7, 20, 23, 41, 79, 1000):
        counted = await pool.fetch(load("forecast").line, ["placeholder"], most, "default")
        ahead = 0
        for row in counted:
            assert first[row["priority"], row["not_before"], row["job_id"]] == ahead < most
            ahead += row["images"]
        assert ahead >= min(most, len(every)), f"with {most}"
        assert len(counted) <= most


async def test_a_forecast_needs_a_history_a_worker_and_an_open_way(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job = await submitted(client, images=[image(f"i{n}") for n in range(16)])
    await register(pool)
    assert (await seen(client, job)).eta_seconds is None, "no call has ended yet"
    ended = await past(client, pool, waited=1.0, took=[10.0] * 9 + [30.0])

    found = await seen(client, job)
    assert (found.eta_seconds, found.eta_p90_seconds) == (20.0, 22.0), "two rounds of eight"
    assert (await seen(client, ended)).eta_seconds is None, "it has ended"

    gate = "INSERT INTO gates (provider, model, shut_at, probe_at) VALUES ('placeholder', $1, safelight.now(), now())"
    for shut, opened, step in (
        ("UPDATE workers SET draining = true", "UPDATE workers SET draining = false", "Waiting for a worker"),
        (gate.replace("$1", "''"), "DELETE FROM gates", "Waiting for placeholder, which is paused"),
        (gate.replace("$1", "'placeholder-1'"), "DELETE FROM gates", "Waiting for placeholder, which is paused"),
        (
            "UPDATE installation SET paused_at = now(), pause_reason = ''",
            "UPDATE installation SET paused_at = NULL",
            "Waiting until buying is resumed",
        ),
    ):
        await pool.execute(shut)
        found = await seen(client, job)
        assert (found.eta_seconds, found.eta_p90_seconds, found.current_step) == (None, None, step)
        await pool.execute(opened)
    assert (await seen(client, job)).eta_seconds == 20.0


@pytest.mark.parametrize("model", ["", "placeholder-1"])
async def test_a_vendor_that_named_a_time_is_not_expected_to_be_called_before(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, model: str
):
    await register(pool)
    await past(client, pool, waited=1.0, took=[10.0])
    job = await submitted(client)
    await pool.execute(
        "INSERT INTO gates (provider, model, limits, limited_until)"
        " VALUES ('placeholder', 'another', 1, safelight.now() + interval '2 hours'),"
        "        ('placeholder', $1, 1, safelight.now() + interval '1 hour')",
        model,
    )
    until: datetime = await pool.fetchval("SELECT limited_until FROM gates WHERE model <> 'another'")

    found = await seen(client, job)

    assert found.eta_seconds is not None
    assert 3590 < found.eta_seconds <= 3610
    assert found.current_step == f"Waiting until {until:%Y-%m-%d %H:%M:%S} UTC"
    figures = await queue_of(client)
    assert figures.estimated_processing_seconds is not None
    assert 3590 < figures.estimated_processing_seconds <= 3610

    await pool.execute("UPDATE gates SET limited_until = safelight.now()")
    assert (await seen(client, job)).eta_seconds == 10.0


async def test_a_forecast_reckons_with_the_turns_of_others_and_tells_nothing_else_of_them(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await register(pool)
    await past(client, pool, waited=1.0, took=[10.0] * 10)
    job = await submitted(client, images=[image(f"i{n}") for n in range(16)])
    assert (await seen(client, job)).eta_seconds == 20.0, "two rounds of eight"

    await fill(pool, jobs=2, images=500, model="placeholder-1", priority=0, account="flood")
    found = await seen(client, job)
    assert (found.queue_position, found.current_step) == (1, "Waiting to start"), "its account's next"
    assert found.eta_seconds == 40.0, "every other place is its account's"
    await pool.execute("INSERT INTO accounts (id, weight) VALUES ('flood', 3)")
    assert (await seen(client, job)).eta_seconds == 80.0, "one place of four"
    await pool.execute("UPDATE images SET status = 'completed' WHERE account = 'flood' AND NOT (job_id LIKE '%001'"
                       " AND position < 8)")  # fmt: skip
    assert (await seen(client, job)).eta_seconds == 30.0, "no more than there are"
    await pool.execute("UPDATE accounts SET max_concurrency = 2 WHERE id = 'default'")
    assert (await seen(client, job)).eta_seconds == 80.0, "eight rounds of two"

    mine = (await client.get("/v1/queue")).json()
    assert mine["queued"] == 24, "an open service is run by whoever asks"


async def test_a_job_that_may_not_begin_yet_says_when_and_counts_from_then(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await register(pool)
    await past(client, pool, waited=1.0, took=[10.0])
    begins = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)

    found = await seen(client, await submitted(client, not_before=begins.isoformat()))

    assert found.current_step == f"Waiting until {begins:%Y-%m-%d %H:%M:%S} UTC"
    assert found.queue_position is None
    assert found.eta_seconds is not None
    assert 7000 < found.eta_seconds <= 7210


async def test_a_retry_that_waits_is_told_beside_how_far_the_job_is(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await register(pool)
    job = await submitted(client, images=[image("a"), image("b")])
    await pool.execute("UPDATE jobs SET status = 'generating'")
    await pool.execute("UPDATE images SET status = 'failed' WHERE id = 'a'")
    assert (await seen(client, job)).current_step == "Generating images… 1/2"
    await pool.execute("UPDATE images SET not_before = '2999-01-01Z' WHERE id = 'b'")
    assert (await seen(client, job)).current_step == "Generating images… 1/2, waiting until 2999-01-01 00:00:00 UTC"


async def test_a_forecast_that_only_runs_down_is_no_change_to_whoever_has_the_job(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await register(pool)
    await past(client, pool, waited=1.0, took=[1000.0])
    job = await submitted(client)
    await pool.execute(_ATTEMPT, job["id"], "sent", 0.0)
    await pool.execute("UPDATE images SET status = 'generating', claim_token = gen_random_uuid() WHERE id = 'one'")
    path = f"/v1/jobs/{job['id']}"
    first = await client.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')

    await pool.execute("UPDATE attempts SET sent_at = sent_at - interval '100 s' WHERE status = 'sent'")

    assert (await client.get(path)).json()["eta_seconds"] < first.json()["eta_seconds"] - 90
    same = await client.get(path, headers={"If-None-Match": tag})
    assert (same.status_code, same.headers["etag"]) == (304, tag)
    await pool.execute("UPDATE images SET attempt_count = 2 WHERE job_id = $1", job["id"])
    assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 200


async def test_the_backlog_is_told_in_figures_provider_by_provider(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    empty = await queue_of(client)
    assert (empty.queued, empty.active, empty.estimated_processing_seconds) == (0, 0, 0.0)
    assert empty.average_wait_seconds is None
    assert [each.provider for each in empty.by_provider] == ["placeholder", "picky"]

    await register(pool)
    await past(client, pool, waited=4.0, took=[10.0] * 9 + [30.0])
    await submitted(client, images=[image(f"i{n}") for n in range(12)])
    await pool.execute(
        "UPDATE images SET status = 'processing', claim_token = gen_random_uuid()"
        " WHERE status = 'queued' AND position < 4"
    )
    found = await queue_of(client)
    assert (found.queued, found.active, found.average_wait_seconds) == (8, 4, 4.0)
    assert found.estimated_processing_seconds == 15.0, "twelve at eight places"
    placeholder, picky = found.by_provider
    assert placeholder.model_dump() == {
        "provider": "placeholder",
        "queued": 8,
        "active": 4,
        "max_concurrency": 8,
        "state": "open",
        "average_wait_seconds": 4.0,
        "p50_seconds": 10.0,
        "p90_seconds": 12.0,
    }
    assert (picky.queued, picky.max_concurrency, picky.p50_seconds) == (0, 2, None)

    await submitted(client, images=[image(provider="picky", model="picky-1")])
    assert (await queue_of(client)).estimated_processing_seconds is None, "picky has never been called"
    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at) VALUES ('picky', 'picky-1', now(), now())"
    )
    found = await queue_of(client)
    assert [each.state for each in found.by_provider] == ["open", "shut"]
    paused = (await client.post("/v1/queue/pause")).json()
    assert (paused["paused"], paused["estimated_processing_seconds"], paused["queued"]) == (True, None, 9)


async def test_a_pause_is_seen_in_the_next_poll_of_the_same_process(serve_with: Serve, pool: asyncpg.Pool):
    await register(pool)
    async with serve_with(traffic_seconds=3600.0, history_seconds=3600.0) as client:
        job = await submitted(client)
        assert (await seen(client, job)).current_step == "Waiting to start"
        await client.post("/v1/queue/pause")
        assert (await seen(client, job)).current_step == "Waiting until buying is resumed"
        await client.post("/v1/queue/resume")
        assert (await seen(client, job)).queue_position == 1


@pytest.mark.parametrize("statistics", ["of an empty table", pytest.param("fresh", marks=pytest.mark.slow)])
async def test_a_poll_behind_a_hundred_thousand_images_counts_no_further_than_it_says(
    statistics: str, client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    await register(pool)
    if statistics == "of an empty table":
        await pool.execute("ANALYZE")
    await fill(pool, jobs=200, images=500, model="placeholder-1")
    if statistics == "fresh":
        await pool.execute("ANALYZE")
    job = await submitted(client)

    found = await seen(client, job)
    assert (found.queue_position, found.eta_seconds) == (None, None)
    assert found.current_step == "Waiting for more than 10 000 other images"
    for of, arguments, most in (
        (load("read").job, (job["id"], "default"), 2),
        (load("forecast").line, (["placeholder"], MAX_AHEAD, "default"), MAX_AHEAD + 100),
        (load("forecast").crowd, (["placeholder"], MAX_OF_OTHERS, MAX_ACCOUNTS), MAX_OF_OTHERS + 100),
        (load("forecast").busy, (), 100),
        (load("forecast").latencies, (["placeholder"], 500), 100),
    ):
        [plan] = await pool.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + of, *arguments)
        scans = [node for node in nodes(orjson.loads(plan[0])[0]["Plan"]) if node.get("Relation Name") == "images"]
        assert sum(map(read, scans)) <= most, of.partition("\n")[0]
