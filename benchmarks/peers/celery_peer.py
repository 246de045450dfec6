# pyright: reportMissingImports=false
"""Celery with Redis, and three updates of our own for each image.

As its guide on optimizing has it for short tasks: no results, no gossip, far more prefetched than the default.
Acknowledged late and put back when a process is lost, since otherwise a worker that dies takes its tasks with it.
Updates go through psycopg, over a connection that each thread or process keeps. Redis and the database share no
transaction: the rows are committed before the tasks are sent.

With one process, the pool of threads; with more, the one that Celery calls prefork.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import celery
import psycopg
from celery.signals import worker_ready

from benchmarks.peers.contract import (
    CHANGES,
    INSERT,
    RECEIVED_AND_KEPT,
    Options,
    Peer,
    Submit,
    main,
    open_pool,
    provider,
)

POOL = "threads"
TASKS = 8
PREFETCHED = 64


def _app(options: Options) -> celery.Celery:
    app = celery.Celery("peers", broker=options.broker)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=PREFETCHED,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
    )
    return app


class Celery(Peer):
    async def prepare(self) -> None:
        """Redis is empty when it starts."""

    def work(self, ready: Callable[[], None]) -> None:
        app, own, keeping = _app(self.options), threading.local(), self.options.keeping
        before, received, completed, received_and_kept = (
            each.replace("$1", "%(image)s").replace("$2", "%(name)s") for each in (*CHANGES, RECEIVED_AND_KEPT)
        )

        def once(statement: str, number: int, name: str | None = None) -> None:
            if not hasattr(own, "connection"):
                own.connection = psycopg.connect(self.options.dsn, autocommit=True)
            if own.connection.execute(statement, {"image": number, "name": name}).rowcount != 1:
                raise RuntimeError(f"image {number} was not as expected")

        @app.task(name="image")
        def image(number: int) -> None:
            once(before, number)
            if keeping is None:
                provider()
                once(received, number)
                once(completed, number)
                return
            once(received_and_kept, number, keeping.keep(number, keeping.provider()))
            once(completed, number)
            keeping.remove(number)

        worker_ready.connect(lambda **_: ready(), weak=False)
        pool = (POOL, TASKS) if self.options.processes == 1 else ("prefork", self.options.processes)
        quiet = ("--loglevel=WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")
        app.worker_main(["worker", f"--pool={pool[0]}", f"--concurrency={pool[1]}", *quiet])

    @asynccontextmanager
    async def submitting(self) -> AsyncIterator[Submit]:
        app = _app(self.options)
        async with open_pool(self.options.dsn, 1) as pool:
            with app.producer_pool.acquire(block=True) as producer:

                async def submit(images: Sequence[int]) -> None:
                    await pool.execute(INSERT, images[0], images[-1])
                    for each in images:
                        app.send_task("image", (each,), producer=producer)

                yield submit


if __name__ == "__main__":
    main(Celery)
