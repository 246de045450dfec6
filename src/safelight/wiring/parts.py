"""The parts that several processes have, built from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from safelight.db.pool import close_pool, open_pool
from safelight.delivery.webhooks.vault import KEY_FILE, InvalidKey, Vault, vault_at
from safelight.domain.credits import CreditPrices
from safelight.domain.signing import Signer, signing_key
from safelight.engine.databases import Databases
from safelight.engine.orders.catalog import Catalog, ConfiguredProvider
from safelight.engine.queue.admission import Admission
from safelight.engine.schedules.due import Place, Schedules
from safelight.engine.timing import Timing
from safelight.engine.upkeep.erasure import Keeping
from safelight.engine.upkeep.stuck import Bounds, StuckWatch
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.fetch import Fetch
from safelight.providers.registry import InvalidConfiguration, ProviderConfig, installed_kinds, load_kind
from safelight.settings import ProviderSettings, Settings
from safelight.storage.stores import Stores, open_stores

if TYPE_CHECKING:
    from safelight.domain.order import JobOrder
    from safelight.domain.recipe import Recipe
    from safelight.domain.style import Style
    from safelight.engine.upkeep.restore import Restored


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
    from safelight.engine.upkeep.restore import after_restore  # a rare errand; every process would hold it in memory

    stores = stores_of(settings)
    try:
        async with pools(dsn, name="restore", size=2) as databases:
            return await after_restore(databases.pool, stores.staging, stores.blobs)
    finally:
        stores.close()


@asynccontextmanager
async def pools(dsn: str, *, name: str, size: int, works: bool = False) -> AsyncIterator[Databases]:
    """Connections for one process: `size` for our statements, two for dispatch. `works`: it moves images, and does not
    answer whatever anybody may ask."""
    pool = await open_pool(dsn, min_size=1, max_size=size, application_name=f"safelight {name}", for_queues=works)
    queue = await open_pool(
        dsn,
        min_size=1,
        max_size=2,
        application_name=f"safelight {name} queue",
        jsonb_as_values=False,
        for_queues=True,
        for_hints=True,
    )
    try:
        yield Databases(dsn=dsn, pool=pool, queue=queue)
    finally:
        await close_pool(pool)
        await close_pool(queue)


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
async def alongside(loop: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The loop runs for as long as the block does."""
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
