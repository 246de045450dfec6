"""An API process: the application, and what runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from safelight.domain.credits import Billing
from safelight.engine.figures.tally import Tally
from safelight.engine.orders.depth import QueueDepth
from safelight.imaging.pool import RenderPool
from safelight.providers.registry import InvalidConfiguration
from safelight.settings import Settings
from safelight.storage.place import BucketPlace
from safelight.storage.stores import open_blobs
from safelight.wiring.alerts import alerts_of
from safelight.wiring.parts import (
    admission_of,
    alongside,
    catalog_of,
    credit_prices_of,
    guard_of,
    own_hosts,
    placing,
    pools,
    schedules_of,
    stuck_watch_of,
    vault_of,
)

if TYPE_CHECKING:
    from fastapi import FastAPI


@asynccontextmanager
async def api_of(settings: Settings, dsn: str) -> AsyncIterator[FastAPI]:
    """The API's application, with its admission running beside it. Raises InvalidConfiguration."""
    from safelight.api.app import ApiDependencies, create_app  # a worker does without the web framework
    from safelight.api.edge.gate import LOOPBACK_HOSTS
    from safelight.api.edge.session import Sessions
    from safelight.dashboard.app import add_dashboard
    from safelight.domain.recipe import RecipeError, load_recipes

    catalog = catalog_of(settings)
    async with pools(dsn, name="api", size=10) as databases:
        admission = admission_of(settings, databases.queue, catalog)

        async def ready() -> None:
            await databases.pool.fetchval("SELECT 1")

        try:
            recipes = load_recipes(settings.home / "recipes")
        except (RecipeError, OSError) as error:
            raise InvalidConfiguration(str(error)) from error
        vault = vault_of(settings)
        renderer = RenderPool()  # its process starts with the first upload
        schedules = schedules_of(settings, databases.pool, placing(catalog, lambda: recipes), admission)
        app = create_app(
            ApiDependencies(
                pool=databases.pool,
                admission=admission,
                catalog=catalog,
                recipes=recipes,
                blobs=open_blobs(settings.place),
                run_limit_seconds=settings.run_limit_seconds,
                public_url=settings.public_url,
                ready=ready,
                vault=vault,
                check_url=guard_of(settings).check,
                renderer=renderer,
                upload_retention_days=settings.upload_retention_days,
                allowed_hosts=LOOPBACK_HOSTS | own_hosts(settings),
                max_streams=settings.max_streams,
                requests_per_minute=settings.requests_per_minute,
                lease_seconds=settings.lease_seconds,
                may_run_open=settings.is_local,
                url_expiry_seconds=settings.url_expiry_seconds,
                redirect_downloads=settings.redirect_downloads,
                image_retention_days=settings.image_retention_days,
                require_idempotency_key=settings.require_idempotency_key,
                openai_wait_seconds=settings.openai_wait_seconds,
                openai_aliases=settings.openai_aliases,
                account_billing=Billing(settings.account_billing),
                credit_prices=credit_prices_of(settings),
                depth=QueueDepth(settings.max_queued_images),
                metrics=settings.metrics,
                stuck_seconds=settings.stuck_seconds,
            )
        )
        if settings.dashboard:
            place = settings.place
            bucket_url = place.endpoint if settings.redirect_downloads and isinstance(place, BucketPlace) else None
            add_dashboard(app, sessions=Sessions(vault), public_url=settings.public_url, bucket_url=bucket_url)
        admitting = asyncio.create_task(admission.run())
        try:
            async with (
                alongside(schedules.run(tick_seconds=settings.schedule_seconds)),
                alongside(stuck_watch_of(settings, databases.pool, catalog).run()),
                alongside(alerts_of(settings, databases.pool, catalog)),
                alongside(Tally(databases.pool).run()),
            ):
                yield app
        finally:
            admitting.cancel()
            await renderer.aclose()
            for each in catalog.providers.values():
                await each.provider.aclose()
