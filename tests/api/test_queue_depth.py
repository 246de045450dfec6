"""No more waits than may: a submit beyond it is refused, and creates nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.domain.errors import Unavailable
from safelight.engine.orders.depth import QueueDepth
from safelight.engine.orders.submit import submit
from tests.api.conftest import Serve, image, job
from tests.api.problems import refusal
from tests.orders import image as an_image
from tests.orders import order


def of(images: int) -> dict[str, Any]:
    return job(images=[image(f"i{n}") for n in range(images)])


async def post(client: httpx2.AsyncClient, images: int, *, key: str | None = None) -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return await client.post("/v1/jobs", json=of(images), headers=headers)


async def test_a_submit_beyond_what_may_wait_is_refused_and_may_come_again(serve_with: Serve, pool: asyncpg.Pool):
    async with serve_with(depth=QueueDepth(5)) as client:
        first = await post(client, 4, key="first")
        assert first.status_code == 202
        refused = await post(client, 2, key="second")
        refusal(refused, 503, "queue-full")
        assert int(refused.headers["retry-after"]) > 0
        assert await pool.fetchval("SELECT count(*) FROM jobs") == 1

        assert (await post(client, 1)).status_code == 202
        again = await post(client, 4, key="first")
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"]), "a replay is never refused"

        await pool.execute("UPDATE images SET status = 'completed' WHERE job_id = $1", first.json()["id"])

        async with asyncio.timeout(20):  # what was counted is good for a moment
            while (await post(client, 4, key="second")).status_code != 202:
                pass


async def test_an_account_has_a_limit_of_its_own(serve_with: Serve, pool: asyncpg.Pool):
    async with serve_with(depth=QueueDepth(100)) as client:
        changed = await client.patch("/v1/accounts/small", json={"max_queued": 3})
        assert (changed.status_code, changed.json()["max_queued"]) == (200, 3)
        mine = {**of(3), "account": "small"}
        assert (await client.post("/v1/jobs", json=mine)).status_code == 202
        refused = await client.post("/v1/jobs", json=mine)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/queue-full")
        assert "3 images of the account `small`" in refused.json()["detail"]
        assert (await post(client, 50)).status_code == 202, "others have their own"
        assert (await client.patch("/v1/accounts/small", json={"max_queued": None})).status_code == 200
        assert (await client.post("/v1/jobs", json=mine)).status_code == 202


async def test_what_another_process_has_accepted_counts_at_once(pool: asyncpg.Pool):
    here, there = QueueDepth(10), QueueDepth(10)

    async def accept(depth: QueueDepth, images: int) -> None:
        placed = order(*(an_image(f"i{n}") for n in range(images)))
        await submit(pool, placed, run_limit_seconds=3600, depth=depth)

    await accept(here, 2)
    await accept(there, 7)
    with pytest.raises(Unavailable):
        await accept(here, 2)
    await accept(here, 1)
    with pytest.raises(Unavailable):
        await accept(there, 1)


async def test_submits_at_the_same_time_pass_the_limit_by_no_more_than_themselves(
    serve_with: Serve, pool: asyncpg.Pool
):
    async with serve_with(depth=QueueDepth(40)) as client:
        for _ in range(4):
            answers = await asyncio.gather(*(post(client, 10) for _ in range(4)))
            assert {each.status_code for each in answers} <= {202, 503}
        waiting = await pool.fetchval("SELECT count(*) FROM images")
        assert 40 <= waiting <= 40 + 3 * 10
        assert (await post(client, 1)).status_code == 503


async def test_far_below_its_limit_a_submit_counts_nothing_and_near_it_reads_an_index(pool: asyncpg.Pool):
    depth = QueueDepth(1000)
    placed = order(*(an_image(f"i{n}") for n in range(300)))
    await submit(pool, placed, run_limit_seconds=3600, depth=depth)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE images IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(20), pool.acquire() as other:
            await depth.require_room(other, "default", 300, inserted=600, most_of_account=None)  # pyright: ignore[reportArgumentType]
    plan = await pool.fetch(
        "EXPLAIN SELECT count(*) FROM (SELECT FROM images WHERE account = 'default' AND lower(status) = 'queued') AS c"
    )
    assert "images_queued" in "\n".join(row[0] for row in plan)
