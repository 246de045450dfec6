"""What a peer's processes hear and say; each peer implements `Peer`, and `main` does the rest.

    python -m benchmarks.peers.PEER prepare --dsn DSN    the tables are there
    python -m benchmarks.peers.PEER work --dsn DSN       says `ready`, works until SIGTERM
    python -m benchmarks.peers.PEER submit --dsn DSN     says `ready`; for a line `FIRST COUNT` of stdin submits these
                                                         images, and says a line of JSON when all have ended

With `--keep FOLDER --picture FILE` the worker keeps each picture in FOLDER; FILE has the one that the provider answers
with. Those of images from `--remove-from NUMBER` on are removed when the image has ended.

Runs in the peers' own environment, where there is no Safelight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import uvloop

from benchmarks.peers.keeping import Keeping

JOB_IMAGES = 14
CALL_SECONDS = 30.0
"""A client's patience with one call to a vendor that is slow and fails."""
PICTURE = b"\x89PNG, and the rest of it"
"""What the provider answers with, at once, where nobody looks at it."""

TABLE = """
    CREATE TABLE images (
        id bigint PRIMARY KEY,
        status text NOT NULL DEFAULT 'queued',
        changes int NOT NULL DEFAULT 0,
        generating_at timestamptz,
        received_at timestamptz,
        completed_at timestamptz,
        kept text
    ) WITH (fillfactor = 50)
"""
"""The user's own rows: with room on their pages and no index on what changes, so that every change is done in place."""

INSERT = "INSERT INTO images (id) SELECT generate_series($1::bigint, $2::bigint)"
CHANGES = tuple(
    f"UPDATE images SET status = '{after}', {after}_at = clock_timestamp(), changes = changes + 1 "  # noqa: S608 - ours
    f"WHERE id = $1 AND status = '{before}'"
    for before, after in (("queued", "generating"), ("generating", "received"), ("received", "completed"))
)
"""The three durable changes of an image: before the call, with its answer, at the end. Each is a transaction."""
RECEIVED_AND_KEPT = CHANGES[1].replace(" WHERE ", ", kept = $2 WHERE ")
"""The second of them where the picture is kept; takes its name as well."""

Submit = Callable[[Sequence[int]], Awaitable[None]]
"""One job: its images are durably accepted when it returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`broker` is Redis, for those that want it; `processes` is how many do the work. `keeping` is None where no
    picture is handled."""

    dsn: str
    broker: str
    processes: int
    keeping: Keeping | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How the look into the database is done. Both take the first and the last image's number.

    `is_open` says whether any has not ended; `outcome` tells how many ended with all three changes made, how many of
    these name the picture that was kept for them, and when the last one did.
    """

    is_open: str = "SELECT EXISTS (SELECT FROM images WHERE id BETWEEN $1 AND $2 AND status <> 'completed')"
    outcome: str = """
        SELECT count(*) FILTER (WHERE status = 'completed' AND changes = 3 AND generating_at <= received_at
                                AND received_at <= completed_at) AS images,
               count(*) FILTER (WHERE status = 'completed' AND kept = id || '.png') AS kept,
               max(completed_at) AS ended_at
          FROM images WHERE id BETWEEN $1 AND $2
    """


class Peer(ABC):
    """One way to have images made in the background."""

    progress = Progress()

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    async def prepare(self) -> None:
        """The peer's own tables are there; ours are."""

    @abstractmethod
    def work(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM, in an event loop of its own where it wants one."""

    @abstractmethod
    def submitting(self) -> AbstractAsyncContextManager[Submit]:
        """With everything open that a long-lived web process would have open."""


def provider() -> bytes:
    """Answers at once."""
    return PICTURE


def main(kind: type[Peer]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("prepare", "work", "submit"))
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--broker", default="")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--remove-from", type=int, default=0)
    chosen = parser.parse_args()
    keeping = None
    if chosen.keep:
        keeping = Keeping(folder=chosen.keep, picture=chosen.picture.read_bytes(), removes_from=chosen.remove_from)
    peer = kind(Options(dsn=chosen.dsn, broker=chosen.broker, processes=chosen.processes, keeping=keeping))
    if chosen.role == "prepare":
        uvloop.run(_prepare(peer))
    elif chosen.role == "work":
        peer.work(_say_ready)
    else:
        uvloop.run(_submit_what_is_asked(peer))


@asynccontextmanager
async def open_pool(dsn: str, size: int) -> AsyncIterator[asyncpg.Pool]:
    """All of its connections are there already."""
    async with asyncpg.create_pool(dsn, min_size=size, max_size=size) as pool:
        yield pool


async def change(pool: asyncpg.Pool, image: int, keeping: Keeping | None) -> None:
    """An image's whole life, over a pool of asyncpg's: three commits around a call. A picture is kept in a
    thread of the loop's. Raises RuntimeError if another had its hands in it."""
    before, received, completed = CHANGES
    await _once(pool, before, image)
    if keeping is None:
        provider()
        await _once(pool, received, image)
        await _once(pool, completed, image)
        return
    name = await asyncio.to_thread(keeping.keep, image, keeping.provider())
    await _once(pool, RECEIVED_AND_KEPT, image, name)
    await _once(pool, completed, image)
    await asyncio.to_thread(keeping.remove, image)


async def _once(pool: asyncpg.Pool, statement: str, image: int, *rest: str) -> None:
    if await pool.execute(statement, image, *rest) != "UPDATE 1":
        raise RuntimeError(f"image {image} was not as expected")


async def _prepare(peer: Peer) -> None:
    connection = await asyncpg.connect(peer.options.dsn)
    await connection.execute(TABLE)
    await connection.close()
    await peer.prepare()


def _say_ready() -> None:
    print("ready", flush=True)  # noqa: T201 - the contract


async def _submit_what_is_asked(peer: Peer) -> None:
    loop = asyncio.get_running_loop()
    async with peer.submitting() as submit, open_pool(peer.options.dsn, 1) as pool:
        _say_ready()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            first, count = map(int, line.split())
            print(json.dumps(await _run_of(peer, submit, pool, first, count)), flush=True)  # noqa: T201 - the contract


async def _run_of(peer: Peer, submit: Submit, pool: asyncpg.Pool, first: int, count: int) -> dict[str, float]:
    last = first + count - 1
    began = datetime.now(UTC)
    for start in range(first, last + 1, JOB_IMAGES):
        await submit(range(start, start + JOB_IMAGES))
    submitted = datetime.now(UTC)
    while await pool.fetchval(peer.progress.is_open, first, last):  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(0.05)
    row = await pool.fetchrow(peer.progress.outcome, first, last)
    assert row is not None
    return {
        "images": row["images"],
        "kept": row["kept"],
        "seconds": (row["ended_at"] - began).total_seconds(),
        "submit_seconds": (submitted - began).total_seconds(),
    }
