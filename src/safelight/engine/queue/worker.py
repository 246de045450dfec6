"""A worker process: takes admitted images from dispatch, keeps its leases alive, sweeps, and drains when told to.

Two intakes, so that long calls never starve what only needs finishing: `image.<provider>` with `slots` calls at once,
and `finish` with `finish_slots`. Beats go over a connection of their own, so that no busy pool can starve them.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS, CONNECTION_LOST, connect
from safelight.db.statements import load
from safelight.domain.ids import ImageRowId, new_worker_id
from safelight.engine import gates
from safelight.engine.databases import Databases
from safelight.engine.image import settle
from safelight.engine.image.attempt import CRASH_LIMIT, AttemptPipeline
from safelight.engine.image.lease import Hint, owned_by, owner_of, refund_crashes
from safelight.engine.image.stranded import bring_back
from safelight.engine.image.traces import log_fields
from safelight.engine.queue.admission import Admission
from safelight.engine.queue.dispatch import FINISH, Dispatcher, Handler, image_entrypoint
from safelight.engine.queue.sweep import sweep
from safelight.engine.timing import Timing
from safelight.metrics import images_at_work
from safelight.storage.place import StorageUnusable

_SQL = load("workers")

_CHORES_SECONDS = 3600.0

log = structlog.get_logger(__name__)


Chore = Callable[[], Awaitable[object]]
"""Something that is worth doing now and then, and may be done by any worker at any time."""


class Beside(Protocol):
    """Something else that a worker process does while it lives, and that ends in good order when it drains."""

    async def run(self) -> None:
        """Until `stop`, and then until what it had begun has ended. Survives any loss of the database."""
        ...

    def stop(self) -> None:
        """Nothing new is begun. Returns at once."""
        ...


class StoreMismatch(StorageUnusable):
    """This worker does not share the installation's blob store or its staging folder: it would not find the pictures
    that others paid for, and buy them again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many images one worker process works on at once: paid calls in `slots`, the rest in `finish_slots`."""

    slots: int
    finish_slots: int = 4


async def claim_store(pool: asyncpg.Pool, marker: str) -> None:
    """The folders that `marker` names are the installation's. Raises StoreMismatch when others are."""
    if await pool.fetchval(_SQL.claim_store, marker) != marker:
        raise StoreMismatch(
            "This worker's pictures and staging folder are not those that the database belongs to; "
            "give every worker the same SAFELIGHT_HOME and SAFELIGHT_STORAGE_URL."
        )


class Worker:
    """One process. `isolated_command` starts a process that runs a single image, for images that kill workers.

    `chores` are done at the start and every hour; `beside` runs along, and is stopped by `drain`.
    """

    def __init__(
        self,
        databases: Databases,
        pipeline: AttemptPipeline,
        admission: Admission,
        *,
        capacity: Capacity,
        timing: Timing,
        isolated_command: Sequence[str],
        chores: Sequence[Chore] = (),
        beside: Sequence[Beside] = (),
    ) -> None:
        self._databases = databases
        self._pipeline = pipeline
        self._admission = admission
        self._capacity = capacity
        self._timing = timing
        self._isolated_command = tuple(isolated_command)
        self._chores = tuple(chores)
        self._id = pipeline.worker_id
        self._at_work: Counter[ImageRowId] = Counter()
        self._was_silent = False
        buying = {image_entrypoint(name): self._handle for name in pipeline.providers}
        self._dispatchers = [
            self._dispatcher(buying, slots=capacity.slots, name="images"),
            self._dispatcher({FINISH: self._handle}, slots=capacity.finish_slots, name="finish"),
        ]
        self._beside = tuple(beside)

    async def run(self) -> None:
        """Until `drain` was called and the last image in hand has come to rest."""
        await self._register(self._capacity)
        await gates.probe_now(self._databases.pool, self._pipeline.providers)  # a key may have been mended
        async with asyncio.TaskGroup() as loops:
            background = [
                loops.create_task(self._beat_for_ever(self._capacity)),
                loops.create_task(self._look_after_for_ever(self._capacity)),
                loops.create_task(self._admission.run()),
                loops.create_task(self._sweep_for_ever()),
                loops.create_task(self._tidy_for_ever()),
                loops.create_task(self._announce_drain()),
            ]
            await asyncio.gather(*(each.run() for each in (*self._dispatchers, *self._beside)))
            for task in background:
                task.cancel()
        await self._leave()

    async def run_one(self, hint: Hint) -> None:
        """One image and nothing else, under beats of its own; admission gives this worker nothing."""
        nothing = Capacity(slots=0, finish_slots=0)
        await self._register(nothing)
        beside = [asyncio.create_task(each(nothing)) for each in (self._beat_for_ever, self._look_after_for_ever)]
        try:
            if lease := await self._pipeline.claim(hint):
                await self._pipeline.work(lease)
        finally:
            for task in beside:
                task.cancel()
            await self._leave()

    def drain(self) -> None:
        """Nothing new is taken; calls that were sent run to their end. Returns at once."""
        self._pipeline.draining.set()
        for each in (*self._dispatchers, *self._beside):
            each.stop()

    def _dispatcher(self, handlers: Mapping[str, Handler], *, slots: int, name: str) -> Dispatcher:
        return Dispatcher(
            self._databases.dsn,
            handlers,
            slots=slots,
            lease_seconds=self._timing.lease_seconds,
            dequeue_seconds=self._timing.dequeue_seconds,
            application_name=f"safelight {name}",
            stop_noticed=self._look_at_stops,
        )

    async def _handle(self, hint: Hint) -> None:
        """Works on one image and returns normally, whatever happened: the database says where the image stands."""
        self._at_work[hint.row_id] += 1
        images_at_work.inc()
        lease = None
        try:
            lease = await self._pipeline.claim(hint)
            if lease is not None and lease.crash_count == CRASH_LIMIT - 1:
                await self._run_isolated(hint)
            elif lease is not None:
                await self._pipeline.work(lease)
        except Exception as error:  # the one place around an attempt: the next look hands the image back
            log.error("an image's step broke off", image_row=hint.row_id, **log_fields(lease), exc_info=error)
        finally:
            self._at_work[hint.row_id] -= 1
            if not self._at_work[hint.row_id]:
                del self._at_work[hint.row_id]
            images_at_work.dec()
            self._admission.nudge()

    async def _run_isolated(self, hint: Hint) -> None:
        """The last try of an image that has killed workers: in a process of its own, which takes nobody along.

        It claims the image from this worker by the same queue row. When it dies too, the image is claimed back here,
        which counts the crash and ends the image.
        """
        worker_id = new_worker_id()
        words = (str(worker_id), str(hint.row_id), str(hint.generation), str(hint.queue_row_id))
        log.warning("an image that killed its workers runs in a process of its own", image_row=hint.row_id)
        command = (*self._isolated_command, *words)
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        if await process.wait() == 0 or await owner_of(self._databases.pool, hint.row_id) != worker_id:
            return
        await self._databases.pool.execute(_SQL.remove_worker, worker_id)
        if lease := await self._pipeline.claim(hint):
            await self._pipeline.work(lease)

    async def _beat_for_ever(self, capacity: Capacity) -> None:
        while True:
            try:
                conn = await connect(self._databases.dsn, application_name="safelight beat")
                try:
                    while True:
                        async with asyncio.timeout(self._timing.lease_seconds):
                            await self._beat(conn, capacity)
                        await asyncio.sleep(self._timing.beat_seconds)
                finally:
                    conn.terminate()
            except Exception as error:  # whatever it was: a worker that stops beating loses its images
                log.warning("heartbeat failed", error=type(error).__name__)
            await asyncio.sleep(min(self._timing.beat_seconds, 1.0))

    async def _beat(self, conn: asyncpg.Connection, capacity: Capacity) -> None:
        """Waits for nothing that images may wait for: no pool, and no row but the worker's own."""
        was_stale = await conn.fetchval(_SQL.beat, self._id, self._timing.lease_seconds)
        if was_stale is None:
            await self._register(capacity, conn)
        self._was_silent |= was_stale is not False

    async def _look_after_for_ever(self, capacity: Capacity) -> None:
        while True:
            try:
                await self._look_after(capacity)
            except Exception as error:  # whatever it was, it is looked at again
                log.warning("could not look after own images", error=type(error).__name__)
            await asyncio.sleep(self._timing.beat_seconds)

    async def _look_after(self, capacity: Capacity) -> None:
        """Of this worker's images, those that nobody works on are handed back, and what is to be stopped is."""
        if self._was_silent:
            await refund_crashes(self._databases.pool, self._id)
            self._was_silent = False
        await self._look_at_stops()
        for lease in await owned_by(self._databases.pool, self._id):
            if not self._at_work[lease.row_id] and capacity.slots:
                await settle.hand_back(self._databases.pool, lease, retry_unit_seconds=self._timing.retry_unit_seconds)

    async def _look_at_stops(self, _hint: Hint | None = None) -> None:
        """Closes the open calls of this worker's images whose caller does not want to wait for them."""
        for row in await self._databases.pool.fetch(_SQL.images_to_stop, self._id):
            self._pipeline.abort(row["row_id"])

    async def _sweep_for_ever(self) -> None:
        while True:
            await self._bring_back()
            try:
                found = await sweep(
                    self._databases.pool, self._databases.queue, self._pipeline.keeper.staging, timing=self._timing
                )
                if found is not None and found.total:
                    log.info("swept", **{name: n for name, n in asdict(found).items() if n})
                    self._admission.nudge()
            except Exception as error:  # the next sweep begins anew
                log.warning("sweep failed", error=type(error).__name__)
            await asyncio.sleep(self._timing.sweep_seconds)

    async def _bring_back(self) -> None:
        """Paid pictures that only this host holds go where every worker finds them."""
        try:
            if moved := await bring_back(self._databases.pool, self._pipeline.keeper.staging, timing=self._timing):
                log.info("staged pictures of this host were brought back", pictures=moved)
                self._admission.nudge()
        except Exception as error:  # it is tried again before the next sweep
            log.warning("bringing staged pictures back failed", error=type(error).__name__)

    async def _tidy_for_ever(self) -> None:
        """Files that crashes left half-written go, once they are too old to be anybody's."""
        while True:
            for chore in self._chores:
                try:
                    await chore()
                except Exception as error:  # it is tried again in an hour
                    log.warning("tidying failed", error=type(error).__name__)
            await asyncio.sleep(_CHORES_SECONDS)

    async def _announce_drain(self) -> None:
        """Tells admission at once that this worker's slots are gone."""
        await self._pipeline.draining.wait()
        try:
            await self._databases.pool.execute(_SQL.drain_worker, self._id)
        except (TimeoutError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
            log.warning("could not announce the drain", error=type(error).__name__)

    async def _register(self, capacity: Capacity, conn: asyncpg.Connection | None = None) -> None:
        await (conn or self._databases.pool).execute(
            _SQL.register_worker,
            self._id,
            socket.gethostname(),
            os.getpid(),
            list(self._pipeline.providers),
            capacity.slots,
            capacity.finish_slots,
        )

    async def _leave(self) -> None:
        """This worker is gone; whatever it still owned may be claimed at once."""
        try:
            async with self._databases.pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
                left = await owned_by(conn, self._id)  # pyright: ignore[reportArgumentType]
            for lease in left:
                await settle.hand_back(self._databases.pool, lease, retry_unit_seconds=self._timing.retry_unit_seconds)
            await self._databases.pool.execute(_SQL.remove_worker, self._id)
        except (TimeoutError, asyncpg.PostgresError, *CONNECTION_LOST) as error:
            log.warning("could not sign off; the lease will run out", error=type(error).__name__)
