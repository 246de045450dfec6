"""Couriers without a worker, on a database of the test's own, and the events that they are to tell of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg

from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.delivery.webhooks.courier import Courier
from safelight.delivery.webhooks.endpoints import Endpoints, Terms
from safelight.delivery.webhooks.schedule import Schedule
from safelight.delivery.webhooks.vault import Vault, new_key
from safelight.delivery.webhooks.visit import Pace
from safelight.domain.events import EventType
from safelight.domain.ids import EndpointId, JobId
from safelight.domain.order import WebhookOrder
from safelight.engine.image.journal import append_event, locked_job
from safelight.engine.orders.submit import submit
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.post import Post
from tests.orders import image, order, until

_SQL = load("courier")

ACCOUNT = "default"
LINKS = Links("https://images.example")
QUICK = Pace(poll_seconds=0.02, call_seconds=5.0, lease_seconds=10.0, progress_seconds=0.2)
PLAIN = Schedule(jitter=0.0)
VAULT = Vault([new_key()])


def post_to_loopback() -> Post:
    return EgressGuard(parse_allowances("http://127.0.0.0/8:*")).post


@asynccontextmanager
async def courier(
    pool: asyncpg.Pool,
    *,
    pace: Pace = QUICK,
    schedule: Schedule = PLAIN,
    post: Post | None = None,
    vault: Vault = VAULT,
    links: Links = LINKS,
    reach: Any = lambda _point: None,
) -> AsyncIterator[Courier]:
    """At work until the block ends."""
    running = Courier(
        pool,
        post=post or post_to_loopback(),
        vault=vault,
        links=links,
        pace=pace,
        schedule=schedule,
        reach=reach,
    )
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        running.stop()
        async with asyncio.timeout(20):
            await task


async def endpoint(pool: asyncpg.Pool, url: str, *events: str, **terms: Any) -> tuple[EndpointId, str]:
    """An account's endpoint and its secret; without `events` it wants all."""
    created, secret = await Endpoints(pool, VAULT).create(
        Terms(url=url, events=list(events) or None, **terms), account=ACCOUNT
    )
    return created.id, secret


async def job(
    pool: asyncpg.Pool, *image_ids: str, url: str | None = None, events: Sequence[str] | None = None
) -> JobId:
    """A job that nobody works on, with its `job.created`."""
    wish = order(*(image(each) for each in image_ids or ("one",)))
    if url is not None:
        wish = replace(wish, webhook=WebhookOrder(url=url, events=tuple(events) if events is not None else None))
    return (await submit(pool, wish, run_limit_seconds=3600)).job_id


async def happen(pool: asyncpg.Pool, job_id: JobId, *events: EventType, image_id: str | None = None) -> None:
    """Each event in a transaction of its own, as in life."""
    for event in events:
        async with locked_job(pool, job_id) as (conn, _job):
            await append_event(conn, job_id, event, image_id=image_id if event.startswith("image.") else None)


async def deliveries(pool: asyncpg.Pool, **where: object) -> list[asyncpg.Record]:
    rows = await pool.fetch("SELECT * FROM deliveries ORDER BY id")
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


async def nothing_waits(pool: asyncpg.Pool) -> None:
    """Returns when every message has ended and no lane is taken."""
    await until(pool, "SELECT NOT EXISTS (SELECT FROM deliveries WHERE status = 'pending')")
    await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE next_at IS NOT NULL)")


async def failed(pool: asyncpg.Pool, attempts: int) -> None:
    """Returns when the oldest message has failed that often, and its lane rests."""
    await until(
        pool,
        "SELECT attempt_count >= $1 AND l.claim_token IS NULL"
        " FROM deliveries AS d JOIN webhook_lanes AS l USING (endpoint_id, lane) ORDER BY d.id LIMIT 1",
        attempts,
    )


async def claim(
    pool: asyncpg.Pool,
    free: int,
    *,
    per_site: int = 4,
    seconds: float = 10.0,
    free_of_half: int = 100,
    free_of_most: int = 100,
) -> list[asyncpg.Record]:
    """What a courier with so many `free` slots takes, so many of the first half of its slots among them, and so many of
    all but the last eighth."""
    return await pool.fetch(_SQL.claim_lanes, free, per_site, seconds, 60.0, 4, free_of_half, free_of_most)
