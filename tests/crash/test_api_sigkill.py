"""An API process dies between the commit of a submit and its answer: whoever asks again is told of the one job."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import asyncpg
import httpx2
import pytest

from tests.api.conftest import image, job
from tests.crash.processes import api, api_process
from tests.crash.proxy import proxy_to
from tests.engine.books import assert_books_balance, balance, entry_kinds, open_account


async def test_a_submit_that_was_committed_and_not_answered_is_replayed_and_held_for_once(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await open_account(pool, "default", paid_in=5)
    wish, key = job(images=[image("one", provider="placeholder")]), {"Idempotency-Key": "mine"}
    log = tmp_path / "api.log"
    async with proxy_to(database) as proxy:
        async with api_process(log=log, database_url=proxy.dsn, home=tmp_path) as (client, process):
            proxy.lose_commit_after("insert_job", is_silent=True)
            asked = asyncio.create_task(client.post("/v1/jobs", json=wish, headers=key))
            async with asyncio.timeout(20):
                await proxy.has_committed.wait()
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            with pytest.raises(httpx2.TransportError):
                await asked
        [only] = await pool.fetch("SELECT id FROM jobs")
        async with api(log=log, database_url=database, home=tmp_path) as client:
            again = await client.post("/v1/jobs", json=wish, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["id"] == only["id"]
    assert await pool.fetchval("SELECT count(*) FROM images") == 1
    assert await entry_kinds(pool, "default") == ["top_up", "hold"]
    assert await balance(pool, "default") == (4, 1, 0)
    await assert_books_balance(pool)
