"""Puts the parts together: the only place that knows both the settings and the concrete adapters."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate
from safelight.db.pool import close_pool, open_pool
from safelight.domain.ids import WorkerId, new_worker_id
from safelight.engine.admission import Admission
from safelight.engine.attempt import AttemptPipeline
from safelight.engine.catalog import Catalog, ConfiguredProvider
from safelight.engine.failpoints import Failpoints
from safelight.engine.timing import Timing
from safelight.engine.worker import Capacity, Databases, Worker, claim_store
from safelight.imaging.pool import RenderPool
from safelight.providers.registry import InvalidConfiguration, load_provider_kinds
from safelight.settings import Settings
from safelight.storage.local import LocalBlobStore
from safelight.storage.staging import Staging


def timing_of(settings: Settings) -> Timing:
    return Timing(
        lease_seconds=settings.lease_seconds,
        grace_seconds=settings.grace_seconds,
        sweep_seconds=settings.sweep_seconds,
        admission_seconds=settings.admission_seconds,
        dequeue_seconds=settings.dequeue_seconds,
        retry_unit_seconds=settings.retry_unit_seconds,
        run_limit_seconds=settings.run_limit_seconds,
    )


def catalog_of(settings: Settings) -> Catalog:
    """Every configured provider, built. Raises InvalidConfiguration for one that cannot be."""
    kinds = load_provider_kinds()
    providers: dict[str, ConfiguredProvider] = {}
    for name, each in settings.all_providers().items():
        if each.kind not in kinds:
            raise InvalidConfiguration(
                f"provider `{name}` is of kind `{each.kind}`, which is not installed; there are {sorted(kinds)}"
            )
        provider = kinds[each.kind].from_config(name, api_key=settings.key_of(each), base_url=each.base_url)
        providers[name] = ConfiguredProvider(
            provider=provider, model=each.model, max_concurrency=each.max_concurrency
        )
    return Catalog(providers=providers, default=settings.chosen_provider())


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is, and whether this process started it and so has to stop it."""

    dsn: str
    server: EmbeddedServer | None

    async def stop(self) -> None:
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)


async def provide_database(settings: Settings) -> Database:
    """A running PostgreSQL with every migration applied: yours, or the embedded one in the home."""
    if settings.database_url is not None:
        await migrate(settings.database_url)
        return Database(settings.database_url, None)
    settings.home.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(settings.home)
    dsn = await asyncio.to_thread(server.start)
    await migrate(dsn)
    return Database(dsn, server)


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


def admission_of(settings: Settings, queue: asyncpg.Pool, catalog: Catalog) -> Admission:
    return Admission(queue, max_concurrency=catalog.max_concurrency(), timing=timing_of(settings))


@asynccontextmanager
async def worker_of(settings: Settings, dsn: str, *, worker_id: WorkerId | None = None) -> AsyncIterator[Worker]:
    """A worker that has not started. Raises StoreMismatch when its store is not the installation's."""
    catalog = catalog_of(settings)
    store = LocalBlobStore(settings.blobs)
    async with pools(dsn, name="worker", size=10) as databases:
        await claim_store(databases.pool, await store.ensure_marker())
        renderer = RenderPool(processes=settings.render_processes)
        pipeline = AttemptPipeline(
            pool=databases.pool,
            worker_id=worker_id or new_worker_id(),
            providers={name: each.provider for name, each in catalog.providers.items()},
            staging=Staging(settings.home / "staging"),
            blobs=store,
            renderer=renderer,
            timing=timing_of(settings),
            failpoints=Failpoints.parse(settings.failpoint),
            draining=asyncio.Event(),
        )
        try:
            yield Worker(
                databases,
                pipeline,
                admission_of(settings, databases.queue, catalog),
                capacity=Capacity(slots=settings.slots, finish_slots=settings.finish_slots),
                timing=timing_of(settings),
                isolated_command=(sys.executable, "-m", "safelight", "worker", "--one"),
            )
        finally:
            await renderer.aclose()
            for each in catalog.providers.values():
                await each.provider.aclose()


def on_stop_signals(stop: Callable[[], None]) -> None:
    """SIGTERM and SIGINT call `stop`; a second one leaves at once, and what was in flight is claimed again later."""
    loop = asyncio.get_running_loop()
    asked = False

    def asked_to_stop() -> None:
        nonlocal asked
        if asked:
            sys.stderr.write("stopping at once\n")
            loop.call_soon(_leave_at_once)
        asked = True
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)


def _leave_at_once() -> None:
    signal.raise_signal(signal.SIGKILL)
