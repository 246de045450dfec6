"""Queue rows are hints: deleted, doubled, unheard or cut off with the server, the job completes and nothing is bought
twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate
from safelight.db.pool import close_pool, open_pool
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from safelight.sandbox.server import RunningSandbox
from tests.crash.conftest import END_EVERY_SESSION, MODEL, Fleet
from tests.orders import attempts_of, ended, image, order, until

IMAGES = 6


async def job_in_full_swing(fleet: Fleet) -> JobId:
    """Every slot's call is held by the vendor: with one worker four, and two images wait."""
    fleet.sandbox.vendor.hold()
    images = (image(f"img-{n}", provider="gemini", model=MODEL, timeout_seconds=30) for n in range(IMAGES))
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    await fleet.in_flight(min(fleet.slots * len(fleet.processes), IMAGES))
    return accepted.job_id


async def completes_without_a_second_purchase(fleet: Fleet, job_id: JobId) -> None:
    fleet.sandbox.vendor.release()
    assert await ended(fleet.pool, job_id) is JobStatus.COMPLETED
    await fleet.at_rest(job_id)
    assert fleet.sandbox.vendor.bill.charged_calls == IMAGES
    assert len(fleet.sandbox.vendor.calls) == IMAGES
    assert [a["status"] for a in await attempts_of(fleet.pool, job_id)] == ["settled"] * IMAGES


async def test_rows_of_running_images_are_deleted_by_hand(fleet: Fleet) -> None:
    await fleet.start()
    job_id = await job_in_full_swing(fleet)
    assert await fleet.pool.execute("DELETE FROM pgqueuer") == "DELETE 4"
    await completes_without_a_second_purchase(fleet, job_id)


async def test_rows_of_admitted_images_are_deleted_before_anyone_takes_them(fleet: Fleet) -> None:
    await fleet.pool.execute(
        "CREATE FUNCTION lose_hint() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF (SELECT count(*) FROM lost) < 3 THEN INSERT INTO lost VALUES (NEW.id); DELETE FROM pgqueuer"
        " WHERE id = NEW.id; END IF; RETURN NULL; END $$"
    )
    await fleet.pool.execute("CREATE TABLE lost (id bigint)")
    await fleet.pool.execute(
        "CREATE TRIGGER lose_hint AFTER INSERT ON pgqueuer FOR EACH ROW EXECUTE FUNCTION lose_hint()"
    )
    await fleet.start()
    images = (image(f"img-{n}", provider="gemini", model=MODEL, timeout_seconds=30) for n in range(IMAGES))
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    await completes_without_a_second_purchase(fleet, accepted.job_id)
    assert await fleet.pool.fetchval("SELECT count(*) FROM lost") == 3


@pytest.mark.slow
async def test_rows_are_doubled_by_hand_for_two_workers(fleet: Fleet) -> None:
    await fleet.start()
    await fleet.start()
    job_id = await job_in_full_swing(fleet)
    doubled = await fleet.pool.execute(
        "INSERT INTO pgqueuer (priority, entrypoint, payload, status)"
        " SELECT 0, entrypoint, payload, 'queued' FROM pgqueuer, generate_series(1, 3)"
    )
    assert doubled == "INSERT 0 18"
    await until(fleet.pool, "SELECT count(*) = 0 FROM pgqueuer WHERE status = 'queued'")
    await completes_without_a_second_purchase(fleet, job_id)


@pytest.mark.slow
async def test_every_listen_connection_is_killed(fleet: Fleet) -> None:
    await fleet.start()
    job_id = await job_in_full_swing(fleet)
    killed = await fleet.pool.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
    )
    assert killed == 2, "one for each intake"
    # A fresh intake is listening again, while the old one's calls are still held by the vendor.
    await until(
        fleet.pool,
        "SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'",
    )
    await completes_without_a_second_purchase(fleet, job_id)


async def test_every_session_of_the_worker_is_killed(fleet: Fleet) -> None:
    await fleet.start()
    job_id = await job_in_full_swing(fleet)
    await fleet.pool.fetchval(END_EVERY_SESSION)
    await completes_without_a_second_purchase(fleet, job_id)


async def test_postgres_is_restarted_in_mid_job(
    own_server: EmbeddedServer, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    dsn = await asyncio.to_thread(own_server.start)
    await migrate(dsn)
    pool = await open_pool(dsn, min_size=1, max_size=4, application_name="tests")
    queue = await open_pool(dsn, min_size=1, max_size=2, application_name="tests", jsonb_as_values=False)
    fleet = Fleet(database=dsn, home=tmp_path, sandbox=sandbox, pool=pool, queue=queue)
    try:
        await fleet.start()
        job_id = await job_in_full_swing(fleet)
        await asyncio.to_thread(own_server.stop)
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await asyncpg.connect(dsn)
        # The pictures come while there is no database: they are staged, and adopted afterwards.
        fleet.sandbox.vendor.release()
        await fleet.has_staged(4)
        assert await asyncio.to_thread(own_server.start) == dsn
        await completes_without_a_second_purchase(fleet, job_id)
    finally:
        for process in fleet.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await close_pool(pool)
        await close_pool(queue)


async def test_rows_that_cannot_be_read_stop_nobody(fleet: Fleet) -> None:
    """As a later release, or nobody of ours, might have written them; also in the place of the right ones."""
    await fleet.start()
    job_id = await job_in_full_swing(fleet)
    for payload in (b"", b"\x00\xff", b"[]", b'{"picture": 1}', b'{"image": "one", "generation": null}'):
        await fleet.pool.execute(
            "INSERT INTO pgqueuer (priority, entrypoint, payload, status)"
            " SELECT 0, entrypoint, $1, 'queued' FROM pgqueuer WHERE entrypoint LIKE 'image.%' LIMIT 1",
            payload,
        )
    assert await fleet.pool.fetchval("SELECT count(*) FROM pgqueuer WHERE status = 'queued'") == 5
    await completes_without_a_second_purchase(fleet, job_id)
