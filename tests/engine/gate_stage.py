"""What the tests of gates are played with: vendors' failures, calls, probes, and a clock that is set."""

from __future__ import annotations

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.gates import BURST
from safelight.domain.ids import ImageRowId, new_attempt_id
from safelight.engine.gates import GateState, gate_states, notices, report_answer, report_failure
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.engine.timing import Timing
from safelight.providers.provider import ProviderError
from tests.engine.test_claim import register
from tests.orders import image, order

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
