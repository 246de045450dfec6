"""The engine's part of an attempt: from the claim to the call, and from the answer to the receipt's commit."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.admission import PROVIDER, order
from benchmarks.figures import Figure, percentile
from benchmarks.installation import home_below
from benchmarks.scale import Scale
from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate
from safelight.db.statements import load
from safelight.domain.ids import ImageRowId, WorkerId, new_worker_id
from safelight.domain.money import FREE, Cost
from safelight.engine.databases import Databases
from safelight.engine.failpoints import Failpoints
from safelight.engine.image.addresses import Addresses
from safelight.engine.image.attempt import AttemptPipeline
from safelight.engine.image.keep import Keeper
from safelight.engine.image.lease import Hint, Lease
from safelight.engine.image.writes import Writes
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.engine.timing import Timing
from safelight.imaging.pool import RenderPool
from safelight.imaging.rendition import Rendered
from safelight.net.egress import EgressGuard
from safelight.providers.provider import Capabilities, ImageProvider, ImageRequest, ImageResult
from safelight.sandbox.scenes import paint
from safelight.storage.local import LocalBlobStore
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt
from safelight.wiring.parts import pools

JOB_IMAGES = 14
SIDES_PX = (64, 1024)
"""Of the pictures that are answered: next to nothing, and what vendors make."""

_TIMING = Timing(lease_seconds=86_400.0)
_WARM_UPS = 14
_WORKERS = load("workers")
_ADMITTED = """
    SELECT row_id, generation, queue_row_id FROM images
    WHERE status = 'queued' AND admitted_at IS NOT NULL ORDER BY row_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Seconds of one attempt: from the claim to the call, and from its answer to the receipt's commit."""

    before: float
    after: float

    @property
    def total(self) -> float:
        return self.before + self.after


class InstantVendor(ImageProvider):
    """Has its picture ready, and remembers when it was last asked and when it answered."""

    def __init__(self, picture: bytes) -> None:
        self.picture = picture
        self.asked_at = 0.0
        self.answered_at = 0.0

    def capabilities(self, model: str) -> Capabilities:  # noqa: ARG002 - there is one
        return Capabilities(aspect_ratios=None, sizes=None, seed=False, negative_prompt=False, timeout_seconds=30.0)

    def estimate(self, request: ImageRequest) -> Cost:  # noqa: ARG002 - it is free
        return FREE

    async def submit(self, request: ImageRequest) -> ImageResult:
        self.asked_at = time.perf_counter()
        answer = ImageResult(data=self.picture, claimed_mime="image/png", cost=FREE, request_id=request.attempt_key)
        self.answered_at = time.perf_counter()
        return answer

    async def aclose(self) -> None:
        return


class WatchedKeeper(Keeper):
    """Remembers when the last receipt was committed: what is left to be done then comes after it."""

    received_at = 0.0

    async def finish(
        self,
        lease: Lease,
        receipt: Receipt,
        data: bytes,
        outputs: Mapping[str, Rendered] | None = None,
        *,
        is_staged: bool = True,
    ) -> None:
        self.received_at = time.perf_counter()
        await super().finish(lease, receipt, data, outputs, is_staged=is_staged)

    async def _complete_at_once(self, lease: Lease, receipt: Receipt) -> None:
        """Where nothing is stored of a picture, its receipt and its image's end are one transaction."""
        await super()._complete_at_once(lease, receipt)
        self.received_at = time.perf_counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A worker's pipeline on a database of its own, with a vendor and a keeper that can be looked at."""

    databases: Databases
    pipeline: AttemptPipeline
    vendor: InstantVendor
    keeper: WatchedKeeper


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """Runs with either picture take turns."""
    runs: dict[int, list[list[Spent]]] = {side_px: [] for side_px in SIDES_PX}
    async with _bench(folder) as bench:
        for side_px in SIDES_PX:
            await _attempts(bench, _WARM_UPS, side_px=side_px)
        for _ in range(scale.runs):
            for side_px, spent in runs.items():
                spent.append(await _attempts(bench, scale.attempts, side_px=side_px))
    return [figure for side_px, spent in runs.items() for figure in _figures(side_px, spent)]


def _figures(side_px: int, runs: list[list[Spent]]) -> list[Figure]:
    def of(name: str, what: str, part: str, percent: int) -> Figure:
        taken = tuple(1000 * percentile([getattr(each, part) for each in run], percent) for run in runs)
        return Figure(name=f"engine_{side_px}_{name}", what=what, unit="ms", runs=taken)

    return [
        of("p50", f"engine, for one attempt with a picture of {side_px}×{side_px}, p50", "total", 50),
        of("before_p50", "· from the claim to the call, p50", "before", 50),
        of("after_p50", "· from the answer to the receipt's commit, p50", "after", 50),
        of("p99", "· p99", "total", 99),
    ]


async def _attempts(bench: Bench, count: int, *, side_px: int) -> list[Spent]:
    """So many at least, one after the other, each worked on to its image's end."""
    bench.vendor.picture = _png(side_px)
    return [await _attempt(bench, hint) for hint in await _hints(bench, count)]


async def _attempt(bench: Bench, hint: Hint) -> Spent:
    began = time.perf_counter()
    lease = await bench.pipeline.claim(hint)
    assert lease is not None, "nobody else is there to claim it"
    await bench.pipeline.work(lease)
    before = bench.vendor.asked_at - began
    after = bench.keeper.received_at - bench.vendor.answered_at
    if before < 0 or after < 0:
        raise RuntimeError(f"image {hint.row_id} was not received")
    return Spent(before=before, after=after)


async def _hints(bench: Bench, count: int) -> list[Hint]:
    """Images of new jobs, handed to dispatch."""
    jobs = -(-count // JOB_IMAGES)
    for _ in range(jobs):
        await submit(bench.databases.pool, order(JOB_IMAGES), run_limit_seconds=_TIMING.lease_seconds)
    wanted = jobs * JOB_IMAGES
    admitted = await admit(
        bench.databases.queue, max_concurrency={PROVIDER: wanted}, lease_seconds=_TIMING.lease_seconds
    )
    assert admitted == wanted
    return [
        Hint(queue_row_id=row["queue_row_id"], row_id=ImageRowId(row["row_id"]), generation=row["generation"])
        for row in await bench.databases.pool.fetch(_ADMITTED)
    ]


@asynccontextmanager
async def _bench(folder: Path | None) -> AsyncIterator[Bench]:
    with home_below(folder) as home:
        dsn = await asyncio.to_thread(EmbeddedServer(home).start)
        await migrate(dsn)
        renderer = RenderPool()
        async with pools(dsn, name="benchmark", size=10) as databases:
            try:
                yield await _pipeline(databases, home, renderer)
            finally:
                await renderer.aclose()


async def _pipeline(databases: Databases, home: Path, renderer: RenderPool) -> Bench:
    staging, blobs, vendor = LocalStaging(home / "staging"), LocalBlobStore(home / "blobs"), InstantVendor(b"")
    await staging.ensure_marker()
    await blobs.ensure_marker()
    worker_id = await _registered(databases.pool)
    writes = Writes(databases.pool, worker_id=worker_id, timing=_TIMING)
    keeper = WatchedKeeper(
        pool=databases.pool,
        writes=writes,
        staging=staging,
        blobs=blobs,
        renderer=renderer,
        timing=_TIMING,
        failpoints=Failpoints(),
    )
    pipeline = AttemptPipeline(
        pool=databases.pool,
        worker_id=worker_id,
        providers={PROVIDER: vendor},
        writes=writes,
        keeper=keeper,
        addresses=Addresses(pool=databases.pool, blobs=blobs, renderer=renderer, fetch=EgressGuard(()).fetch),
        timing=_TIMING,
        failpoints=Failpoints(),
        draining=asyncio.Event(),
    )
    return Bench(databases=databases, pipeline=pipeline, vendor=vendor, keeper=keeper)


async def _registered(pool: asyncpg.Pool) -> WorkerId:
    """A worker that need not beat, with as many slots as anybody could want."""
    worker_id, slots = new_worker_id(), 100_000
    await pool.execute(_WORKERS.register_worker, worker_id, socket.gethostname(), os.getpid(), [PROVIDER], slots, slots)
    return worker_id


def _png(side_px: int) -> bytes:
    file = io.BytesIO()
    paint(1, width_px=side_px, height_px=side_px).save(file, "PNG", compress_level=3)
    return file.getvalue()
