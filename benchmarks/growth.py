"""What each image leaves behind and asks for: rows on disk, PostgreSQL's log, transactions, requests to the bucket.

None of it depends on how busy the machine is. Sizes are those of tables and indexes that were just written anew,
without the room that updates leave: what stays for ever, not what is used for a while and then again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import throughput
from benchmarks.installation import Installation, connected, running
from tests.s3 import CREDENTIALS, new_bucket, running_s3, trouble_before

_SIZES = """
    SELECT relname AS name, pg_total_relation_size(oid)::float8 AS bytes FROM pg_class
    WHERE relnamespace = 'safelight'::regnamespace AND relkind = 'r'
"""
_WRITTEN = """
    SELECT (SELECT wal_bytes::float8 FROM pg_stat_wal) AS log_bytes,
           (SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = current_database()) AS transactions
"""
_ROWS = "SELECT (SELECT count(*) FROM images)::float8 AS images, (SELECT count(*) FROM events)::float8 AS events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """All per image, in jobs of 14 with one rendition. `bytes_of` by table, with its indexes; `requests` by method."""

    bytes_of: Mapping[str, float]
    events: float
    log_bytes: float
    transactions: float
    requests: Mapping[str, float]


async def measure(folder: Path | None, *, images: int, bucket_images: int) -> Growth:
    async with (
        running(folder, **throughput.SETTINGS) as installation,
        connected(installation) as database,
    ):
        await throughput.warm_up(installation, database)
        sizes, rows = await _packed(database), await _row(database, _ROWS)
        before = await _row(database, _WRITTEN)
        await throughput.drain(installation, database, images=images, keeps=True)
        after = await _row(database, _WRITTEN)
        grown, more = await _packed(database), await _row(database, _ROWS)
    made = more["images"] - rows["images"]
    return Growth(
        bytes_of={name: (size - sizes.get(name, 0.0)) / made for name, size in grown.items()},
        events=(more["events"] - rows["events"]) / made,
        log_bytes=(after["log_bytes"] - before["log_bytes"]) / made,
        transactions=(after["transactions"] - before["transactions"]) / made,
        requests=await _requests(folder, images=bucket_images),
    )


async def _requests(folder: Path | None, *, images: int) -> Mapping[str, float]:
    """Of an installation whose pictures lie in a bucket: a real S3 server, and every request to it counted."""
    os.environ.update(CREDENTIALS)  # noqa: TID251 - credentials are the environment's
    with running_s3() as url:
        async with trouble_before(url) as counted:
            place: dict[str, Any] = {
                "storage_url": f"s3://{new_bucket(url)}/pictures",
                "storage__endpoint": counted.url,
            }
            async with (
                running(folder, **throughput.SETTINGS, **place) as installation,
                connected(installation) as database,
            ):
                await _drained(installation, database, images=throughput.JOB_IMAGES)
                counted.seen.clear()
                made = await _drained(installation, database, images=images)
                # Those that list the staging come by time, not by image.
                methods = Counter(each.method for each in counted.seen if "list-type" not in each.query)
    return {method: number / made for method, number in methods.items()}


async def _drained(installation: Installation, database: asyncpg.Connection, *, images: int) -> int:
    return (await throughput.drain(installation, database, images=images, keeps=True)).images


async def _packed(database: asyncpg.Connection) -> dict[str, float]:
    """Bytes by table, once all of them were written anew."""
    await database.execute("VACUUM FULL")
    return {row["name"]: row["bytes"] for row in await database.fetch(_SIZES)}


async def _row(database: asyncpg.Connection, statement: str) -> asyncpg.Record:
    row = await database.fetchrow(statement)
    assert row is not None
    return row
