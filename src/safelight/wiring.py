"""Puts the parts together: the only place that knows both the settings and the concrete adapters."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from safelight.alerting import alerts_of
from safelight.db.pool import close_pool, families_of, open_pool
from safelight.delivery.links import Links
from safelight.delivery.webhooks.courier import Courier, forget_old
from safelight.delivery.webhooks.vault import KEY_FILE, InvalidKey, Vault, vault_at
from safelight.delivery.webhooks.visit import CourierPoint
from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.ids import WorkerId, new_worker_id
from safelight.domain.signing import Signer, signing_key
from safelight.engine.addresses import Addresses
from safelight.engine.admission import Admission
from safelight.engine.attempt import AttemptPipeline
from safelight.engine.catalog import Catalog, ConfiguredProvider
from safelight.engine.depth import QueueDepth
from safelight.engine.erasure import Eraser, ErasurePoint, Keeping
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.keep import Keeper
from safelight.engine.restore import Restored, after_restore
from safelight.engine.retention import delete_orphans
from safelight.engine.schedules import Place, Schedules
from safelight.engine.stuck import Bounds, StuckWatch
from safelight.engine.tally import Tally
from safelight.engine.timing import Timing
from safelight.engine.uploads import forget_uploads
from safelight.engine.worker import Capacity, Databases, Worker, claim_store
from safelight.imaging.pool import RenderPool
from safelight.metrics import told_at
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.fetch import Fetch
from safelight.providers.registry import InvalidConfiguration, ProviderConfig, installed_kinds, load_kind
from safelight.settings import MOST_WORKERS, ProviderSettings, Settings
from safelight.storage.stores import Stores, open_blobs, open_stores

if TYPE_CHECKING:
    from fastapi import FastAPI

    from safelight.domain.order import JobOrder
    from safelight.domain.recipe import Recipe
    from safelight.domain.style import Style

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
        stuck_seconds=settings.stuck_seconds,
        event_retention_days=settings.event_retention_days,
        adoption_window_seconds=settings.adoption_window_seconds,
    )


def credit_prices_of(settings: Settings) -> CreditPrices:
    return CreditPrices(default=settings.credits.default, by_model=settings.credits.models)


def fetch_of(settings: Settings) -> Fetch:
    """How this installation reads an address that somebody else named. Raises InvalidConfiguration."""
    return guard_of(settings).fetch


def guard_of(settings: Settings) -> EgressGuard:
    """What stands before every address that somebody else named. Raises InvalidConfiguration."""
    try:
        return EgressGuard(parse_allowances(settings.egress_allow))
    except ValueError as error:
        raise InvalidConfiguration(f"egress_allow: {error}") from error


def vault_of(settings: Settings) -> Vault:
    """What seals webhooks' secrets; its key is made if there is none. Raises InvalidConfiguration."""
    secret_key = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    try:
        return vault_at(settings.home, secret_key)
    except InvalidKey as error:
        where = "secret_key" if secret_key else str(settings.home / KEY_FILE)
        raise InvalidConfiguration(f"{where}: {error}") from error


def signer_of(settings: Settings, vault: Vault) -> Signer:
    """What signs links: under a key of its own for each of the vault's, so that they change together."""
    return Signer([signing_key(key) for key in vault.keys], expiry_seconds=settings.url_expiry_seconds)


def keeping_of(settings: Settings) -> Keeping:
    jobs, prompts = settings.image_retention_days, settings.prompt_retention_days
    return Keeping(
        jobs=timedelta(days=jobs) if jobs is not None else None,
        prompts=timedelta(days=prompts) if prompts is not None else None,
    )


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


def stores_of(settings: Settings) -> Stores:
    """Raises StorageUnusable."""
    return open_stores(settings.place, staging_folder=settings.home / "staging")


async def take_stock(settings: Settings, dsn: str) -> Restored:
    """After a restore: buying is paused, staged purchases are recovered, and what may be bought twice is listed."""
    stores = stores_of(settings)
    try:
        async with pools(dsn, name="restore", size=2) as databases:
            return await after_restore(databases.pool, stores.staging, stores.blobs)
    finally:
        stores.close()


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
    from safelight.api.edge.session import Sessions
    from safelight.dashboard.app import add_dashboard
    from safelight.domain.recipe import load_recipes

    catalog = catalog_of(settings)
    async with pools(dsn, name="api", size=10) as databases:
        admission = admission_of(settings, databases.queue, catalog)

        async def ready() -> None:
            await databases.pool.fetchval("SELECT 1")

        recipes = load_recipes(settings.home / "recipes")
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
            add_dashboard(app, sessions=Sessions(vault), public_url=settings.public_url)
        admitting = asyncio.create_task(admission.run())
        try:
            async with (
                _alongside(schedules.run(tick_seconds=settings.schedule_seconds)),
                _alongside(stuck_watch_of(settings, databases.pool, catalog).run()),
                _alongside(alerts_of(settings, databases.pool, catalog)),
                _alongside(Tally(databases.pool).run()),
            ):
                yield app
        finally:
            admitting.cancel()
            await renderer.aclose()
            for each in catalog.providers.values():
                await each.provider.aclose()


def own_hosts(settings: Settings) -> frozenset[str]:
    """The names that this installation is called by, as its settings know them."""
    addresses = (f"//{settings.bind}", settings.public_url or "")
    return settings.allowed_hosts | {host for address in addresses if (host := urlsplit(address).hostname)}


def schedules_of(settings: Settings, pool: asyncpg.Pool, place: Place, admission: Admission) -> Schedules:
    return Schedules(
        pool,
        place,
        run_limit_seconds=settings.run_limit_seconds,
        margin_seconds=settings.ready_margin_seconds,
        nudge=admission.nudge,
        prices=credit_prices_of(settings),
    )


def placing(catalog: Catalog, recipes: Callable[[], Mapping[str, Recipe]]) -> Place:
    """What makes an order of a job's body. Loads what reads requests when it is called, so that a worker does without
    until a schedule's time has come there."""

    def place(
        document: Mapping[str, Any],
        *,
        account: str,
        idempotency_key: str | None,
        styles: Mapping[str, Style] | None = None,
    ) -> JobOrder:
        from safelight.api.ordering.order import place_order

        return place_order(
            document,
            account=account,
            idempotency_key=idempotency_key,
            catalog=catalog,
            recipes=recipes(),
            styles=styles,
        )

    return place


def admission_of(settings: Settings, queue: asyncpg.Pool, catalog: Catalog) -> Admission:
    return Admission(
        queue,
        max_concurrency=catalog.max_concurrency(),
        requests_per_minute=catalog.requests_per_minute(),
        timing=timing_of(settings),
    )


def stuck_watch_of(settings: Settings, pool: asyncpg.Pool, catalog: Catalog) -> StuckWatch:
    """Runs in the API too: that no worker lives is for somebody else to tell."""
    bounds = Bounds(max_concurrency=catalog.max_concurrency(), requests_per_minute=catalog.requests_per_minute())
    return StuckWatch(pool, bounds, timing=timing_of(settings))


@asynccontextmanager
async def worker_of(settings: Settings, dsn: str, *, worker_id: WorkerId | None = None) -> AsyncIterator[Worker]:
    """A worker that has not started. Raises StoreMismatch when it does not share the installation's stores, and
    StorageUnusable when it cannot tell."""
    catalog = catalog_of(settings)
    stores = stores_of(settings)
    store, staging = stores.blobs, stores.staging
    timing = timing_of(settings)
    async with pools(dsn, name="worker", size=10) as databases:
        await claim_store(databases.pool, await stores.marker())
        renderer = RenderPool(processes=settings.render_processes)
        failpoints = Failpoints.parse(settings.failpoint, (*Failpoint, *CourierPoint, *ErasurePoint))
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
        ticking = nullcontext() if is_alone else _alongside(schedules.run(tick_seconds=settings.schedule_seconds))
        stuck_watch = stuck_watch_of(settings, databases.pool, catalog)
        eraser = Eraser(
            databases.pool,
            store,
            keeping=keeping_of(settings),
            every_seconds=settings.sweep_seconds,
            reach=failpoints.reach,
        )
        kept_deliveries = timedelta(days=settings.delivery_retention_days)
        watching = nullcontext() if is_alone else _alongside(stuck_watch.run())
        alerting = nullcontext() if is_alone else _alongside(alerts_of(settings, databases.pool, catalog))
        tallying = nullcontext() if is_alone else _alongside(Tally(databases.pool).run())
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


@asynccontextmanager
async def _alongside(loop: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The loop runs for as long as the block does."""
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
