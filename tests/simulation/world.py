"""One simulated installation: a database, processes, vendors, staged pictures, and the time that they all share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import orjson

from safelight.db.pool import open_pool
from safelight.domain.ids import ImageRowId, WorkerId, new_worker_id
from safelight.engine.databases import Databases
from safelight.engine.image.addresses import Addresses
from safelight.engine.image.attempt import AttemptPipeline
from safelight.engine.image.keep import Keeper
from safelight.engine.image.lease import Hint
from safelight.engine.image.writes import Writes
from safelight.engine.queue.admission import Admission, admit
from safelight.engine.queue.worker import Capacity, Worker
from safelight.engine.timing import Timing
from safelight.net.fetch import Fetch
from tests.simulation.clock import StoppedLoop
from tests.simulation.process import Crash, Errand, Plan, Process, SteppedPool, Trail, all_quiet
from tests.simulation.process import errand as errand_of
from tests.simulation.storage import Darkroom, Gallery, Shelf
from tests.simulation.vendor import DIRECT, REMOTE, Vendors, Violation
from tests.simulation.watch import LEASE_SECONDS, Actor, Model

TIMING = Timing(lease_seconds=LEASE_SECONDS, grace_seconds=15.0, adoption_window_seconds=86_400.0)
SLOTS = {DIRECT: 4, REMOTE: 4}

_BROKEN = ("an image's step broke off", "a rule of the sweep failed", "a job cannot be healed")

_STOPPED_SWEEP_SECONDS = 60.0
_CLOSE_IDLE_GUARDS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""What the server does by its own clock to a session that is left idle in the middle of a sweep."""

_NAPS = 60
"""How often an errand may rest by itself before it counts as stuck."""
_LONGEST_NAP_SECONDS = 45.0


@dataclass(slots=True, kw_only=True)
class World:
    """Everything, as one example finds it."""

    loop: StoppedLoop
    dsn: str
    conn: asyncpg.Connection
    pool: asyncpg.Pool
    queue: asyncpg.Pool
    shelf: Shelf = field(default_factory=Shelf)
    gallery: Gallery = field(default_factory=Gallery)
    model: Model = field(default_factory=Model)
    processes: list[Process] = field(default_factory=list)
    deaths: list[tuple[str, str]] = field(default_factory=list)
    vendors: Vendors = field(init=False)
    logs: list[Any] = field(default_factory=list)
    """What the engine has logged and nobody has looked at yet."""
    steps: int = 0

    def __post_init__(self) -> None:
        self.vendors = Vendors(self.conn, self.shelf)

    # --- processes

    def start_api(self) -> Process:
        process = Process("api", self.deaths)
        self.processes.append(process)
        return process

    async def start_worker(self) -> Process:
        process = Process(f"worker {len(self.processes)}", self.deaths)
        process.worker = self._worker(process)
        self.processes.append(process)
        await self.conn.execute(_REGISTER, process.worker_ids[0], [DIRECT, REMOTE], 4)
        return process

    def _worker(self, process: Process) -> _Worker:
        worker_id = new_worker_id()
        process.worker_ids.append(worker_id)
        queue = cast(asyncpg.Pool, SteppedPool(self.queue, process))
        pipeline = self.pipeline_of(process, worker_id)
        return _Worker(
            self,
            Databases(dsn=self.dsn, pool=pipeline.pool, queue=queue),
            pipeline,
            Admission(queue, max_concurrency=SLOTS, timing=TIMING),
            capacity=Capacity(slots=4),
            timing=TIMING,
            isolated_command=(),
        )

    def pipeline_of(self, process: Process, worker_id: WorkerId) -> AttemptPipeline:
        pool = cast(asyncpg.Pool, SteppedPool(self.pool, process))
        writes = Writes(pool, worker_id=worker_id, timing=TIMING)
        darkroom = Darkroom()
        failpoints = Trail()
        return AttemptPipeline(
            pool=pool,
            worker_id=worker_id,
            writes=writes,
            providers=self.vendors.providers,
            keeper=Keeper(
                pool=pool,
                writes=writes,
                staging=self.shelf,
                blobs=self.gallery,
                renderer=darkroom,
                timing=TIMING,
                failpoints=failpoints,
            ),
            addresses=Addresses(pool=pool, blobs=self.gallery, renderer=darkroom, fetch=cast(Fetch, _never)),
            timing=TIMING,
            failpoints=failpoints,
            draining=asyncio.Event(),
        )

    @property
    def workers(self) -> list[Process]:
        """Those that live and move."""
        return [each for each in self.processes if each.worker is not None and not each.is_dead and not each.is_frozen]

    @property
    def standing(self) -> list[Errand]:
        """Errands that can be told to go on."""
        return [
            each
            for process in self.processes
            if not process.is_dead and not process.is_frozen
            for each in process.open_errands
        ]

    # --- steps

    async def run(
        self, process: Process, name: str, work: Callable[[], Coroutine[Any, Any, Any]], plan: Plan, **actor: bool
    ) -> Errand:
        """A new errand, as far as its plan goes."""
        process.is_hurt = False
        new = Errand(process, name, plan)
        new.begin(work())
        await self._watch(new, **actor)
        return new

    async def go_on(self, errand: Errand, plan: Plan) -> None:
        errand.process.is_hurt = False
        errand.go_on(plan)
        await self._watch(errand)

    async def _watch(self, errand: Errand, **actor: bool) -> None:
        self.steps += 1
        await all_quiet(self.processes)
        naps = 0
        while not errand.is_over and errand.where is None:
            naps += 1
            if any(each.where is not None for each in errand.process.open_errands):
                break  # another image of its process has begun a write that it waits for
            rest = self.loop.next_timer_seconds()
            if rest is None or rest > _LONGEST_NAP_SECONDS or naps > _NAPS:
                raise Violation(f"{errand.name} waits for nothing that will ever come")
            await self.pass_time(rest + 0.001)
        if errand.task is not None and errand.task.done() and not errand.task.cancelled():
            error = errand.task.exception()
            if isinstance(error, Violation):
                raise error
        self._require_nothing_broke_off(errand)
        workers = set(errand.process.worker_ids)
        await self.model.look(
            self.conn, Actor(name=errand.name, tokens=errand.process.tokens, workers=workers, **actor)
        )

    def _require_nothing_broke_off(self, errand: Errand) -> None:
        """A loop of the engine survives whatever breaks in it; here only what was lost on purpose may break."""
        logs, self.logs[:] = list(self.logs), []
        for entry in logs:
            if entry["event"] in _BROKEN and not errand.process.is_hurt:
                error = entry.get("exc_info")
                raise Violation(f"{entry}") from (error if isinstance(error, BaseException) else None)

    async def pass_time(self, seconds: float) -> None:
        """For everybody; who lives and is not frozen has gone on beating."""
        self.loop.advance(seconds)
        await self.conn.execute(
            "UPDATE installation SET clock_shift = clock_shift + make_interval(secs => $1)", float(seconds)
        )
        beating = [worker_id for process in self.workers for worker_id in process.worker_ids]
        await self.conn.execute("UPDATE workers SET heartbeat_at = safelight.now() WHERE id = ANY($1::uuid[])", beating)
        if seconds >= _STOPPED_SWEEP_SECONDS:
            await self.conn.execute(_CLOSE_IDLE_GUARDS)
        await all_quiet(self.processes)

    async def admit(self) -> int:
        return await admit(
            self.queue, max_concurrency=SLOTS, lease_seconds=LEASE_SECONDS, grace_seconds=TIMING.grace_seconds
        )

    async def hints(self) -> list[Hint]:
        """What lies on the queue."""
        rows = await self.conn.fetch("SELECT id, payload FROM pgqueuer ORDER BY id")
        return [
            Hint(queue_row_id=row["id"], row_id=ImageRowId(said["image"]), generation=said["generation"])
            for row in rows
            for said in [orjson.loads(row["payload"])]
        ]

    async def serve(self, process: Process, hint: Hint) -> None:
        """What a worker does with a queue row: the row goes when its image's turn is over, whatever came of it."""
        assert process.worker is not None
        await process.worker._handle(hint)
        mine = errand_of()
        assert mine is not None
        await mine.point("queue")
        await mine.under_way(self.pool.execute("DELETE FROM pgqueuer WHERE id = $1", hint.queue_row_id))

    async def beat(self, process: Process) -> None:
        """A heartbeat as the worker makes it, and what it sees to after each."""
        assert process.worker is not None
        await process.worker._beat(cast(asyncpg.Connection, SteppedPool(self.pool, process)), Capacity(slots=4))
        await process.worker._look_after(Capacity(slots=4))

    async def close(self) -> None:
        for each in self.processes:
            each.die()
        await all_quiet(self.processes)
        await asyncio.sleep(0)
        self.pool.terminate()
        self.queue.terminate()
        await self.conn.close()


class _Worker(Worker):
    """Runs an image that has killed two workers as another process would, within its own errand."""

    def __init__(self, world: World, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._world = world

    async def _run_isolated(self, hint: Hint) -> None:
        mine = errand_of()
        assert mine is not None
        parent, worker_id = mine.process, new_worker_id()
        pipeline = self._world.pipeline_of(parent, worker_id)
        await pipeline.pool.execute(_REGISTER, worker_id, [], 0)
        parent.worker_ids.append(worker_id)
        mine.process = Process(f"{parent.name}'s child", parent.deaths, parent=parent)
        try:
            if (lease := await pipeline.claim(hint)) is not None:
                await pipeline.work(lease)
        except Crash:
            if parent.is_dead:
                raise
        finally:
            is_dead = mine.process.is_dead
            mine.recover(parent)
        await pipeline.pool.execute("DELETE FROM workers WHERE id = $1", worker_id)
        if is_dead and (lease := await self._pipeline.claim(hint)) is not None:
            await self._pipeline.work(lease)


_REGISTER = """
    INSERT INTO workers (id, host, pid, providers, slots, finish_slots, started_at, heartbeat_at)
    VALUES ($1, 'here', 1, $2, $3, $3, safelight.now(), safelight.now())
"""


async def open_world(loop: StoppedLoop, dsn: str) -> World:
    conn = await asyncpg.connect(dsn, server_settings={"search_path": "safelight", "timezone": "UTC"})
    pool = await open_pool(dsn, min_size=1, max_size=4, application_name="simulation")
    queue = await open_pool(dsn, min_size=1, max_size=12, application_name="simulation queue", jsonb_as_values=False)
    for each in (pool, queue):
        for holder in each._holders:
            holder._max_inactive_time = 0  # a clock that leaps would close them all
    return World(loop=loop, dsn=dsn, conn=conn, pool=pool, queue=queue)


async def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing in a simulation has an address")
