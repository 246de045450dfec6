# pyright: reportMissingImports=false
"""PgQueuer as it is, and three updates of our own for each image.

As its guide on performance has it: asyncpg behind the pool driver, a batch far above the default of 10 since jobs
are short, twice as many tasks as a batch at most, and a pool for them. A job's rows and those of its queue
are written in one transaction.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

from benchmarks.peers.contract import INSERT, Peer, Submit, change, main, open_pool

BATCH = 50
TASKS = 2 * BATCH
CONNECTIONS = 60
ENTRYPOINT = "image"


class BarePgQueuer(Peer):
    async def prepare(self) -> None:
        async with open_pool(self.options.dsn, 1) as pool:
            await Queries(AsyncpgPoolDriver(pool)).install()

    def work(self, ready: Callable[[], None]) -> None:
        uvloop.run(self._work(ready))

    @asynccontextmanager
    async def submitting(self) -> AsyncIterator[Submit]:
        connection = await asyncpg.connect(self.options.dsn)
        try:
            queries = Queries(AsyncpgDriver(connection))

            async def submit(images: Sequence[int]) -> None:
                async with connection.transaction():
                    await connection.execute(INSERT, images[0], images[-1])
                    await queries.enqueue(
                        [ENTRYPOINT] * len(images), [str(each).encode() for each in images], [0] * len(images)
                    )

            yield submit
        finally:
            await connection.close()

    async def _work(self, ready: Callable[[], None]) -> None:
        async with open_pool(self.options.dsn, CONNECTIONS) as pool:
            manager = QueueManager(Queries(AsyncpgPoolDriver(pool)))

            @manager.entrypoint(ENTRYPOINT)
            async def image(job: Job) -> None:
                assert job.payload is not None
                await change(pool, int(job.payload), self.options.keeping)

            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, manager.shutdown.set)
            ready()
            await manager.run(batch_size=BATCH, max_concurrent_tasks=TASKS, dequeue_timeout=timedelta(seconds=2))


if __name__ == "__main__":
    main(BarePgQueuer)
