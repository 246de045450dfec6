"""What keeps a provider's gate shut, what opens it, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from safelight.db.pool import close_pool, open_pool
from safelight.db.statements import load
from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.gates import BURST
from safelight.domain.ids import ImageRowId, new_attempt_id
from safelight.engine.admission import admit
from safelight.engine.gates import (
    GateState,
    Notice,
    forget_notices,
    gate_states,
    notices,
    probe_now,
    report_answer,
    report_failure,
)
from safelight.engine.submit import submit
from safelight.engine.timing import Timing
from safelight.providers.provider import ProviderError
from tests.engine.by_hand import pass_time
from tests.engine.test_claim import register
from tests.orders import image, order, until

TIMING = Timing(probe_seconds=10.0, probe_max_seconds=300.0, retry_unit_seconds=1.0)
ANY_LEASE = 1e9
"""Workers of these tests do not beat while the clock is moved."""
STRANGER = ImageRowId(10_000)
"""An image that is nobody's probe: its call was on its way before the gate was shut."""
LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def temporary(code: str = "HTTP_503", *, billed: Billed = Billed.NO, scope: Scope = Scope.REQUEST) -> ProviderError:
    return ProviderError("the vendor stumbled", kind=ErrorKind.TEMPORARY, billed=billed, code=code, scope=scope)


def timeout() -> ProviderError:
    return ProviderError("silence", kind=ErrorKind.TIMEOUT, billed=Billed.UNKNOWN, code="TIMEOUT")


def bad_key() -> ProviderError:
    return ProviderError(
        "no such key", kind=ErrorKind.AUTH_ERROR, billed=Billed.NO, code="API_KEY_INVALID", scope=Scope.ACCOUNT
    )


def bad_request() -> ProviderError:
    return ProviderError("no such size", kind=ErrorKind.PERMANENT, billed=Billed.NO, code="INVALID_ARGUMENT")


def limited(seconds: float | None = None, *, scope: Scope = Scope.REQUEST) -> ProviderError:
    return ProviderError(
        "slow down",
        kind=ErrorKind.RATE_LIMIT,
        billed=Billed.NO,
        code="RESOURCE_EXHAUSTED",
        scope=scope,
        retry_after_seconds=seconds,
    )


def day_is_used_up() -> ProviderError:
    return ProviderError(
        "come back tomorrow",
        kind=ErrorKind.RATE_LIMIT,
        billed=Billed.NO,
        code="DAILY_QUOTA",
        scope=Scope.ACCOUNT,
        retry_after_seconds=20.0,
        quota_zone=LOS_ANGELES.key,
    )


async def fail(
    pool: asyncpg.Pool, error: ProviderError, *, model: str = "placeholder-1", row_id: int = STRANGER, times: int = 1
) -> None:
    for _ in range(times):
        await report_failure(
            pool, provider="placeholder", model=model, row_id=ImageRowId(row_id), error=error, timing=TIMING
        )


async def answer(pool: asyncpg.Pool, *, model: str = "placeholder-1", row_id: int = STRANGER) -> None:
    await report_answer(pool, provider="placeholder", model=model, row_id=ImageRowId(row_id))


async def is_shut(pool: asyncpg.Pool, *, model: str = "placeholder-1", row_id: int = STRANGER) -> bool:
    """As the commit of an attempt asks."""
    return bool(await pool.fetchval("SELECT gate_is_shut('placeholder', $1, $2)", model, row_id))


async def told(pool: asyncpg.Pool) -> list[tuple[str, str | None, str | None]]:
    return [(each.type, each.model, each.code) for each in await notices(pool, 0)]


async def state(pool: asyncpg.Pool) -> GateState:
    [only] = await gate_states(pool)
    return only


async def probe_pause(pool: asyncpg.Pool) -> float:
    """Seconds until the one shut gate may be probed."""
    return await pool.fetchval("SELECT extract(epoch FROM probe_at - safelight.now())::float8 FROM gates")


async def limit(pool: asyncpg.Pool) -> float:
    """Seconds until the one gate with a rate limit lets calls pass."""
    return await pool.fetchval("SELECT extract(epoch FROM limited_until - safelight.now())::float8 FROM gates")


async def set_clock(pool: asyncpg.Pool, at: datetime) -> None:
    await pool.execute("UPDATE installation SET clock_shift = $1 - statement_timestamp()", at)


async def waiting(pool: asyncpg.Pool, *models: str) -> list[int]:
    """A job with one image for each of the models; the answer is their row ids."""
    images = (image(f"img-{n}", model=model) for n, model in enumerate(models))
    accepted = await submit(pool, order(*images), run_limit_seconds=1e9)
    rows = await pool.fetch("SELECT row_id FROM images WHERE job_id = $1 ORDER BY position", accepted.job_id)
    return [row["row_id"] for row in rows]


async def admitted(pool: asyncpg.Pool, queue: asyncpg.Pool, *, calls: int = 1) -> list[int]:
    """The images that so many admissions at once hand out together."""
    before = await in_hand(pool)
    await asyncio.gather(
        *(admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=ANY_LEASE) for _ in range(calls))
    )
    return [row_id for row_id in await in_hand(pool) if row_id not in before]


async def in_hand(pool: asyncpg.Pool) -> list[int]:
    rows = await pool.fetch("SELECT row_id FROM images WHERE admitted_at IS NOT NULL ORDER BY row_id")
    return [row["row_id"] for row in rows]


async def send(pool: asyncpg.Pool, row_id: int, *, status: str = "sent", resolves_in_seconds: float = 60.0) -> None:
    """The image's call is on its way; the image is the worker's that claimed it."""
    await pool.execute(
        "UPDATE images SET status = 'generating', admitted_at = NULL, claim_token = gen_random_uuid(),"
        " attempt_count = attempt_count + 1 WHERE row_id = $1",
        row_id,
    )
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at)"
        " SELECT $2, row_id, attempt_count, run, $3, provider, model, 'f', claim_token, gen_random_uuid(),"
        " safelight.now(), safelight.now(), safelight.now() + make_interval(secs => $4) FROM images WHERE row_id = $1",
        row_id,
        new_attempt_id(),
        status,
        resolves_in_seconds,
    )


async def put_back(pool: asyncpg.Pool, row_id: int) -> None:
    """The image waits again, due now."""
    await pool.execute(
        "UPDATE images SET status = 'queued', claim_token = NULL, admitted_at = NULL, not_before = safelight.now()"
        " WHERE row_id = $1",
        row_id,
    )
    await pool.execute("UPDATE attempts SET status = 'unbilled' WHERE image_row_id = $1", row_id)


@pytest.fixture
async def worked(pool: asyncpg.Pool) -> None:
    """The provider has delivered a picture before."""
    [row_id] = await waiting(pool, "placeholder-1")
    await send(pool, row_id, status="settled")
    await pool.execute("UPDATE images SET status = 'completed', claim_token = NULL WHERE row_id = $1", row_id)


@pytest.fixture
async def paused(pool: asyncpg.Pool) -> None:
    """One model of the provider is shut, and some worker has room."""
    await register(pool)
    await fail(pool, temporary(), times=BURST)


async def test_failures_in_a_row_shut_the_gate_of_their_model_and_no_other(pool: asyncpg.Pool) -> None:
    await fail(pool, temporary(), times=2)
    await fail(pool, timeout(), times=BURST - 3)
    assert not await is_shut(pool)
    assert (await state(pool)).failures == BURST - 1
    await fail(pool, temporary("CONNECT_FAILED"))
    assert await is_shut(pool)
    assert not await is_shut(pool, model="another")
    assert await told(pool) == [("provider.paused", "placeholder-1", "CONNECT_FAILED")]
    assert 9 < await probe_pause(pool) <= 10


async def test_an_answer_in_between_makes_them_none_in_a_row(pool: asyncpg.Pool) -> None:
    for error in (None, bad_request(), temporary(billed=Billed.YES)):
        await fail(pool, temporary(), times=BURST - 1)
        await (answer(pool) if error is None else fail(pool, error))
        assert await gate_states(pool) == []
    await fail(pool, temporary(), times=BURST - 1)
    assert not await is_shut(pool)
    assert await told(pool) == []


async def test_a_vendor_that_works_leaves_no_row_behind_and_is_not_written_to(pool: asyncpg.Pool) -> None:
    await answer(pool)
    await fail(pool, bad_request())
    assert await pool.fetchval("SELECT count(*) FROM gates") == 0
    await fail(pool, temporary())
    await answer(pool, model="another")
    assert await pool.fetchval("SELECT failures FROM gates") == 1


@pytest.mark.usefixtures("worked")
async def test_a_key_that_is_gone_shuts_the_whole_account_at_once(pool: asyncpg.Pool) -> None:
    await fail(pool, bad_key(), model="one")
    assert await is_shut(pool, model="one")
    assert await is_shut(pool, model="another")
    found = await state(pool)
    assert (found.model, found.code, found.is_shut) == (None, "API_KEY_INVALID", True)
    assert await told(pool) == [("provider.paused", None, "API_KEY_INVALID")]


async def test_a_key_that_was_never_good_shuts_nothing(pool: asyncpg.Pool) -> None:
    await fail(pool, bad_key(), times=BURST)
    assert await gate_states(pool) == []
    assert await told(pool) == []


@pytest.mark.usefixtures("worked")
async def test_trouble_of_the_account_is_counted_over_its_models(pool: asyncpg.Pool) -> None:
    for n in range(BURST):
        await fail(pool, temporary(scope=Scope.ACCOUNT), model=f"model-{n}")
    assert await is_shut(pool, model="model-9")


@pytest.mark.usefixtures("paused")
async def test_calls_under_way_change_nothing_at_a_shut_gate(pool: asyncpg.Pool) -> None:
    before = await pool.fetch("SELECT * FROM gates")
    await fail(pool, temporary("LATER"), times=BURST)
    await fail(pool, timeout())
    await answer(pool)
    assert await pool.fetch("SELECT * FROM gates") == before
    assert await is_shut(pool)
    assert len(await told(pool)) == 1


@pytest.mark.usefixtures("paused")
async def test_each_failed_probe_doubles_the_pause_up_to_its_bound(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await waiting(pool, "placeholder-1", "placeholder-1")
    pauses = [round(await probe_pause(pool))]
    while len(pauses) < 8:
        await pass_time(pool, pauses[-1] - 2)
        assert await admitted(pool, queue) == [], "not yet"
        await pass_time(pool, 3)
        [probe] = await admitted(pool, queue)
        assert not await is_shut(pool, row_id=probe)
        assert await is_shut(pool, row_id=probe + 1)
        await send(pool, probe)
        await fail(pool, temporary(), row_id=probe)
        await put_back(pool, probe)
        assert await is_shut(pool, row_id=probe), "it was the probe, and is no more"
        pauses.append(round(await probe_pause(pool)))
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert len(await told(pool)) == 1, "one pause, however often it was tried"


@pytest.mark.parametrize("error", [None, bad_request(), temporary(billed=Billed.YES)], ids=repr)
@pytest.mark.usefixtures("paused")
async def test_an_answer_to_the_probe_opens_the_gate(
    error: ProviderError | None, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await waiting(pool, *["placeholder-1"] * 4)
    await pass_time(pool, 11)
    [probe] = await admitted(pool, queue)
    await send(pool, probe)
    await (answer(pool, row_id=probe) if error is None else fail(pool, error, row_id=probe))
    assert await gate_states(pool) == []
    assert not await is_shut(pool)
    [_, resumed] = await notices(pool, 0)
    assert (resumed.type, resumed.model, resumed.code) == ("provider.resumed", "placeholder-1", "HTTP_503")
    assert 11 <= resumed.data["paused_seconds"] < 60
    assert len(await admitted(pool, queue)) == 3


@pytest.mark.usefixtures("worked")
async def test_one_answer_opens_the_account_s_gate_and_the_model_s(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await fail(pool, temporary(), times=BURST)
    await fail(pool, bad_key(), model="another")
    await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    [probe] = await admitted(pool, queue)
    await answer(pool, row_id=probe)
    assert await gate_states(pool) == []
    assert sorted(model or "" for kind, model, _ in await told(pool) if kind == "provider.resumed") == [
        "",
        "placeholder-1",
    ]


@pytest.mark.usefixtures("worked")
async def test_a_probe_of_the_account_that_meets_a_vendor_in_trouble_has_failed(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await fail(pool, bad_key())
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, timeout(), row_id=probe)
    account, model = await gate_states(pool)
    assert (account.model, account.is_shut, account.failed_probes, account.code) == (None, True, 1, "TIMEOUT")
    assert (model.model, model.is_shut, model.failures) == ("placeholder-1", False, 1)


@pytest.mark.usefixtures("worked")
async def test_a_probe_of_a_model_that_meets_a_key_that_is_gone_says_nothing_of_the_model(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await fail(pool, temporary(), times=BURST)
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, bad_key(), row_id=probe)
    account, model = await gate_states(pool)
    assert (account.model, account.code) == (None, "API_KEY_INVALID")
    assert (model.is_shut, model.code, model.failed_probes, model.is_probing) == (True, "HTTP_503", 0, False)


async def test_fifty_failures_at_once_are_told_once_and_so_is_the_end_of_the_pause(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await asyncio.gather(*(fail(pool, temporary()) for _ in range(50)))
    assert await told(pool) == [("provider.paused", "placeholder-1", "HTTP_503")]
    await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    [probe] = await admitted(pool, queue)
    await asyncio.gather(*(answer(pool, row_id=probe) for _ in range(50)))
    assert [kind for kind, _, _ in await told(pool)] == ["provider.paused", "provider.resumed"]


async def test_a_rate_limit_keeps_calls_back_for_as_long_as_the_vendor_says_and_is_told_to_nobody(
    pool: asyncpg.Pool,
) -> None:
    await fail(pool, limited(30))
    assert await is_shut(pool)
    assert not await is_shut(pool, model="another")
    await fail(pool, limited(5))
    assert 29 < await limit(pool) <= 30, "an earlier moment shortens nothing"
    written = await pool.fetchval("SELECT xmin FROM gates")
    await answer(pool)
    assert await is_shut(pool), "a call that was on its way proves nothing about the next one"
    assert await pool.fetchval("SELECT xmin FROM gates") == written, "and there is nothing to write"
    await pass_time(pool, 31)
    assert not await is_shut(pool)
    await answer(pool)
    assert await pool.fetchval("SELECT count(*) FROM gates") == 0
    assert await told(pool) == []


async def test_a_rate_limit_of_the_account_is_for_all_of_its_models(pool: asyncpg.Pool) -> None:
    await fail(pool, limited(30, scope=Scope.ACCOUNT), model="one")
    assert await is_shut(pool, model="another")


async def test_a_rate_limit_without_a_time_doubles_and_calls_that_were_under_way_together_count_once(
    pool: asyncpg.Pool,
) -> None:
    pauses: list[float] = []
    for _ in range(8):
        await fail(pool, limited(), times=3)
        pauses.append(await limit(pool))
        await pass_time(pool, pauses[-1] + 0.1)
    assert [round(each) for each in pauses] == [1, 2, 4, 8, 16, 32, 60, 60]
    await answer(pool)
    await fail(pool, limited())
    assert round(await limit(pool)) == 1, "an answer begins the count anew"


async def test_a_failure_and_a_rate_limit_do_not_hide_each_other(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await fail(pool, temporary(), times=BURST)
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, limited(30))
    await answer(pool, row_id=probe)
    found = await state(pool)
    assert not found.is_shut
    assert found.limited_until is not None
    assert await is_shut(pool)


@pytest.mark.usefixtures("paused")
async def test_a_probe_that_meets_a_rate_limit_has_learned_nothing(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, limited(2), row_id=probe)
    found = await state(pool)
    assert (found.is_shut, found.is_probing, found.failed_probes, found.code) == (True, False, 0, "HTTP_503")
    assert 9 < await probe_pause(pool) <= 10


DAYS = [
    (datetime(2027, 6, 1, 15, 30, tzinfo=LOS_ANGELES), timedelta(hours=8.5)),
    (datetime(2027, 3, 14, 0, 30, tzinfo=LOS_ANGELES), timedelta(hours=22.5)),
    (datetime(2027, 11, 7, 0, 30, tzinfo=LOS_ANGELES), timedelta(hours=24.5)),
    (datetime(2027, 12, 31, 23, 59, tzinfo=LOS_ANGELES), timedelta(minutes=1)),
]
"""A moment in Los Angeles, and how far the next midnight is: also on the days when its clocks are changed."""


@pytest.mark.parametrize(("now", "wait"), DAYS, ids=lambda each: str(each))
async def test_a_quota_that_is_used_up_parks_the_provider_until_midnight_where_the_vendor_is(
    now: datetime, wait: timedelta, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await set_clock(pool, now)
    await register(pool)
    [probe, _] = await waiting(pool, "one", "another")
    await fail(pool, day_is_used_up(), model="one", times=3)
    assert abs(await probe_pause(pool) - wait.total_seconds()) < 30
    assert await is_shut(pool, model="another")
    assert await told(pool) == [("provider.paused", None, "DAILY_QUOTA")]
    [paused] = await notices(pool, 0)
    assert datetime.fromisoformat(paused.data["probe_at"]).astimezone(LOS_ANGELES).hour == 0
    await pass_time(pool, wait.total_seconds() - 40)
    assert await admitted(pool, queue) == []
    await pass_time(pool, 41)
    assert await admitted(pool, queue) == [probe]
    await answer(pool, model="one", row_id=probe)
    assert [kind for kind, _, _ in await told(pool)] == ["provider.paused", "provider.resumed"]


async def test_a_quota_that_is_renewed_a_little_late_does_not_cost_another_day(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await set_clock(pool, datetime(2027, 6, 1, 23, 59, tzinfo=LOS_ANGELES))
    await register(pool)
    [probe] = await waiting(pool, "placeholder-1")
    await fail(pool, day_is_used_up())
    await pass_time(pool, 61)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, day_is_used_up(), row_id=probe)
    assert 19 < await probe_pause(pool) <= 20
    await put_back(pool, probe)
    await pass_time(pool, 3600)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, day_is_used_up(), row_id=probe)
    assert 22.9 * 3600 < await probe_pause(pool) < 23 * 3600, "used up once more"
    assert len(await told(pool)) == 1


@pytest.mark.usefixtures("paused")
async def test_a_probe_whose_image_went_another_way_without_a_call_leaves_its_place_at_once(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pool.execute("UPDATE images SET status = 'canceled', admitted_at = NULL WHERE row_id = $1", first)
    assert await admitted(pool, queue) == [second]
    assert not await is_shut(pool, row_id=second)
    assert await is_shut(pool, row_id=first)


@pytest.mark.usefixtures("paused")
async def test_a_probe_that_nobody_reports_on_ends_with_its_lease(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    """Its worker was killed: the image has 10 s of its own, and 15 s of grace."""
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pool.execute(
        "UPDATE images SET status = 'processing', admitted_at = NULL, claim_token = gen_random_uuid()"
        " WHERE row_id = $1",
        first,
    )
    await pass_time(pool, 24)
    assert await admitted(pool, queue) == []
    assert not await is_shut(pool, row_id=first)
    await pass_time(pool, 2)
    assert await is_shut(pool, row_id=first), "too late for its call"
    assert await admitted(pool, queue) == [second]
    assert await is_shut(pool, row_id=first)


@pytest.mark.usefixtures("paused")
async def test_a_probe_is_out_for_as_long_as_its_call_may_answer(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pass_time(pool, 20)  # the queue was slow
    await send(pool, first, resolves_in_seconds=25.0)
    await pass_time(pool, 20)
    assert (await state(pool)).is_probing
    assert await admitted(pool, queue) == []
    await pass_time(pool, 6)
    assert await admitted(pool, queue) == [second]


@pytest.mark.usefixtures("paused")
async def test_a_probe_that_another_provider_made_meanwhile_holds_no_place(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pool.execute("UPDATE images SET provider = 'gemini', model = 'g' WHERE row_id = $1", first)
    await send(pool, first)
    assert await admitted(pool, queue) == [second]


@pytest.mark.usefixtures("paused")
async def test_what_may_have_been_mended_is_tried_at_once(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first, _ = await waiting(pool, "placeholder-1", "placeholder-1")
    await probe_now(pool, ["gemini"])
    assert await admitted(pool, queue) == []
    await probe_now(pool, ["placeholder", "gemini"])
    assert await admitted(pool, queue) == [first]


@pytest.mark.usefixtures("paused")
async def test_a_gate_is_shown_with_what_the_vendor_said(pool: asyncpg.Pool) -> None:
    await fail(pool, limited(30), model="another")
    another, shut = await gate_states(pool)
    assert (another.model, another.is_shut, another.code) == ("another", False, None)
    assert another.limited_until is not None
    assert (shut.provider, shut.model, shut.failures) == ("placeholder", "placeholder-1", BURST)
    assert (shut.code, shut.message, shut.is_probing, shut.failed_probes) == (
        "HTTP_503",
        "the vendor stumbled",
        False,
        0,
    )
    assert shut.shut_at is not None
    assert shut.probe_at == shut.shut_at + timedelta(seconds=10)


async def test_notices_are_read_in_order_from_where_a_reader_stopped_and_forgotten_after_a_month(
    pool: asyncpg.Pool,
) -> None:
    for model in ("one", "two", "three"):
        await fail(pool, temporary(), model=model, times=BURST)
    seen = await notices(pool, 0, limit=2)
    assert [each.model for each in seen] == ["one", "two"]
    rest = await notices(pool, seen[-1].id)
    assert [each.model for each in rest] == ["three"]
    assert isinstance(rest[0], Notice)
    assert rest[0].message == "the vendor stumbled"
    await pass_time(pool, 31 * 86_400)
    await fail(pool, temporary(), model="four", times=BURST)
    await forget_notices(pool)
    assert [each.model for each in await notices(pool, 0)] == ["four"]


async def test_a_reader_that_has_seen_a_notice_has_missed_none_before_it(pool: asyncpg.Pool) -> None:
    """Two pauses at once: the second one waits for the first one's commit before it takes its number."""
    shut: Sequence[object] = ("CODE", "message", 1, None, 10.0)
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(load("gates").count_against, "placeholder", "first", *shut)
        second = asyncio.create_task(pool.execute(load("gates").count_against, "placeholder", "second", *shut))
        waits = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%count_against%'"
        )
        await until(pool, f"{waits} AND datname = current_database()")
        assert await notices(pool, 0) == []
        await transaction.commit()
    await second
    assert [each.model for each in await notices(pool, 0)] == ["first", "second"]


async def test_a_report_that_finds_no_database_raises_nothing(database: str) -> None:
    gone = await open_pool(database, min_size=1, max_size=1, application_name="tests gone")
    await close_pool(gone)
    await fail(gone, temporary())
    await fail(gone, limited(1))
    await answer(gone)
