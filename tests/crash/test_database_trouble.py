"""The database goes away, is slow, or commits without saying so: nothing is lost and nothing is bought twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from safelight.db.pool import close_pool, open_pool
from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from tests.api.conftest import image, job
from tests.crash.conftest import Fleet
from tests.crash.processes import api
from tests.crash.proxy import Proxy, proxy_to
from tests.orders import attempts_of, ended, images_of, job_row, order, until, vendor_image


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    async with proxy_to(database) as proxy:
        yield proxy


@pytest.fixture
def fleet(fleet: Fleet, proxy: Proxy) -> Fleet:
    """Workers reach the database through the proxy; the test itself does not."""
    fleet.database = proxy.dsn
    return fleet


@pytest.mark.parametrize(
    "statement",
    ["receive", *(pytest.param(each, marks=pytest.mark.slow) for each in ("open_attempt", "complete_image"))],
)
async def test_the_answer_to_a_commit_is_lost(statement: str, fleet: Fleet, proxy: Proxy) -> None:
    await fleet.start()
    proxy.lose_commit_after(statement)
    images = [vendor_image(f"img-{n}", timeout_seconds=5) for n in range(3)]
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert proxy.lost_commits == 1
    assert len(fleet.sandbox.vendor.calls) == 3, "one call for one picture"
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"] * 3


async def test_a_submit_whose_commit_was_not_confirmed_is_found_and_not_made_twice(
    pool: asyncpg.Pool, proxy: Proxy
) -> None:
    through = await open_pool(proxy.dsn, min_size=1, max_size=2, application_name="tests")
    proxy.lose_commit_after("insert_job")
    accepted = await submit(through, order(vendor_image("a"), key="k"), run_limit_seconds=3600)
    assert proxy.lost_commits == 1
    assert accepted.replayed is False
    assert (await job_row(pool, accepted.job_id))["status"] == "pending"
    again = await submit(through, order(vendor_image("a"), key="k"), run_limit_seconds=3600)
    assert again.job_id == accepted.job_id
    assert again.replayed is True
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1
    await close_pool(through)


async def _gone_while_pictures_come(fleet: Fleet, proxy: Proxy, *, seconds: float) -> None:
    await fleet.start()
    vendor = fleet.sandbox.vendor
    vendor.hold()
    images = [vendor_image(f"img-{n}", timeout_seconds=90) for n in range(6)]
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    assert await vendor.wait_until(lambda: vendor.in_flight == 4, timeout_seconds=20)
    proxy.vanish()
    vendor.release()
    await fleet.has_staged(4)
    await asyncio.sleep(seconds)  # the length of the outage is the test
    assert {row["status"] for row in await images_of(fleet.pool, accepted.job_id)} == {"generating", "queued"}
    proxy.come_back()
    assert await ended(fleet.pool, accepted.job_id, seconds=60) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert len(vendor.calls) == 6
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"] * 6


async def test_the_database_is_gone_for_seconds_while_pictures_come(fleet: Fleet, proxy: Proxy) -> None:
    await _gone_while_pictures_come(fleet, proxy, seconds=3)


@pytest.mark.slow
async def test_the_database_is_gone_for_a_minute_while_pictures_come(fleet: Fleet, proxy: Proxy) -> None:
    await _gone_while_pictures_come(fleet, proxy, seconds=60)


@pytest.mark.slow
async def test_a_slow_database_costs_time_and_nothing_else(fleet: Fleet, proxy: Proxy) -> None:
    """Every packet to the database takes 100 ms; heartbeats go over a connection of their own and keep the leases."""
    proxy.delay_seconds = 0.1
    await fleet.start()
    images = [vendor_image(f"img-{n}", timeout_seconds=20) for n in range(3)]
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    assert await ended(fleet.pool, accepted.job_id, seconds=60) is JobStatus.COMPLETED
    proxy.delay_seconds = 0.0
    await fleet.at_rest(accepted.job_id)
    assert len(fleet.sandbox.vendor.calls) == 3
    await until(fleet.pool, "SELECT bool_and(crash_count = 0) FROM images")


@pytest.mark.slow
async def test_a_database_slower_than_its_statements_may_be_is_unavailable_and_then_there_again(
    pool: asyncpg.Pool, proxy: Proxy, tmp_path: Path
) -> None:
    """Every packet to it takes six seconds."""
    wish, key = job(images=[image("one", provider="placeholder")]), {"Idempotency-Key": "mine"}
    async with api(log=tmp_path / "api.log", database_url=proxy.dsn, home=tmp_path) as client:
        proxy.delay_seconds = 6.0
        client.timeout = 60.0
        refused = await client.post("/v1/jobs", json=wish, headers=key)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        proxy.delay_seconds = 0.0
        async with asyncio.timeout(60):
            while (accepted := await client.post("/v1/jobs", json=wish, headers=key)).status_code != 202:
                assert accepted.status_code in (409, 503), accepted.text
                await asyncio.sleep(0.2)  # as a client does that was asked to come again
    assert await pool.fetchval("SELECT array_agg(id) FROM jobs") == [accepted.json()["id"]]


@pytest.mark.parametrize("sqlstate", ["40001", pytest.param("40P01", marks=pytest.mark.slow)])
async def test_a_transaction_that_the_database_breaks_off_is_no_fault_of_the_request(
    sqlstate: str, pool: asyncpg.Pool, database: str, tmp_path: Path
) -> None:
    """A deadlock, or one that cannot be put in an order with the others: once, and then not again."""
    await pool.execute("CREATE SEQUENCE tries")
    await pool.execute(
        "CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS $$ BEGIN"
        f" IF nextval('tries') = 1 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$"
    )
    await pool.execute("CREATE TRIGGER fail_once BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fail_once()")
    wish, key = job(images=[image("one", provider="placeholder")]), {"Idempotency-Key": "mine"}
    async with api(log=tmp_path / "api.log", database_url=database, home=tmp_path) as client:
        answers = [await client.post("/v1/jobs", json=wish, headers=key) for _ in range(2)]
    assert answers[0].status_code in (202, 503), answers[0].text
    assert answers[1].status_code == 202
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1
