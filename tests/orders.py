"""Small orders for tests, and questions that tests ask of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from safelight.domain.attempts import OnUncertain, RetryBudget
from safelight.domain.fingerprint import fingerprint
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES, JobStatus
from safelight.domain.order import ImageOrder, JobOrder

SMALL = {"name": "card", "width_px": 64, "height_px": 64, "fit": "cover", "format": "jpeg", "quality": 80}


GEMINI = "gemini-3.1-flash-lite-image"


def vendor_image(image_id: str, script: str = "", **rest: Any) -> ImageOrder:
    """An image for the sandbox's Gemini; `script` is what the sandbox is told to do, `500 x2` for example."""
    directives = "".join(f" [[sandbox: {each.strip()}]]" for each in script.split(";") if each.strip())
    return image(image_id, provider="gemini", model=GEMINI, prompt=f"A picture of {image_id}{directives}", **rest)


def image(
    image_id: str,
    *,
    provider: str = "placeholder",
    model: str = "placeholder-1",
    prompt: str | None = None,
    timeout_seconds: float = 10.0,
    max_attempts: int = 3,
    max_rebuys: int = 1,
    on_uncertain: OnUncertain = OnUncertain.RETRY_ONCE,
    estimate_microusd: int | None = 40_000,
    options: Mapping[str, Any] | None = None,
) -> ImageOrder:
    return ImageOrder(
        id=image_id,
        group="test",
        provider=provider,
        model=model,
        prompt=prompt or f"A picture of {image_id}",
        options=options if options is not None else {"size": "64x64"} if provider == "placeholder" else {},
        timeout_seconds=timeout_seconds,
        budget=RetryBudget(max_attempts=max_attempts, max_rebuys=max_rebuys, on_uncertain=on_uncertain),
        estimate_microusd=estimate_microusd,
    )


def order(
    *images: ImageOrder,
    key: str | None = None,
    body: Any = None,
    deadline_seconds: float = 3600.0,
    on_deadline: str = "continue",
    outputs: Sequence[Mapping[str, Any]] = (SMALL,),
) -> JobOrder:
    return JobOrder(
        account="default",
        idempotency_key=key,
        body_fingerprint=fingerprint(body),
        images=images,
        outputs=tuple(outputs),
        storage_prefix=None,
        metadata={},
        deadline_seconds=deadline_seconds,
        on_deadline=on_deadline,
    )


async def job_row(pool: asyncpg.Pool, job_id: JobId) -> asyncpg.Record:
    row = await pool.fetchrow("SELECT * FROM jobs WHERE id = $1", job_id)
    assert row is not None
    return row


async def images_of(pool: asyncpg.Pool, job_id: JobId) -> list[asyncpg.Record]:
    return await pool.fetch("SELECT * FROM images WHERE job_id = $1 ORDER BY position", job_id)


async def attempts_of(pool: asyncpg.Pool, job_id: JobId) -> list[asyncpg.Record]:
    return await pool.fetch(
        "SELECT a.* FROM attempts a JOIN images i ON i.row_id = a.image_row_id"
        " WHERE i.job_id = $1 ORDER BY i.position, a.number",
        job_id,
    )


async def event_types(pool: asyncpg.Pool, job_id: JobId) -> list[str]:
    rows = await pool.fetch("SELECT seq, type FROM events WHERE job_id = $1 ORDER BY seq", job_id)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1)), "seq has no gap"
    return [row["type"] for row in rows]


async def until(pool: asyncpg.Pool, question: str, *args: object, seconds: float = 30.0) -> Any:
    """The first true answer to a question about the database; asked again and again until the deadline, since other
    processes change it and tell nobody."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                answer = await pool.fetchval(question, *args)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                answer = None
            if answer:
                return answer
            await asyncio.sleep(0.02)


async def ended(pool: asyncpg.Pool, job_id: JobId, *, seconds: float = 30.0) -> JobStatus:
    """How the job ended, once it has."""
    terminal = [status.value for status in TERMINAL_JOB_STATUSES]
    return JobStatus(
        await until(
            pool,
            "SELECT status FROM jobs WHERE id = $1 AND status = ANY($2)",
            job_id,
            terminal,
            seconds=seconds,
        )
    )
