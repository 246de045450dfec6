"""Puts the parts together: the only place that knows both the settings and the concrete adapters."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from safelight.db.pool import close_pool, open_pool
from safelight.domain.ids import WorkerId, new_worker_id
from safelight.engine.admission import Admission
from safelight.engine.attempt import AttemptPipeline
from safelight.engine.catalog import Catalog, ConfiguredProvider
from safelight.engine.failpoints import Failpoints
from safelight.engine.keep import Keeper
from safelight.engine.restore import Restored, after_restore
from safelight.engine.timing import Timing
from safelight.engine.worker import Capacity, Databases, Worker, claim_store
from safelight.imaging.pool import RenderPool
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.fetch import Fetch
from safelight.providers.registry import InvalidConfiguration, ProviderConfig, installed_kinds, load_kind
from safelight.settings import ProviderSettings, Settings
from safelight.storage.local import LocalBlobStore
from safelight.storage.staging import Staging

if TYPE_CHECKING:
    from fastapi import FastAPI


_LEFT_BEHIND_SECONDS = 86_400.0
"""A file that was written half and not touched for a day has no writer any more. Chosen."""


def timing_of(settings: Settings) -> Timing:
    return Timing(
        lease_seconds=settings.lease_seconds,
        grace_seconds=settings.grace_seconds,
        sweep_seconds=settings.sweep_seconds,
        admission_seconds=settings.admission_seconds,
        dequeue_seconds=settings.dequeue_seconds,
        retry_unit_seconds=settings.retry_unit_seconds,
        run_limit_seconds=settings.run_limit_seconds,
        poll_seconds=settings.poll_seconds,
        probe_seconds=settings.probe_seconds,
        probe_max_seconds=settings.probe_max_seconds,
    )


def fetch_of(settings: Settings) -> Fetch:
    """How this installation reads an address that somebody else named. Raises InvalidConfiguration."""
    try:
        return EgressGuard(parse_allowances(settings.egress_allow)).fetch
    except ValueError as error:
        raise InvalidConfiguration(f"egress_allow: {error}") from error


def config_of(settings: Settings, provider: ProviderSettings) -> ProviderConfig:
    """What a provider is built from; every one of them fetches through one guard."""
    return ProviderConfig(
        api_key=settings.key_of(provider),
        base_url=provider.base_url,
        models=provider.models,
        fetch=fetch_of(settings),
    )


def catalog_of(settings: Settings) -> Catalog:
    """Every configured provider, built. Raises InvalidConfiguration for one that cannot be."""
    kinds = installed_kinds()
    providers: dict[str, ConfiguredProvider] = {}
    for name, each in settings.all_providers().items():
        provider = load_kind(each.kind, kinds).from_config(name, config_of(settings, each))
        providers[name] = ConfiguredProvider(
            provider=provider,
            kind=each.kind,
            model=each.model,
            max_concurrency=each.max_concurrency,
            requests_per_minute=each.requests_per_minute,
        )
    return Catalog(providers=providers, default=settings.chosen_provider())


async def take_stock(settings: Settings, dsn: str) -> Restored:
    """After a restore: buying is paused, staged purchases are recovered, and what may be bought twice is listed."""
    store = settings.blobs

    def has_picture(prefix: str, image_id: str, row_id: int) -> bool:
        return any((store / prefix).glob(f"**/{image_id}.*-{row_id:08x}*"))

    async with pools(dsn, name="restore", size=2) as databases:
        return await after_restore(databases.pool, Staging(settings.home / "staging"), has_picture=has_picture)


@asynccontextmanager
async def pools(dsn: str, *, name: str, size: int) -> AsyncIterator[Databases]:
    """Connections for one process: `size` for our statements, two for dispatch."""
    pool = await open_pool(dsn, min_size=1, max_size=size, application_name=f"safelight {name}")
    queue = await open_pool(
        dsn, min_size=1, max_size=2, application_name=f"safelight {name} queue", jsonb_as_values=False
    )
    try:
        yield Databases(dsn=dsn, pool=pool, queue=queue)
    finally:
        await close_pool(pool)
        await close_pool(queue)


@asynccontextmanager
async def api_of(settings: Settings, dsn: str) -> AsyncIterator[FastAPI]:
    """The API's application, with its admission running beside it."""
    from safelight.api.app import ApiDependencies, create_app  # a worker does without the web framework
    from safelight.api.edge.gate import LOOPBACK_HOSTS
    from safelight.domain.recipe import load_recipes

    catalog = catalog_of(settings)
    async with pools(dsn, name="api", size=10) as databases:
        admission = admission_of(settings, databases.queue, catalog)

        async def ready() -> None:
            await databases.pool.fetchval("SELECT 1")

        app = create_app(
            ApiDependencies(
                pool=databases.pool,
                admission=admission,
                catalog=catalog,
                recipes=load_recipes(settings.home / "recipes"),
                blobs=LocalBlobStore(settings.blobs),
                run_limit_seconds=settings.run_limit_seconds,
                public_url=settings.public_url,
                ready=ready,
                allowed_hosts=LOOPBACK_HOSTS | own_hosts(settings),
            )
        )
        admitting = asyncio.create_task(admission.run())
        try:
            yield app
        finally:
            admitting.cancel()
            for each in catalog.providers.values():
                await each.provider.aclose()


def own_hosts(settings: Settings) -> frozenset[str]:
    """The names that this installation is called by, as its settings know them."""
    addresses = (f"//{settings.bind}", settings.public_url or "")
    return settings.allowed_hosts | {host for address in addresses if (host := urlsplit(address).hostname)}


def admission_of(settings: Settings, queue: asyncpg.Pool, catalog: Catalog) -> Admission:
    return Admission(
        queue,
        max_concurrency=catalog.max_concurrency(),
        requests_per_minute=catalog.requests_per_minute(),
        timing=timing_of(settings),
    )


@asynccontextmanager
async def worker_of(settings: Settings, dsn: str, *, worker_id: WorkerId | None = None) -> AsyncIterator[Worker]:
    """A worker that has not started. Raises StoreMismatch when it does not share the installation's folders."""
    catalog = catalog_of(settings)
    store, staging = LocalBlobStore(settings.blobs), Staging(settings.home / "staging")
    timing = timing_of(settings)
    async with pools(dsn, name="worker", size=10) as databases:
        await claim_store(databases.pool, f"{await store.ensure_marker()} {await staging.ensure_marker()}")
        renderer = RenderPool(processes=settings.render_processes)
        failpoints = Failpoints.parse(settings.failpoint)
        pipeline = AttemptPipeline(
            pool=databases.pool,
            worker_id=worker_id or new_worker_id(),
            providers={name: each.provider for name, each in catalog.providers.items()},
            keeper=Keeper(
                pool=databases.pool,
                staging=staging,
                blobs=store,
                renderer=renderer,
                timing=timing,
                failpoints=failpoints,
                min_free_bytes=settings.min_free_bytes,
            ),
            timing=timing,
            failpoints=failpoints,
            draining=asyncio.Event(),
        )
        try:
            yield Worker(
                databases,
                pipeline,
                admission_of(settings, databases.queue, catalog),
                capacity=Capacity(slots=settings.slots, finish_slots=settings.finish_slots),
                timing=timing,
                isolated_command=(sys.executable, "-m", "safelight", "worker", "--one"),
                chores=(
                    partial(staging.remove_incomplete, older_than_seconds=_LEFT_BEHIND_SECONDS),
                    partial(store.remove_parts, older_than_seconds=_LEFT_BEHIND_SECONDS),
                ),
            )
        finally:
            await renderer.aclose()
            for each in catalog.providers.values():
                await each.provider.aclose()
