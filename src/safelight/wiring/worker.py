"""A worker process, and what runs beside its images."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING

from safelight.db.pool import close_pool, families_of, open_pool
from safelight.delivery.links import Links
from safelight.delivery.webhooks.courier import Courier, forget_old
from safelight.delivery.webhooks.visit import CourierPoint
from safelight.domain.ids import WorkerId, new_worker_id
from safelight.engine.accounts.uploads import forget_uploads
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.figures.tally import Tally
from safelight.engine.image.addresses import Addresses
from safelight.engine.image.attempt import AttemptPipeline
from safelight.engine.image.keep import Keeper
from safelight.engine.image.writes import Writes
from safelight.engine.queue.worker import Capacity, Worker, claim_store
from safelight.engine.upkeep.erasure import Eraser, ErasurePoint
from safelight.engine.upkeep.retention import delete_orphans
from safelight.imaging.pool import RenderPool
from safelight.metrics import told_at
from safelight.settings import MOST_WORKERS, Settings
from safelight.wiring.alerts import alerts_of
from safelight.wiring.parts import (
    admission_of,
    alongside,
    catalog_of,
    fetch_of,
    guard_of,
    keeping_of,
    placing,
    pools,
    schedules_of,
    signer_of,
    stores_of,
    stuck_watch_of,
    timing_of,
    vault_of,
)

if TYPE_CHECKING:
    from safelight.domain.recipe import Recipe

_LEFT_BEHIND_SECONDS = 86_400.0
"""A file that was written half and not touched for a day has no writer any more. Chosen."""


@asynccontextmanager
async def worker_of(settings: Settings, dsn: str, *, worker_id: WorkerId | None = None) -> AsyncIterator[Worker]:
    """A worker that has not started. Raises StoreMismatch when it does not share the installation's stores, and
    StorageUnusable when it cannot tell."""
    catalog = catalog_of(settings)
    stores = stores_of(settings)
    store, staging = stores.blobs, stores.staging
    timing = timing_of(settings)
    async with pools(dsn, name="worker", size=10, works=True) as databases:
        await claim_store(databases.pool, await stores.marker())
        renderer = RenderPool(processes=settings.render_processes)
        failpoints = Failpoints.parse(settings.failpoint, (*Failpoint, *CourierPoint, *ErasurePoint))
        own_id = worker_id or new_worker_id()
        writes = Writes(databases.pool, worker_id=own_id, timing=timing)
        pipeline = AttemptPipeline(
            pool=databases.pool,
            worker_id=own_id,
            providers={name: each.provider for name, each in catalog.providers.items()},
            writes=writes,
            keeper=Keeper(
                pool=databases.pool,
                writes=writes,
                staging=staging,
                blobs=store,
                renderer=renderer,
                timing=timing,
                failpoints=failpoints,
                min_free_bytes=settings.min_free_bytes,
            ),
            addresses=Addresses(
                pool=databases.pool,
                blobs=store,
                renderer=renderer,
                fetch=fetch_of(settings),
                retry_unit_seconds=settings.retry_unit_seconds,
                upload_days=settings.upload_retention_days,
            ),
            timing=timing,
            failpoints=failpoints,
            draining=asyncio.Event(),
        )
        admission = admission_of(settings, databases.queue, catalog)

        @cache
        def recipes() -> Mapping[str, Recipe]:
            from safelight.domain.recipe import load_recipes

            return load_recipes(settings.home / "recipes")

        schedules = schedules_of(settings, databases.pool, placing(catalog, recipes), admission)
        is_alone = worker_id is not None  # a process for one image sees to nothing else
        ticking = nullcontext() if is_alone else alongside(schedules.run(tick_seconds=settings.schedule_seconds))
        stuck_watch = stuck_watch_of(settings, databases.pool, catalog)
        eraser = Eraser(
            databases.pool,
            store,
            keeping=keeping_of(settings),
            every_seconds=settings.sweep_seconds,
            reach=failpoints.reach,
        )
        kept_deliveries = timedelta(days=settings.delivery_retention_days)
        watching = nullcontext() if is_alone else alongside(stuck_watch.run())
        alerting = nullcontext() if is_alone else alongside(alerts_of(settings, databases.pool, catalog))
        tallying = nullcontext() if is_alone else alongside(Tally(databases.pool).run())
        bind = None if is_alone else settings.metrics_bind
        of_pools = partial(families_of, {"worker": databases.pool, "queue": databases.queue})
        telling = told_at(bind, of_pools, ports=MOST_WORKERS) if bind else nullcontext()
        try:
            async with ticking, watching, alerting, tallying, telling, courier_of(settings, dsn, failpoints) as courier:
                yield Worker(
                    databases,
                    pipeline,
                    admission,
                    capacity=Capacity(slots=settings.slots, finish_slots=settings.finish_slots),
                    timing=timing,
                    isolated_command=(sys.executable, "-m", "safelight", "worker", "--one"),
                    chores=(
                        partial(staging.remove_incomplete, older_than_seconds=_LEFT_BEHIND_SECONDS),
                        partial(store.remove_parts, older_than_seconds=_LEFT_BEHIND_SECONDS),
                        partial(forget_old, databases.pool, older_than=kept_deliveries),
                        partial(delete_orphans, databases.pool, store),
                        partial(forget_uploads, databases.pool, store),
                    ),
                    beside=(courier, eraser),
                )
        finally:
            await renderer.aclose()
            stores.close()
            for each in catalog.providers.values():
                await each.provider.aclose()


@asynccontextmanager
async def courier_of(settings: Settings, dsn: str, failpoints: Failpoints) -> AsyncIterator[Courier]:
    """Posts webhooks, over connections of its own: images and webhooks never wait for each other's."""
    vault = vault_of(settings)
    pool = await open_pool(dsn, min_size=1, max_size=4, application_name="safelight webhooks")
    try:
        yield Courier(
            pool,
            post=guard_of(settings).post,
            vault=vault,
            links=Links(settings.public_url, signer_of(settings, vault)),
            reach=failpoints.reach,
        )
    finally:
        await close_pool(pool)
