"""What brings each rule of alerts to fire, as state of the engine; and somebody who looks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace

import asyncpg

from safelight.alert_settings import AlertSettings
from safelight.domain.alerts import Policy
from safelight.engine.orders.submit import submit
from safelight.engine.upkeep.stuck import Bounds
from safelight.engine.watch.alert_figures import Looks
from safelight.engine.watch.alerts import Alert, AlertWatch, alerts_shown
from tests.engine.by_hand import pass_time
from tests.engine.test_claim import register
from tests.orders import image, order

BOUNDS = Bounds(max_concurrency={"placeholder": 8, "gemini": 8}, requests_per_minute={})
CANARY = "canary-that-nobody-is-told"


@dataclass(kw_only=True)
class Tower:
    """`watch` is one process's; `look` passes the time between two looks first."""

    pool: asyncpg.Pool
    policy: Policy = field(default_factory=lambda: AlertSettings().policy())

    def watch(self, pool: asyncpg.Pool | None = None) -> AlertWatch:
        return AlertWatch(pool or self.pool, Looks(BOUNDS, lease_seconds=15.0), self.policy)

    async def look(self, *, after_seconds: float = 30.0) -> list[str]:
        """What was told now, as `kind severity rule subject`."""
        await pass_time(self.pool, after_seconds)
        newest = await self.pool.fetchval("SELECT coalesce(max(id), 0) FROM alert_messages")
        assert await self.watch().look() is not None
        rows = await self.pool.fetch(
            "SELECT m.kind, m.severity, m.rule, a.subject FROM alert_messages AS m"
            " JOIN alerts AS a ON a.id = m.alert_id WHERE m.id > $1 ORDER BY m.id",
            newest,
        )
        return [" ".join(row).strip() for row in rows]

    async def until_over(self) -> list[str]:
        """What was told until everything has been clear for long enough."""
        return [
            *await self.look(),
            *await self.look(after_seconds=self.policy.clear_seconds - 1),
            *await self.look(),
        ]

    async def shown(self) -> list[Alert]:
        return await alerts_shown(self.pool, within_seconds=86_400, acquire_seconds=5)

    def only(self, *rules: str) -> Tower:
        terms = {rule: terms for rule, terms in self.policy.terms.items() if rule.value in rules}
        return replace(self, policy=replace(self.policy, terms=terms))


async def job_of(pool: asyncpg.Pool, images: int, **terms: object) -> str:
    pictures = [image(f"img-{n}", prompt=f"{CANARY} {n}", **terms) for n in range(images)]  # pyright: ignore
    accepted = await submit(pool, order(*pictures), run_limit_seconds=864_000)
    return accepted.job_id


async def end_images(pool: asyncpg.Pool, job_id: str, status: str, *, first: int, last: int, kind: str = "x") -> None:
    await pool.execute(
        "UPDATE images SET status = $2, completed_at = safelight.now(), error = jsonb_build_object('kind', $5::text,"
        " 'code', 'X', 'message', 'x') WHERE job_id = $1 AND position BETWEEN $3 AND $4",
        job_id,
        status,
        first,
        last,
        kind,
    )


async def call(pool: asyncpg.Pool, job_id: str, status: str, **columns: object) -> None:
    """One call for the first image of a job, made now."""
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at, estimate_microusd)"
        " SELECT $2, row_id, 1, 1, $3, provider, model, fingerprint, gen_random_uuid(), gen_random_uuid(),"
        " safelight.now(), safelight.now(), safelight.now(), 40000 FROM images WHERE job_id = $1 AND position = 0",
        job_id,
        f"att_{uuid.uuid4().hex}",
        status,
    )
    for name, value in columns.items():
        await pool.execute(f"UPDATE attempts SET {name} = $1", value)


async def beat(pool: asyncpg.Pool) -> None:
    """A worker lives, and goes on living for whatever time a test lets pass."""
    await register(pool)
    await pool.execute("UPDATE workers SET heartbeat_at = 'infinity'")
