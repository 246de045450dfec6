"""What the doctor says of gates that keep images back, and of an image that waits behind one."""

from __future__ import annotations

import asyncpg
import pytest

from safelight.domain.checkup import Check, Verdict
from safelight.engine.orders.submit import submit
from safelight.engine.timing import Timing
from safelight.engine.watch.doctor import examine
from tests.orders import image, order

TIMING = Timing()
SHUT = (
    "INSERT INTO gates (provider, model, failures, code, message, shut_at, probe_at)"
    " VALUES ('placeholder', '{model}', 1, 'API_KEY_INVALID', 'no such key', safelight.now() - interval '3 min',"
    " safelight.now() + interval '{probe} s')"
)
PROBED = (
    "UPDATE gates SET probe_row_id = row_id, probe_given_at = safelight.now(), probe_until = safelight.now() + '9 s'"
    " FROM (SELECT row_id FROM images WHERE position = 1) AS i",
    "UPDATE images SET admitted_at = safelight.now() WHERE position = 1",
)
LIMITED = (
    "INSERT INTO gates (provider, model, limited_until)"
    " VALUES ('placeholder', 'placeholder-1', safelight.now() + interval '59.9 s')"
)
CALL = (
    "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token, worker_id,"
    " sent_at, deadline_at, resolve_at, remote) SELECT '{id}', row_id, 1, 1, '{status}', provider, model, 'f',"
    " gen_random_uuid(), gen_random_uuid(), now(), now(), now(), '{{}}' FROM images WHERE position = {position}"
)


@pytest.fixture(autouse=True)
async def _job(pool: asyncpg.Pool) -> None:
    """Two images wait for a provider that one worker serves."""
    await submit(pool, order(image("a"), image("b")), run_limit_seconds=3600)
    await pool.execute(
        "INSERT INTO workers VALUES (gen_random_uuid(), 'here', 7, '{placeholder}', 4, 4, false, now(), now())"
    )


async def seen(database: str, **requests_per_minute: int) -> dict[str, Check]:
    report = await examine(
        database,
        receipts=(),
        max_concurrency={"placeholder": 8},
        requests_per_minute=requests_per_minute,
        timing=TIMING,
    )
    assert all(check.remedy or check.verdict is Verdict.OK for check in report.checks)
    return {check.name: check for check in report.checks}


@pytest.mark.parametrize(
    ("done", "next_probe"),
    [
        ([SHUT.format(model="", probe=19.9)], "next probe in 20 s"),
        ([SHUT.format(model="placeholder-1", probe=-1)], "the next of them tries it"),
        ([SHUT.format(model="", probe=-1), *PROBED], "one of them tries it just now"),
        (
            [
                SHUT.format(model="placeholder-1", probe=-1),
                "UPDATE gates SET limited_until = safelight.now() + interval '39.9 s'",
            ],
            "next probe in 40 s",
        ),
    ],
)
async def test_an_image_behind_a_shut_gate_is_explained(
    done: list[str], next_probe: str, pool: asyncpg.Pool, database: str
) -> None:
    for statement in done:
        await pool.execute(statement)
    backlog = (await seen(database))["backlog"]
    assert backlog.verdict is Verdict.WARNING
    assert backlog.meaning == f"Provider `placeholder` has been paused for 3 min: API_KEY_INVALID; {next_probe}."
    assert "a revoked key or an empty balance" in backlog.remedy.lower()


async def test_each_gate_that_is_shut_is_a_finding_of_its_own(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(SHUT.format(model="", probe=19.9))
    await pool.execute(SHUT.format(model="another", probe=-1))
    await pool.execute("INSERT INTO gates (provider, model, failures) VALUES ('gemini', 'fine', 2)")
    checks = {name: check for name, check in (await seen(database)).items() if name.startswith("gate ")}
    assert list(checks) == ["gate placeholder", "gate placeholder another"]
    assert checks["gate placeholder"].found == "`placeholder` has been paused for 3 min: API_KEY_INVALID (no such key)"
    assert checks["gate placeholder"].meaning == "Its images wait or fall back; next probe in 20 s."
    assert checks["gate placeholder another"].found.startswith("`placeholder`, model `another`, has been paused")
    assert {check.verdict for check in checks.values()} == {Verdict.WARNING}


async def test_a_gate_of_another_model_is_no_reason(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(SHUT.format(model="another", probe=9))
    assert (await seen(database))["backlog"].meaning == "It goes next."


async def test_a_limited_rate_is_no_trouble_and_is_named(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(LIMITED)
    checks = await seen(database)
    assert checks["backlog"].meaning == "`placeholder` limits its rate: no call for 60 s."
    assert checks["gate placeholder placeholder-1"].verdict is Verdict.OK


async def test_requests_per_minute_that_are_used_up_are_why_an_image_waits(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(CALL.format(id="att_1", status="settled", position=1))
    await pool.execute("UPDATE images SET status = 'completed' WHERE position = 1")
    assert (await seen(database, placeholder=2))["backlog"].meaning == "It goes next."
    backlog = (await seen(database, placeholder=1))["backlog"]
    assert (backlog.verdict, backlog.meaning) == (
        Verdict.OK,
        "All 1 calls that `placeholder` is given in a minute are used.",
    )


async def test_an_image_that_the_vendor_works_on_is_not_late(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(CALL.format(id="att_1", status="submitted", position=0))
    backlog = (await seen(database))["backlog"]
    assert (backlog.verdict, backlog.meaning) == (
        Verdict.OK,
        "`placeholder` works on it, and is asked how it stands.",
    )


async def test_asking_after_the_gates_changes_nothing(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(SHUT.format(model="", probe=-1))
    before = await pool.fetch("SELECT * FROM gates")
    await seen(database)
    assert await pool.fetch("SELECT * FROM gates") == before
