"""How long one admission takes with a short, a long and a very long queue, and with a long one of many accounts."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from benchmarks.figures import Figure, at_most, percentile
from benchmarks.installation import home_below
from benchmarks.scale import Scale
from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate
from safelight.db.pool import close_pool, open_pool
from safelight.db.statements import load
from safelight.domain.attempts import OnUncertain, RetryBudget
from safelight.domain.fingerprint import fingerprint
from safelight.domain.ids import new_worker_id
from safelight.domain.order import ImageOrder, JobOrder
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit

AT_ONCE = 8
"""Images that each admission hands out."""

PROVIDER, _MODEL = "placeholder", "placeholder-1"
"""Of the images that are ordered here."""

_WORKERS = load("workers")
_LARGEST_JOB = 500
_LEASE_SECONDS = 86_400.0  # the one worker that is said to live need not beat
_RATIO_GOALS = (1.5, 3.0)
_FAIR_GOAL = 1.5
_UNADMIT = """
    UPDATE images SET admitted_at = NULL, queue_row_id = NULL WHERE admitted_at IS NOT NULL;
    DELETE FROM pgqueuer;
"""


@dataclass(frozen=True, slots=True)
class _Queue:
    """So many images, of so many accounts, that wait as jobs of the same size."""

    images: int
    accounts: int = 1

    @property
    def shown(self) -> str:
        return f"{self.images:,} queued".replace(",", " ") + (
            f" by {self.accounts} accounts" if self.accounts > 1 else ""
        )

    @property
    def name(self) -> str:
        return f"{self.images}" + (f"_of_{self.accounts}" if self.accounts > 1 else "")


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """Each queue in a database of its own, on one server; they take turns, call by call, so that whatever else the
    machine does falls on all of them."""
    queues = [*(_Queue(images) for images in scale.backlogs), _Queue(scale.backlogs[1], scale.accounts)]
    with home_below(folder) as home:
        server = EmbeddedServer(home)
        dsn = await asyncio.to_thread(server.start)
        async with AsyncExitStack() as open_databases:
            pools = [await open_databases.enter_async_context(_backlog(dsn, queue)) for queue in queues]
            await _calls(pools, calls=20)
            runs = [await _calls(pools, calls=scale.admissions) for _ in range(scale.runs)]
    p99s = [
        Figure(
            name=f"admission_p99_{queue.name}",
            what=f"admission of {AT_ONCE} images, {queue.shown}, p99",
            unit="ms",
            runs=tuple(1000 * percentile(run[n], 99) for run in runs),
        )
        for n, queue in enumerate(queues)
    ]
    ratios = [
        Figure(
            name=f"admission_ratio_{queues[n].name}",
            what=f"· {queues[n].shown}, over {queues[0].shown}",
            unit="×",
            runs=tuple(percentile(run[n], 99) / percentile(run[0], 99) for run in runs),
            goal=at_most(goal),
        )
        for n, goal in enumerate(_RATIO_GOALS, start=1)
    ]
    fair = Figure(
        name=f"admission_ratio_{queues[-1].name}",
        what=f"· {queues[-1].shown}, over {queues[0].shown}, medians",
        unit="×",
        runs=tuple(percentile(run[-1], 50) / percentile(run[0], 50) for run in runs),
        goal=at_most(_FAIR_GOAL),
    )
    return [*p99s, *ratios, fair]


async def _calls(pools: list[asyncpg.Pool], *, calls: int) -> list[list[float]]:
    """Seconds of each admission, for each of the queues."""
    taken: list[list[float]] = [[] for _ in pools]
    for _ in range(calls):
        for pool, seconds in zip(pools, taken, strict=True):
            began = time.perf_counter()
            admitted = await admit(pool, max_concurrency={PROVIDER: AT_ONCE}, lease_seconds=_LEASE_SECONDS)
            seconds.append(time.perf_counter() - began)
            assert admitted == AT_ONCE
            await pool.execute(_UNADMIT)
    return taken


@asynccontextmanager
async def _backlog(server_dsn: str, queue: _Queue) -> AsyncIterator[asyncpg.Pool]:
    """A database in which so much waits and one worker has free slots; the pool is as admission has it."""
    name = f"queued_{queue.name}"
    connection = await asyncpg.connect(server_dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    dsn = server_dsn.replace("@/postgres?", f"@/{name}?")
    await migrate(dsn)
    pool = await open_pool(dsn, min_size=1, max_size=2, application_name="benchmark")
    try:
        for account, images in _shared(queue):
            for size in [_LARGEST_JOB] * (images // _LARGEST_JOB) + [images % _LARGEST_JOB]:
                if size:
                    await submit(pool, replace(order(size), account=account), run_limit_seconds=_LEASE_SECONDS)
        identity = (new_worker_id(), socket.gethostname(), os.getpid(), [PROVIDER], AT_ONCE, AT_ONCE)
        await pool.execute(_WORKERS.register_worker, *identity)
        await pool.execute("ANALYZE")
    finally:
        await close_pool(pool)
    pool = await open_pool(dsn, min_size=1, max_size=2, application_name="benchmark", jsonb_as_values=False)
    try:
        yield pool
    finally:
        await close_pool(pool)


def _shared(queue: _Queue) -> list[tuple[str, int]]:
    """Who has how many of the images."""
    if queue.accounts == 1:
        return [("default", queue.images)]
    return [(f"account-{n:03}", queue.images // queue.accounts) for n in range(queue.accounts)]


def order(images: int) -> JobOrder:
    """A job of so many images, without outputs."""
    return JobOrder(
        account="default",
        idempotency_key=None,
        body_fingerprint=fingerprint({}),
        images=tuple(_image(n) for n in range(images)),
        outputs=(),
        storage_prefix=None,
        metadata={},
        deadline_seconds=3600.0,
        on_deadline="continue",
    )


def _image(number: int) -> ImageOrder:
    return ImageOrder(
        id=f"img-{number}",
        group="",
        provider=PROVIDER,
        model=_MODEL,
        prompt=f"Picture {number}",
        options={},
        timeout_seconds=30.0,
        budget=RetryBudget(max_attempts=3, max_rebuys=1, on_uncertain=OnUncertain.RETRY_ONCE),
        estimate_microusd=0,
    )
