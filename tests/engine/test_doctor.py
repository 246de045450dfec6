"""The doctor's count is what a sweep would heal, and it says in words why the longest-waiting image waits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import asyncpg
import pytest

from safelight.db.pool import connect
from safelight.domain.checkup import Check, Verdict
from safelight.domain.ids import new_attempt_id
from safelight.domain.money import CostBasis
from safelight.engine.orders.submit import submit
from safelight.engine.queue.sweep import Findings, sweep
from safelight.engine.timing import Timing
from safelight.engine.watch.doctor import MEANINGS, examine, unhealed
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt, Staging
from tests.orders import image, order

TIMING = Timing(lease_seconds=5.0, admission_seconds=1.0)

LIVE = "UPDATE images SET status = '{}', claim_token = gen_random_uuid(), worker_id = gen_random_uuid(), lane = 'buy'"
ATTEMPT = (
    "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token, worker_id,"
    " sent_at, deadline_at, resolve_at, estimate_microusd)"
    " SELECT '{id}', row_id, 1, 1, '{status}', provider, model, fingerprint, gen_random_uuid(), gen_random_uuid(),"
    " now(), now() + interval '{open}', now() + interval '{open}', 40000 FROM images LIMIT 1"
)
ILLS = {
    "orphans": [LIVE.format("processing")],
    "lost_hints": ["UPDATE images SET admitted_at = now() - interval '1 min', queue_row_id = 999"],
    "unknown": [ATTEMPT.format(id="att_1", status="sent", open="-1 s")],
    "stopped": ["UPDATE images SET stop = 'cancel' WHERE position = 0"],
    "deadlines": ["UPDATE jobs SET deadline_at = now() - interval '1 s'"],
    "overdue": ["UPDATE jobs SET run_ends_at = now() - interval '1 s'"],
    "unreleased": [
        "INSERT INTO image_references SELECT b.row_id, 0, a.row_id FROM images AS a, images AS b"
        " WHERE a.position = 0 AND b.position = 1",
        "UPDATE images SET awaits_parents = true WHERE position = 1",
        "UPDATE images SET status = 'completed' WHERE position = 0",
    ],
    "unsettled": ["UPDATE images SET status = 'failed'"],
    "adopted": [
        ATTEMPT.format(id="att_1", status="received", open="1 s"),
        "UPDATE images SET status = 'uncertain' WHERE row_id = (SELECT image_row_id FROM attempts)",
    ],
}
"""What is done to a job of two queued images, by the finding that it leads to."""


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return LocalStaging(tmp_path / "staging")


@pytest.fixture
async def job(pool: asyncpg.Pool) -> str:
    accepted = await submit(pool, order(image("a"), image("b")), run_limit_seconds=3600)
    return accepted.job_id


async def staged(staging: Staging, job_id: str, attempt_id: str, row_id: int) -> Receipt:
    data = b"paid"
    receipt = Receipt(
        attempt_id=attempt_id,
        image_row_id=row_id,
        job_id=job_id,
        sha256=hashlib.sha256(data).hexdigest(),
        length=len(data),
        claimed_mime="image/png",
        cost_microusd=40_000,
        cost_basis=CostBasis.USAGE,
        price_ref=None,
        usage={},
        request_id=None,
        model_version=None,
        received_at="2026-11-20T20:00:00+00:00",
    )
    await staging.stage(receipt, data)
    return receipt


async def counted(database: str, receipts: Sequence[Receipt] = ()) -> Findings:
    conn = await connect(database, application_name="tests doctor")
    try:
        async with conn.transaction(readonly=True):
            return await unhealed(conn, receipts, timing=TIMING)
    finally:
        await conn.close()


async def seen(database: str, receipts: Sequence[Receipt] = (), **max_concurrency: int) -> dict[str, Check]:
    allowed = {"placeholder": 8} | max_concurrency
    report = await examine(database, receipts=receipts, max_concurrency=allowed, timing=TIMING)
    assert all(check.remedy or not check.meaning or check.verdict is Verdict.OK for check in report.checks)
    return {check.name: check for check in report.checks}


async def with_worker(pool: asyncpg.Pool, *, providers: Sequence[str] = ("placeholder",), slots: int = 4) -> None:
    await pool.execute(
        "INSERT INTO workers VALUES (gen_random_uuid(), 'here', 7, $1, $2, 4, false, now(), now())", providers, slots
    )


@pytest.mark.parametrize("ill", ILLS)
@pytest.mark.usefixtures("job")
async def test_what_is_counted_is_what_the_sweep_heals_and_counting_heals_nothing(
    ill: str, pool: asyncpg.Pool, queue: asyncpg.Pool, database: str, staging: Staging
) -> None:
    for statement in ILLS[ill]:
        await pool.execute(statement)
    first, again = await counted(database), await counted(database)
    assert asdict(first)[ill] > 0
    assert first == again
    healed = await sweep(pool, queue, staging, timing=TIMING)
    assert healed is not None
    assert asdict(healed)[ill] == asdict(first)[ill]
    assert asdict(await counted(database))[ill] == 0


@pytest.mark.parametrize(("status", "ill"), [("unknown", "receipts"), ("settled", "leftovers")])
async def test_staged_pictures_are_told_apart_by_what_became_of_their_call(
    status: str, ill: str, job: str, pool: asyncpg.Pool, queue: asyncpg.Pool, database: str, staging: Staging
) -> None:
    await pool.execute(ATTEMPT.format(id="att_1", status=status, open="1 min"))
    row_id = await pool.fetchval("SELECT image_row_id FROM attempts")
    receipt = await staged(staging, job, "att_1", row_id)
    found = await counted(database, [receipt])
    assert {name: n for name, n in asdict(found).items() if n} == {ill: 1}
    healed = await sweep(pool, queue, staging, timing=TIMING)
    assert healed is not None
    assert asdict(healed)[ill] == 1


def test_every_finding_has_words() -> None:
    assert list(MEANINGS) == [field.name for field in fields(Findings)]


async def test_a_fresh_database_is_well_but_for_the_missing_worker(database: str) -> None:
    checks = await seen(database)
    assert {name for name, check in checks.items() if check.verdict is not Verdict.OK} == {"workers"}
    assert checks["reachable"].found.startswith("PostgreSQL 1")
    assert checks["sweep"].found == "nothing is left to heal"


async def test_an_old_picture_of_an_unknown_call_is_a_stranger(job: str, database: str, staging: Staging) -> None:
    receipt = await staged(staging, job, new_attempt_id(), 1)
    stranger = (await seen(database, [receipt]))["strangers"]
    assert stranger.verdict is Verdict.WARNING
    assert job in stranger.found


@pytest.mark.usefixtures("job")
async def test_lost_outcomes_of_the_day_are_summed_up(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(ATTEMPT.format(id="att_1", status="unknown", open="-1 s"))
    found = (await seen(database))["unknown outcomes"]
    assert (found.verdict, found.found.split(":")[1]) == (Verdict.WARNING, " at most $0.040 may have been billed")


READY = "UPDATE images SET not_before = now() - interval '5 min', changed_at = now() - interval '5 min'"


@pytest.mark.parametrize(
    ("worker", "done", "verdict", "why"),
    [
        (None, "SELECT 1", Verdict.WARNING, "No worker takes new images."),
        (
            {},
            "UPDATE images SET not_before = now() + interval '1 hour'",
            Verdict.OK,
            "It is to be tried again in 60 min.",
        ),
        ({}, "UPDATE images SET stop = 'cancel'", Verdict.OK, "It was asked to stop and ends with the next sweep."),
        ({}, ATTEMPT.format(id="att_1", status="sent", open="90 min"), Verdict.OK, "An earlier call for it may still"),
        ({"providers": ("gemini",)}, "SELECT 1", Verdict.PROBLEM, "No living worker knows provider `placeholder`."),
        ({}, "UPDATE images SET admitted_at = now()", Verdict.OK, "It was handed to a worker just now."),
        ({"slots": 1}, LIVE.format("generating") + " WHERE position = 1", Verdict.OK, "All 1 slots of the living"),
        ({}, "UPDATE installation SET paused_at = now(), pause_reason = 'why'", Verdict.OK, "Buying is paused."),
        ({}, "SELECT 1", Verdict.OK, "It goes next."),
        ({}, READY, Verdict.PROBLEM, "Nothing stands in its way, and yet nobody takes it."),
    ],
)
@pytest.mark.usefixtures("job")
async def test_why_the_longest_waiting_image_waits(
    worker: dict[str, object] | None, done: str, verdict: Verdict, why: str, pool: asyncpg.Pool, database: str
) -> None:
    if worker is not None:
        await with_worker(pool, **worker)  # pyright: ignore[reportArgumentType]
    await pool.execute(done)
    backlog = (await seen(database))["backlog"]
    assert backlog.meaning.startswith(why)
    assert backlog.verdict is verdict
    assert "`a` of job_" in backlog.found


@pytest.mark.usefixtures("job")
async def test_a_provider_that_is_at_its_limit_is_why_an_image_waits(pool: asyncpg.Pool, database: str) -> None:
    await with_worker(pool)
    await pool.execute(LIVE.format("generating") + " WHERE position = 1")
    backlog = (await seen(database, placeholder=1))["backlog"]
    assert backlog.meaning == "All 1 calls that `placeholder` allows at once are in use."


@pytest.mark.usefixtures("job")
async def test_an_idle_worker_of_another_provider_is_none_that_an_image_could_go_to(
    pool: asyncpg.Pool, database: str
) -> None:
    await with_worker(pool, slots=1)
    await with_worker(pool, providers=("gemini",))
    await pool.execute(READY)
    await pool.execute(LIVE.format("generating") + " WHERE position = 1")
    backlog = (await seen(database))["backlog"]
    assert backlog.verdict is Verdict.OK
    assert backlog.meaning == "All 1 slots of the living workers that know `placeholder` are in use."


@pytest.mark.usefixtures("job")
async def test_what_a_draining_worker_still_makes_is_not_why_an_image_waits(pool: asyncpg.Pool, database: str) -> None:
    await with_worker(pool, slots=1)
    await pool.execute("UPDATE workers SET draining = true")
    await pool.execute(READY)
    await pool.execute(LIVE.format("generating") + " WHERE position = 1")
    await pool.execute("UPDATE images SET worker_id = (SELECT id FROM workers) WHERE position = 1")
    await with_worker(pool, slots=1)
    backlog = (await seen(database))["backlog"]
    assert backlog.meaning == "Nothing stands in its way, and yet nobody takes it."


async def test_a_database_without_our_tables_needs_a_migration(postgres: str) -> None:
    checks = await seen(postgres)
    assert checks["schema"].verdict is Verdict.PROBLEM
    assert "safelight db migrate" in checks["schema"].remedy
    assert "workers" not in checks


async def test_a_shifted_clock_and_a_newer_schema_are_noticed(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute("UPDATE installation SET clock_shift = '1 hour'")
    await pool.execute("INSERT INTO safelight.migrations VALUES (9999, 'later', 'x')")
    checks = await seen(database)
    assert checks["clock shift"].verdict is Verdict.PROBLEM
    assert checks["schema"].verdict is Verdict.WARNING


async def test_a_database_that_does_not_answer_is_a_problem_without_its_password() -> None:
    report = await examine(
        "postgresql://somebody:hunter2@127.0.0.1:1/none", receipts=(), max_concurrency={}, timing=TIMING
    )
    [check] = report.checks
    assert (check.name, check.verdict) == ("reachable", Verdict.PROBLEM)
    assert "hunter2" not in repr(check)
