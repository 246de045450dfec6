# pyright: reportMissingImports=false
"""DBOS Transact: a workflow for each image, with a step for each of its durable changes.

DBOS records what a step returned, and a workflow's start and end: these are the durable changes, and no rows of ours
come on top. A job's workflows are enqueued in one transaction. The queue is looked at every 50 ms instead of every
second; 64 workflows run at once, over 20 connections. A picture is kept in the second step, which returns its name,
and removed when the third is on record.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig

from benchmarks.peers.contract import Peer, Progress, Submit, main, provider
from benchmarks.peers.keeping import Keeping

POLL_SECONDS = 0.05
WORKFLOWS = 64
CONNECTIONS = 20
QUEUE = "images"
VERSION = "1"


def _define(keeping: Keeping | None) -> None:
    """The workflow and its steps, which DBOS knows by their names."""

    @DBOS.step(name="generating")
    def generating(image: int) -> str:
        return f"{image} generating"

    @DBOS.step(name="received")
    def received(image: int) -> str:
        if keeping is None:
            return f"{image} received {len(provider())} bytes"
        return keeping.keep(image, keeping.provider())

    @DBOS.step(name="completed")
    def completed(image: int) -> str:
        return f"{image} completed"

    @DBOS.workflow(name="image")
    def life(image: int) -> None:
        generating(image)
        received(image)
        completed(image)
        if keeping is not None:
            keeping.remove(image)


class Dbos(Peer):
    progress = Progress(
        is_open="""
            SELECT count(*) FILTER (WHERE status = 'SUCCESS') < $2::bigint - $1::bigint + 1
              FROM dbos.workflow_status WHERE workflow_uuid = ANY (
                  SELECT 'image-' || n FROM generate_series($1::bigint, $2::bigint) AS n)
        """,
        outcome="""
            SELECT count(*) FILTER (WHERE status = 'SUCCESS' AND steps = 3) AS images,
                   count(*) FILTER (WHERE status = 'SUCCESS' AND keeps) AS kept,
                   to_timestamp(max(updated_at) / 1000.0) AS ended_at
              FROM (SELECT workflow.status, workflow.updated_at,
                           (SELECT count(*) FROM dbos.operation_outputs AS step
                             WHERE step.workflow_uuid = workflow.workflow_uuid AND step.error IS NULL) AS steps,
                           EXISTS (SELECT FROM dbos.operation_outputs AS step
                                    WHERE step.workflow_uuid = workflow.workflow_uuid
                                      AND step.function_name = 'received'
                                      AND position(convert_to(substr(step.workflow_uuid, 7) || '.png', 'UTF8')
                                                   IN decode(step.output, 'base64')) > 0) AS keeps
                      FROM dbos.workflow_status AS workflow
                     WHERE workflow_uuid = ANY (SELECT 'image-' || n
                                                  FROM generate_series($1::bigint, $2::bigint) AS n)) AS workflows
        """,
    )

    async def prepare(self) -> None:
        await asyncio.to_thread(self._launch)
        await asyncio.to_thread(DBOS.destroy)

    def work(self, ready: Callable[[], None]) -> None:
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        self._launch()
        ready()
        stopped.wait()
        DBOS.destroy()

    @asynccontextmanager
    async def submitting(self) -> AsyncIterator[Submit]:
        engine = sqlalchemy.create_engine(self.options.dsn.replace("postgresql://", "postgresql+psycopg://"))
        client = DBOSClient(system_database_url=self.options.dsn)

        async def submit(images: Sequence[int]) -> None:
            with engine.begin() as connection:
                for each in images:
                    client.enqueue_in_transaction(
                        connection,
                        {
                            "queue_name": QUEUE,
                            "workflow_name": "image",
                            "workflow_id": f"image-{each}",
                            "app_version": VERSION,
                        },
                        each,
                    )

        yield submit
        client.destroy()
        engine.dispose()

    def _launch(self) -> None:
        config: DBOSConfig = {
            "name": "peer",
            "system_database_url": self.options.dsn,
            "sys_db_pool_size": CONNECTIONS,
            "application_version": VERSION,
            "log_level": "WARNING",
        }
        _define(self.options.keeping)
        DBOS(config=config)
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=WORKFLOWS, polling_interval_sec=POLL_SECONDS)


if __name__ == "__main__":
    main(Dbos)
