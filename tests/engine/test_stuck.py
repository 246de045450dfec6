"""Work that stands still is told of once, what explains a wait keeps it from being told, and no backlog is walked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import orjson
import pytest

from safelight.db.statements import load
from safelight.domain.checkup import Check, Verdict
from safelight.domain.ids import JobId
from safelight.engine.orders.submit import submit
from safelight.engine.timing import Timing
from safelight.engine.upkeep.stuck import POLL_LIMIT_SECONDS, Bounds, StuckWatch
from safelight.engine.watch.doctor import examine
from safelight.settings import Settings
from safelight.wiring.api import api_of
from tests.engine.by_hand import pass_time
from tests.engine.conftest import running
from tests.engine.test_claim import register
from tests.engine.test_long_backlog import fill, nodes, read
from tests.orders import event_types, image, order, until

STUCK_SECONDS = 600.0
NOTICE_SECONDS = 60.0

WORKED_ON = (
    "UPDATE images SET status = '{status}', claim_token = gen_random_uuid(),"
    " worker_id = (SELECT id FROM workers LIMIT 1)"
)
ADMITTED = "UPDATE images SET admitted_at = safelight.now(), queue_row_id = 1, lane = '{lane}'"
CALL = (
    "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token, worker_id,"
    " sent_at, deadline_at, resolve_at, remote, submitted_at)"
    " SELECT 'att_' || row_id, row_id, 1, 1, '{status}', provider, model, fingerprint, gen_random_uuid(),"
    " gen_random_uuid(), safelight.now(), safelight.now() + interval '{open}', safelight.now() + interval '{open}',"
    " '{{}}', safelight.now() FROM images"
)
GATE = "INSERT INTO gates (provider, model, {columns}) VALUES ('placeholder', '', {values})"
NEIGHBOUR_AT_WORK = (
    "INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint,"
    " timeout_seconds, max_attempts, max_rebuys, on_uncertain, not_before, created_at, changed_at, status,"
    " claim_token, worker_id)"
    " SELECT job_id, 1, 'neighbour', '', provider, model, prompt, options, fingerprint, 60, 1, 1, 'fail', not_before,"
    " created_at, safelight.now() + interval '1 day', 'uploading', gen_random_uuid(), (SELECT id FROM workers LIMIT 1)"
    " FROM images"
)

STANDSTILLS: dict[str, tuple[Sequence[str], str]] = {
    "no worker": (["DELETE FROM workers"], "No living worker serves provider `placeholder`."),
    "no worker that knows the provider": (
        ["UPDATE workers SET providers = '{gemini}'"],
        "No living worker serves provider `placeholder`.",
    ),
    "only workers that take nothing new": (
        ["UPDATE workers SET draining = true"],
        "No living worker serves provider `placeholder`.",
    ),
    "no worker, behind a gate": (
        ["DELETE FROM workers", GATE.format(columns="shut_at, probe_at", values="safelight.now(), 'infinity'")],
        "No living worker serves provider `placeholder`.",
    ),
    "nobody admits": ([], "Nothing stands in its way, and yet it is handed to no worker."),
    "a gate whose probe nobody makes": (
        [GATE.format(columns="shut_at, probe_at", values="safelight.now(), safelight.now()")],
        "Nothing stands in its way, and yet it is handed to no worker.",
    ),
    "nobody claims": ([ADMITTED.format(lane="buy")], "It was handed to the workers, and none of them takes it."),
    "nobody ends it": (["UPDATE images SET stop = 'cancel'"], "It was asked to stop, and nobody ends it."),
    "nobody asks after its job": (
        [CALL.format(status="submitted", open="30 s")],
        "Provider `placeholder` works on a job for it, and nobody asks how that stands.",
    ),
    "nobody uses its picture": (
        [CALL.format(status="received", open="30 s"), "UPDATE installation SET paused_at = safelight.now()"],
        "What was bought for it is there, and nobody goes on with it.",
    ),
    "its worker hangs before the call": (
        [WORKED_ON.format(status="processing")],
        "Its worker lives, looks at what was bought for it before, and has not gone on from there.",
    ),
    "its worker hangs after the call": (
        [WORKED_ON.format(status="generating"), CALL.format(status="sent", open="0 s")],
        "Its worker lives, waits for a call that can no longer answer, and has not gone on from there.",
    ),
    "its worker hangs after the picture": (
        [WORKED_ON.format(status="uploading")],
        "Its worker lives, makes and stores its outputs, and has not gone on from there.",
    ),
    "its worker is gone": (
        [WORKED_ON.format(status="uploading"), "DELETE FROM workers"],
        "The worker that had it is gone, and nobody has taken it over.",
    ),
}

EXPLANATIONS: dict[str, Sequence[str]] = {
    "its time has not come": ["UPDATE images SET not_before = safelight.now() + interval '2 days'"],
    "buying is paused": ["UPDATE installation SET paused_at = safelight.now()"],
    "its gate is shut": [GATE.format(columns="shut_at, probe_at", values="safelight.now(), 'infinity'")],
    "its vendor limits its rate": [GATE.format(columns="limited_until", values="'infinity'")],
    "its provider is busy": [NEIGHBOUR_AT_WORK],
    "the workers are busy": ["UPDATE workers SET slots = 1", NEIGHBOUR_AT_WORK],
    "its parent is not ready": ["UPDATE images SET awaits_parents = true"],
    "its call may still answer": [WORKED_ON.format(status="generating"), CALL.format(status="sent", open="2 days")],
    "it has ended": ["UPDATE images SET status = 'failed'"],
}


class Scene:
    """A job of one image, a worker that lives, and a watch. Time passes when a test says so."""

    def __init__(self, pool: asyncpg.Pool, job_id: JobId) -> None:
        self.pool = pool
        self.job_id = job_id
        self.watch = self.new_watch()

    def new_watch(self, **requests_per_minute: int) -> StuckWatch:
        bounds = Bounds(max_concurrency={"placeholder": 1}, requests_per_minute=requests_per_minute)
        return StuckWatch(self.pool, bounds, timing=Timing(stuck_seconds=STUCK_SECONDS))

    async def do(self, *statements: str) -> None:
        for statement in statements:
            await self.pool.execute(statement)

    async def look_after(self, seconds: float) -> int:
        await pass_time(self.pool, seconds)
        await self.do("UPDATE workers SET heartbeat_at = safelight.now()")
        return await self.watch.look()

    async def told(self) -> list[asyncpg.Record]:
        return await self.pool.fetch(
            "SELECT image_id, data FROM events WHERE job_id = $1 AND type = 'image.stuck' ORDER BY seq", self.job_id
        )


@pytest.fixture
async def scene(pool: asyncpg.Pool) -> Scene:
    accepted = await submit(pool, order(image("img")), run_limit_seconds=86_400)
    await register(pool)
    return Scene(pool, accepted.job_id)


@pytest.mark.parametrize("standstill", STANDSTILLS)
async def test_a_standstill_is_told_once_with_its_reason(standstill: str, scene: Scene) -> None:
    done, why = STANDSTILLS[standstill]
    await scene.do(*done)
    status = await scene.pool.fetchval("SELECT status FROM images")
    assert await scene.look_after(NOTICE_SECONDS + 1) == 0
    assert await scene.look_after(STUCK_SECONDS - NOTICE_SECONDS - 2) == 0
    assert await scene.look_after(2) == 1
    assert await scene.look_after(10 * STUCK_SECONDS) == 0
    assert await scene.new_watch().look() == 0

    [event] = await scene.told()
    since = event["data"].pop("since")
    assert (event["image_id"], event["data"]) == ("img", {"status": status, "why": why})
    assert since == (await scene.pool.fetchval("SELECT stuck_since FROM images")).isoformat()
    assert (await event_types(scene.pool, scene.job_id))[-1] == "image.stuck"


@pytest.mark.parametrize("explanation", EXPLANATIONS)
async def test_a_wait_that_is_explained_is_no_standstill_however_long(explanation: str, scene: Scene) -> None:
    await scene.do(*EXPLANATIONS[explanation])
    for _ in range(3):
        assert await scene.look_after(2 * STUCK_SECONDS) == 0
    assert await scene.told() == []


async def test_a_limit_of_calls_in_a_minute_explains_a_wait(scene: Scene) -> None:
    scene.watch = scene.new_watch(placeholder=1)
    for _ in range(3):
        await pass_time(scene.pool, 2 * STUCK_SECONDS)
        await scene.do("DELETE FROM attempts", CALL.format(status="unbilled", open="0 s"))
        assert await scene.look_after(1) == 0


async def test_an_image_that_moves_on_and_stands_still_again_is_told_again(scene: Scene) -> None:
    await scene.look_after(NOTICE_SECONDS + 1)
    assert await scene.look_after(STUCK_SECONDS) == 1
    await scene.do(WORKED_ON.format(status="processing"), "UPDATE images SET changed_at = safelight.now()")
    assert await scene.look_after(NOTICE_SECONDS + 1) == 0
    assert await scene.look_after(STUCK_SECONDS) == 1
    assert [event["data"]["status"] for event in await scene.told()] == ["queued", "processing"]


async def test_what_a_gate_kept_back_has_its_time_from_when_that_opens(scene: Scene) -> None:
    await scene.do(GATE.format(columns="shut_at, probe_at", values="safelight.now(), 'infinity'"))
    assert await scene.look_after(10 * STUCK_SECONDS) == 0
    await scene.do("DELETE FROM gates")
    assert await scene.look_after(1) == 0
    assert await scene.look_after(STUCK_SECONDS - NOTICE_SECONDS - 2) == 0
    assert await scene.look_after(NOTICE_SECONDS) == 1


async def test_an_explanation_meanwhile_begins_the_time_anew(scene: Scene) -> None:
    assert await scene.look_after(NOTICE_SECONDS + 1) == 0
    await scene.do("UPDATE installation SET paused_at = safelight.now()")
    assert await scene.look_after(STUCK_SECONDS) == 0
    await scene.do("UPDATE installation SET paused_at = NULL")
    assert await scene.look_after(1) == 0
    assert await scene.look_after(STUCK_SECONDS) == 1


async def test_a_job_at_a_vendor_is_followed_in_place_as_long_as_an_attempt_may_take(scene: Scene) -> None:
    followed = (WORKED_ON.format(status="generating"), CALL.format(status="submitted", open="30 s"))
    await scene.do("UPDATE images SET timeout_seconds = 3600", *followed)
    for _ in range(3):
        assert await scene.look_after((3600 + POLL_LIMIT_SECONDS) / 3) == 0
    assert await scene.look_after(NOTICE_SECONDS) == 0
    assert await scene.look_after(STUCK_SECONDS - NOTICE_SECONDS) == 1


async def test_a_job_at_a_vendor_that_no_worker_knows_is_told_once_though_it_changes_hands(scene: Scene) -> None:
    await scene.do(CALL.format(status="submitted", open="30 s"), "UPDATE workers SET providers = '{gemini}'")
    told = 0
    for _ in range(15):
        await scene.do("UPDATE images SET changed_at = safelight.now(), not_before = safelight.now()")
        told += await scene.look_after(NOTICE_SECONDS)
    assert told == 1
    [event] = await scene.told()
    assert event["data"]["why"] == "No living worker serves provider `placeholder`."


async def test_a_watch_that_begins_late_tells_nothing_at_once(scene: Scene) -> None:
    """After a stop of days everything has stood still for days, and is about to go on."""
    await pass_time(scene.pool, 100 * STUCK_SECONDS)
    assert await scene.new_watch().look() == 0


async def test_nothing_is_told_at_once_however_short_the_time_is(scene: Scene) -> None:
    """An image that waited for its turn for an hour, and is handed out at the moment of the look."""
    await pass_time(scene.pool, 3600)
    await scene.do("UPDATE workers SET heartbeat_at = safelight.now()", ADMITTED.format(lane="buy"))
    bounds = Bounds(max_concurrency={"placeholder": 1}, requests_per_minute={})
    assert await StuckWatch(scene.pool, bounds, timing=Timing(stuck_seconds=NOTICE_SECONDS)).look() == 0


async def test_of_many_watches_one_tells(scene: Scene) -> None:
    watches = [scene.new_watch() for _ in range(5)]
    await pass_time(scene.pool, NOTICE_SECONDS + 1)
    assert await asyncio.gather(*(watch.look() for watch in watches)) == [0] * 5
    await pass_time(scene.pool, STUCK_SECONDS)
    assert sum(await asyncio.gather(*(watch.look() for watch in watches))) == 1
    assert len(await scene.told()) == 1


async def test_an_image_that_moves_while_it_is_being_told_of_is_not_stuck(scene: Scene) -> None:
    await scene.look_after(NOTICE_SECONDS + 1)
    await pass_time(scene.pool, STUCK_SECONDS)
    async with scene.pool.acquire() as conn:
        async with conn.transaction():
            await conn.execute("SELECT FROM jobs WHERE id = $1 FOR NO KEY UPDATE", scene.job_id)
            await conn.execute("UPDATE images SET changed_at = safelight.now()")
            looking = asyncio.create_task(scene.watch.look())
            await until(scene.pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        assert await looking == 0
    assert await scene.told() == []


@pytest.mark.parametrize(
    ("standstill", "verdict", "remedy"),
    [
        ("no worker", Verdict.WARNING, "Start a worker: `safelight serve`, or `safelight worker` beside your API."),
        (
            "no worker that knows the provider",
            Verdict.PROBLEM,
            "Look whether the workers that know `placeholder` still",
        ),
        ("nobody claims", Verdict.PROBLEM, "Look for `intake lost` in the workers' logs, and start the workers again."),
        ("its worker hangs after the picture", Verdict.PROBLEM, "Look into the workers' logs, and start the workers"),
    ],
)
async def test_the_doctor_says_what_stands_still_and_what_to_do(
    standstill: str, verdict: Verdict, remedy: str, scene: Scene, database: str
) -> None:
    await scene.do(*STANDSTILLS[standstill][0])
    assert (await stuck_check(database)).verdict is Verdict.OK
    await scene.look_after(20 * 60)
    check = await stuck_check(database)
    assert (check.verdict, check.meaning) == (verdict, STANDSTILLS[standstill][1])
    assert check.remedy.startswith(remedy)
    assert check.found.startswith(f"`img` of {scene.job_id} (")
    assert check.found.endswith(") has stood still for 20 min")


async def stuck_check(database: str) -> Check:
    report = await examine(database, receipts=(), max_concurrency={"placeholder": 8}, timing=Timing())
    [check] = [check for check in report.checks if check.name == "stuck"]
    return check


async def rows_read(pool: asyncpg.Pool) -> float:
    """Of `images`, by one look."""
    explained = "EXPLAIN (ANALYZE, FORMAT JSON) " + load("stuck").suspects
    [row] = await pool.fetch(explained, ["placeholder"], [8], [None], 15.0, NOTICE_SECONDS, POLL_LIMIT_SECONDS)
    plan = orjson.loads(row[0])[0]["Plan"]
    return sum(read(node) for node in nodes(plan) if node.get("Relation Name") == "images")


async def test_a_hundred_thousand_waiting_images_are_not_walked(pool: asyncpg.Pool) -> None:
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    await pool.execute("ANALYZE")
    await fill(pool, jobs=200, images=500)
    await register(pool)
    watch = StuckWatch(pool, Bounds(max_concurrency={"placeholder": 8}, requests_per_minute={}), timing=Timing())
    await pass_time(pool, 3600)
    for statistics in ("of an empty table", "fresh"):
        await pool.execute("UPDATE workers SET heartbeat_at = safelight.now()")
        await pool.execute(GATE.format(columns="shut_at, probe_at", values="safelight.now(), 'infinity'"))
        assert await rows_read(pool) < 50, statistics
        await pool.execute("DELETE FROM gates")
        assert await rows_read(pool) < 500, statistics
        await pool.execute("ANALYZE")
    await watch.look()
    await pass_time(pool, 600)
    assert await watch.look() == 100
    assert await watch.look() == 0
    assert await pool.fetchval("SELECT count(*) FROM events WHERE type = 'image.stuck'") == 100


async def test_the_api_tells_of_work_that_has_no_worker(settings: Settings, pool: asyncpg.Pool) -> None:
    accepted = await submit(pool, order(image("img")), run_limit_seconds=3600)
    assert settings.database_url is not None
    async with api_of(settings.model_copy(update={"stuck_seconds": 0.5}), settings.database_url):
        await until(pool, "SELECT EXISTS (SELECT FROM events WHERE type = 'image.stuck')")
    assert await event_types(pool, accepted.job_id) == ["job.created", "image.stuck"]


async def test_a_worker_tells_of_work_that_it_does_not_know(settings: Settings, pool: asyncpg.Pool) -> None:
    await submit(pool, order(replace(image("img"), provider="elsewhere")), run_limit_seconds=3600)
    async with running(settings.model_copy(update={"stuck_seconds": 0.5})):
        await until(pool, "SELECT EXISTS (SELECT FROM events WHERE type = 'image.stuck')")
