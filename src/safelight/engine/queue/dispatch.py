"""Dispatch: brings an admitted image to a live worker at once, and again if that worker dies.

The only file that knows PgQueuer. A row of its table is a hint, never the truth: losing one loses nothing (the sweep
admits the image again), having two does nothing twice (the claim takes one).

What the code below is shaped by, in PgQueuer 1.6:

- settling matches the row's id only, so a worker that comes back from a stall deletes a live owner's row: the claim
  token makes that harmless, the sweep makes it temporary;
- a handler that raises loses its row, so ours never does, and never asks PgQueuer for a retry;
- a lost LISTEN connection is noticed late, and whatever breaks an intake's loop (a question that fails, a probe that
  nobody hears) is reported only after every handler has ended, so all of it is watched here, and a fresh QueueManager
  with a pool of its own takes over at once while the old one drains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import asyncpg
import orjson
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain import models, types
from pgqueuer.ports.driver import Driver, NotifyCallback

from safelight.db.pool import close_pool, open_pool
from safelight.domain.ids import ImageRowId
from safelight.engine.image.lease import Hint

log = structlog.get_logger(__name__)

FINISH = "finish"
"""The entrypoint of images that only resolve or use what was bought before: never gated, never buying."""

_BATCH = 16
_RESTART_SECONDS = 0.2
_QUEUE_TABLE = "safelight.pgqueuer"
_PRUNED_AT_ONCE = 10_000
_PRUNE_STEPS = 20
"""In one sweep: more than thousands of images a second leave behind until the next. Chosen."""
_PRUNE = (
    f"DELETE FROM {_QUEUE_TABLE}_log WHERE id IN (SELECT id FROM {_QUEUE_TABLE}_log"  # noqa: S608 - a constant
    " WHERE created < now() - $1::interval ORDER BY created LIMIT $2)"
)

Handler = Callable[[Hint], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An image that admission lets run now; `provider` is None on the finish lane."""

    row_id: ImageRowId
    generation: int
    provider: str | None


def image_entrypoint(provider: str) -> str:
    return f"image.{provider}"


async def enqueue(conn: asyncpg.Connection, admitted: Sequence[Admitted]) -> list[int]:
    """The queue rows' ids, in the order given; part of the caller's transaction."""
    ids = await _queries(AsyncpgDriver(conn)).enqueue(
        [FINISH if each.provider is None else image_entrypoint(each.provider) for each in admitted],
        [_payload(each.row_id, each.generation) for each in admitted],
        [0] * len(admitted),
    )
    return [int(each) for each in ids]


async def present(pool: asyncpg.Pool | asyncpg.Connection, queue_row_ids: Sequence[int]) -> set[int]:
    """Those of the queue rows that still exist."""
    rows = await pool.fetch(f"SELECT id FROM {_QUEUE_TABLE} WHERE id = ANY($1::bigint[])", list(queue_row_ids))  # noqa: S608 - a constant
    return {row["id"] for row in rows}


async def drop(pool: asyncpg.Pool, queue_row_ids: Sequence[int]) -> None:
    """Queue rows that brought nobody are gone; their images are handed over anew."""
    await pool.execute(f"DELETE FROM {_QUEUE_TABLE} WHERE id = ANY($1::bigint[])", list(queue_row_ids))  # noqa: S608 - a constant


async def notify_stop(pool: asyncpg.Pool, queue_row_ids: Sequence[int]) -> None:
    """Whoever handles these rows looks at once whether its images were asked to stop. The rows stay."""
    await _queries(AsyncpgPoolDriver(pool)).notify_job_cancellation([types.JobId(each) for each in queue_row_ids])


async def prune_log(pool: asyncpg.Pool, *, older_than: timedelta) -> int:
    """How many rows of PgQueuer's log were removed: it keeps one per state change and never removes any. In steps that
    each take no longer than a statement may, and so many of them at most: the next sweep goes on."""
    removed = 0
    for _ in range(_PRUNE_STEPS):
        gone = await pool.execute(_PRUNE, older_than, _PRUNED_AT_ONCE)
        removed += (step := int(gone.split()[-1]))
        if step < _PRUNED_AT_ONCE:
            break
    return removed


class Dispatcher:
    """Feeds one worker process from the queue: `handlers` by entrypoint, at most `slots` at a time.

    A handler must return normally, whatever happened. `stop` ends the intake; handlers that run go on to their end.
    `stop_noticed` is called when somebody asked the handled image to stop.
    """

    def __init__(
        self,
        dsn: str,
        handlers: Mapping[str, Handler],
        *,
        slots: int,
        lease_seconds: float,
        dequeue_seconds: float,
        application_name: str,
        stop_noticed: Callable[[Hint], Awaitable[None]],
    ) -> None:
        self._stop_noticed = stop_noticed
        self._dsn = dsn
        self._handlers = dict(handlers)
        self._slots = slots
        self._lease = timedelta(seconds=lease_seconds)
        self._dequeue = timedelta(seconds=dequeue_seconds)
        self._application_name = application_name
        self._stopping = asyncio.Event()
        self._generations: set[_Intake] = set()

    def stop(self) -> None:
        self._stopping.set()
        for intake in self._generations:
            intake.close()

    async def run(self) -> None:
        """Until `stop`, and then until the last handler has ended. Survives any loss of the database."""
        draining: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            intake = _Intake()
            self._generations.add(intake)
            task = asyncio.create_task(self._serve(intake))
            draining.add(task)
            await intake.broken.wait()
            draining = {each for each in draining if not each.done()}
            if not self._stopping.is_set():
                log.warning("intake lost, starting a fresh one")
                await asyncio.sleep(_RESTART_SECONDS)
        if draining:
            await asyncio.wait(draining)

    async def _serve(self, intake: _Intake) -> None:
        """One QueueManager's life: its intake until it breaks, its handlers until they end."""
        try:
            pool = await open_pool(
                self._dsn,
                min_size=2,
                max_size=4,
                application_name=self._application_name,
                jsonb_as_values=False,
                for_queues=True,
                for_hints=True,
            )
            try:
                await self._manage(pool, intake)
            finally:
                await close_pool(pool)
        except Exception as error:  # the supervisor's loop starts over, whatever it was
            log.warning("queue manager ended", error=type(error).__name__)
        finally:
            self._generations.discard(intake)
            intake.close()

    async def _manage(self, pool: asyncpg.Pool, intake: _Intake) -> None:
        manager = _WatchedManager(_queries(_WatchedDriver(pool, intake), intake))
        manager.intake = intake
        intake.manager = manager
        if intake.broken.is_set() or self._stopping.is_set():
            return
        for name, handler in self._handlers.items():
            manager.entrypoint(name, accepts_context=True)(_detached(handler, self._stop_noticed))
        await manager.run(
            dequeue_timeout=self._dequeue,
            batch_size=min(_BATCH, max(1, self._slots // 2)),
            max_concurrent_tasks=max(2, self._slots),
            shutdown_on_listener_failure=True,
            heartbeat_timeout=self._lease,
            log_aggregation_interval=timedelta(0),
        )


class _Intake:
    """Whether one QueueManager can still take work in; closing it lets its handlers run on."""

    def __init__(self) -> None:
        self.broken = asyncio.Event()
        self.listening = asyncio.Event()
        self.manager: QueueManager | None = None

    def close(self) -> None:
        self.broken.set()
        if self.manager is not None:
            self.manager.shutdown.set()


class _WatchedManager(QueueManager):
    """Reports a failed probe of its LISTEN connection when it fails."""

    intake: _Intake | None = None

    async def listener_healthy(self, *args: Any, **kwargs: Any) -> models.HealthCheckEvent:
        with _closing(self.intake):
            return await super().listener_healthy(*args, **kwargs)


class _WatchedQueries(Queries):
    """Reports a question of the loop when it fails. Nothing is asked about rows that are due later, as ours are not."""

    intake: _Intake | None = None

    async def next_deferred_eta(self, entrypoints: list[types.QueueEntrypoint]) -> timedelta | None:  # noqa: ARG002
        return None

    async def queued_work(self, entrypoints: list[types.QueueEntrypoint]) -> int:  # noqa: ARG002
        """Asked right after `eligible_queued_work` found nothing, for those that are due later."""
        return 0

    async def notify_health_check(self, health_check_event_id: types.HealthCheckId) -> None:
        """PgQueuer sends its first probe before it listens, and takes the silence for a dead connection."""
        if self.intake is not None:
            await self.intake.listening.wait()
        await super().notify_health_check(health_check_event_id)

    async def dequeue(self, *args: Any, **kwargs: Any) -> list[models.Job]:
        with _closing(self.intake):
            return await super().dequeue(*args, **kwargs)

    async def eligible_queued_work(self, entrypoints: list[types.QueueEntrypoint]) -> int:
        with _closing(self.intake):
            return await super().eligible_queued_work(entrypoints)


@contextmanager
def _closing(intake: _Intake | None) -> Iterator[None]:
    """What breaks in here breaks the intake's loop, which is over from this moment."""
    try:
        yield
    except Exception:
        if intake is not None:
            intake.close()
        raise


class _WatchedDriver(AsyncpgPoolDriver):
    """Reports the end of its LISTEN connection when it happens."""

    def __init__(self, pool: asyncpg.Pool, intake: _Intake) -> None:
        super().__init__(pool)
        self._intake = intake

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        await super().add_listener(channel, callback)
        listening = self._listener_connection
        if listening is not None:
            listening.add_termination_listener(self._deaf)
        self._intake.listening.set()

    def _deaf(self, _connection: object) -> None:
        self._intake.close()


def _queries(driver: Driver, intake: _Intake | None = None) -> Queries:
    environment, queue, scheduler = _builders()
    queries = _WatchedQueries(driver, qbe=environment, qbq=queue, qbs=scheduler)
    queries.intake = intake
    return queries


@cache
def _builders() -> tuple[QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder]:
    """What writes PgQueuer's SQL, with its own names in our schema, whatever the environment says. The same for every
    connection, and dear to make: the names are settings that look for their values."""
    names = DBSettings(
        prefix="",
        db_schema="safelight",
        channel=types.Channel("ch_pgqueuer"),
        function="fn_pgqueuer_changed",
        statistics_table="pgqueuer_statistics",
        queue_status_type="pgqueuer_status",
        queue_table="pgqueuer",
        queue_table_log="pgqueuer_log",
        trigger="tg_pgqueuer_changed",
        schedules_table="pgqueuer_schedules",
    )
    return QueryBuilderEnvironment(names), QueryQueueBuilder(names), QuerySchedulerBuilder(names)


def _detached(
    handler: Handler, stop_noticed: Callable[[Hint], Awaitable[None]]
) -> Callable[[models.Job, models.Context], Awaitable[None]]:
    """Runs the handler in a task of its own, so that nothing PgQueuer does can cancel or settle it half-way.

    PgQueuer's cancellation only ends the wait, once, as a sign to look whether the image was asked to stop.
    """

    async def handle(job: models.Job, context: models.Context) -> None:
        hint = _hint(job)
        if hint is None:
            log.error("a queue row with an unreadable payload was dropped", queue_row=int(job.id))
            return
        task = asyncio.ensure_future(handler(hint))
        with context.cancellation:
            await asyncio.wait((task,))
        if not task.done():
            try:
                await stop_noticed(hint)
            except Exception as error:  # the worker looks again by itself, and its work is waited for whatever happens
                log.warning("could not look at what is to be stopped", error=type(error).__name__)
            await asyncio.wait((task,))

    return handle


def _payload(row_id: int, generation: int) -> bytes:
    return orjson.dumps({"image": row_id, "generation": generation})


def _hint(job: models.Job) -> Hint | None:
    try:
        payload = orjson.loads(job.payload or b"")
        return Hint(
            queue_row_id=int(job.id),
            row_id=ImageRowId(int(payload["image"])),
            generation=int(payload["generation"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
