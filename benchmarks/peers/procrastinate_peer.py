# pyright: reportMissingImports=false
"""Procrastinate's asynchronous worker, and three updates of our own for each image.

As its guides have it: asynchronous tasks with a concurrency above 1, a pool with a connection for each of them and
for the listener, notices on. It looks for work every 100 ms besides its notices: with the default of 5 s, short
runs took longer in a small trial, for a reason that was not looked into. A job's tasks are deferred as one batch, in
the transaction of its rows; finished ones stay in its table, as by default.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import procrastinate
import psycopg
import uvloop

from benchmarks.peers.contract import Peer, Submit, change, main, open_pool

TASKS = 8
POLL_SECONDS = 0.1
INSERT = "INSERT INTO images (id) SELECT generate_series(%s::bigint, %s::bigint)"


def _app(dsn: str, size: int) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=size, max_size=size)
    return procrastinate.App(connector=connector)


class Procrastinate(Peer):
    async def prepare(self) -> None:
        async with _app(self.options.dsn, 1).open_async() as app:
            await app.schema_manager.apply_schema_async()

    def work(self, ready: Callable[[], None]) -> None:
        uvloop.run(self._work(ready))

    @asynccontextmanager
    async def submitting(self) -> AsyncIterator[Submit]:
        app = _app(self.options.dsn, 1)
        async with (
            app.open_async(),
            await psycopg.AsyncConnection.connect(self.options.dsn, autocommit=True) as connection,
        ):
            image = app.configure_task("image", connection=connection)

            async def submit(images: Sequence[int]) -> None:
                async with connection.transaction():
                    await connection.execute(INSERT, (images[0], images[-1]))
                    await image.batch_defer_async(*({"number": each} for each in images))

            yield submit

    async def _work(self, ready: Callable[[], None]) -> None:
        app = _app(self.options.dsn, TASKS + 2)
        async with open_pool(self.options.dsn, TASKS) as pool, app.open_async():

            @app.task(name="image")
            async def image(number: int) -> None:
                await change(pool, number, self.options.keeping)

            asyncio.get_running_loop().call_soon(ready)
            await app.run_worker_async(concurrency=TASKS, fetch_job_polling_interval=POLL_SECONDS, delete_jobs="never")


if __name__ == "__main__":
    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of an app in the main module: of no task here
    main(Procrastinate)
