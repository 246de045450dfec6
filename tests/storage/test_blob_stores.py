"""What every blob store promises, whatever it is made of."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from safelight.storage.blob_store import BlobConflict, BlobInfo, BlobMissing, BlobStore
from safelight.storage.keys import InvalidKey, markers_above
from safelight.storage.place import Folder
from safelight.storage.stores import open_stores
from tests.s3 import new_bucket, place_in

KEY = "job_1/evidence/ev-1.card-0000000112345678.jpg"
EVERY_AGE = -math.inf
CLOCK_TICK_SECONDS = 0.02
"""File systems stamp with the time of the kernel's last tick."""


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "folder":
        place = Folder(root=tmp_path / "blobs")
    else:
        s3 = request.getfixturevalue("s3")
        place = place_in(s3, new_bucket(s3))
    stores = open_stores(place, staging_folder=tmp_path / "staging")
    yield stores.blobs
    stores.close()


async def put(store: BlobStore, data: bytes = b"picture", key: str = KEY) -> None:
    await store.put(key, data, content_type="image/jpeg")


async def found(store: BlobStore, *, older_than_seconds: float = EVERY_AGE, under: str | None = None) -> list[str]:
    async with aclosing(store.keys(older_than_seconds=older_than_seconds, under=under)) as steps:
        return sorted([stored.key async for step in steps for stored in step])


async def test_what_was_put_is_found_and_described(store: BlobStore) -> None:
    await put(store)
    assert await store.get(KEY) == b"picture"
    assert await store.head(KEY) == BlobInfo(length=7, sha256=hashlib.sha256(b"picture").hexdigest())


async def test_a_store_below_this_one_is_known_by_its_marker(store: BlobStore) -> None:
    below = "production/eu/.safelight-store"
    await store.put(below, b"1f", content_type="text/plain")
    assert [each for each in markers_above(f"production/eu/{KEY}") if await store.head(each) is not None] == [below]


async def test_a_blob_that_is_not_there_is_missing(store: BlobStore) -> None:
    await put(store)
    for key in ("job_2/x.jpg", "job_1/evidence/other.jpg"):
        assert await store.head(key) is None
        assert not await store.delete_old(key, older_than_seconds=EVERY_AGE)
        for reading in (store.get(key), store.read(key), store.read(key, start=1, length=0)):
            with pytest.raises(BlobMissing):
                await reading
        await store.delete(key)
    assert await store.get(KEY) == b"picture"


async def test_a_part_of_a_blob_is_read_by_where_it_begins_and_how_long_it_is(store: BlobStore) -> None:
    await put(store)
    assert await store.read(KEY) == b"picture"
    assert await store.read(KEY, start=3) == b"ture"
    assert await store.read(KEY, start=1, length=3) == b"ict"
    assert await store.read(KEY, start=5, length=100) == b"re"
    assert await store.read(KEY, start=7) == b""
    assert await store.read(KEY, start=100, length=5) == b""
    assert await store.read(KEY, start=2, length=0) == b""


async def test_the_same_bytes_may_be_put_again_and_others_may_not(store: BlobStore) -> None:
    await put(store)
    await put(store)
    with pytest.raises(BlobConflict):
        await put(store, b"another")
    assert await store.get(KEY) == b"picture"
    assert await found(store) == [KEY]


async def test_a_deleted_blob_is_gone_and_its_key_is_free(store: BlobStore) -> None:
    await put(store)
    await store.delete(KEY)
    assert await store.head(KEY) is None
    await put(store, b"another")
    assert await store.get(KEY) == b"another"


async def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    await put(store, b"")
    assert await store.get(KEY) == b""
    assert (await store.read(KEY), await found(store)) == (b"", [KEY])


async def test_of_writers_with_different_bytes_exactly_one_wins(store: BlobStore) -> None:
    contents = [bytes([number]) * 5_000 for number in range(8)]
    outcomes = await asyncio.gather(*(put(store, data) for data in contents), return_exceptions=True)
    [winner] = [data for data, outcome in zip(contents, outcomes, strict=True) if outcome is None]
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    # A bucket that is asked by many at once may also take longer than it is given.
    assert {type(each) for each in refused if not isinstance(each, OSError)} == {BlobConflict}, refused
    assert await store.get(KEY) == winner


async def test_of_writers_with_the_same_bytes_all_succeed(store: BlobStore) -> None:
    await asyncio.gather(*(put(store, b"picture" * 1_000) for _ in range(8)))
    assert await store.get(KEY) == b"picture" * 1_000


@pytest.mark.parametrize(
    "key", ["../x", "/etc/passwd", "a/../../x", "a//x", "", "a/.", "a\0b", ".safelight-store", "x" * 1025]
)
async def test_a_key_that_leads_elsewhere_is_refused_by_every_operation(store: BlobStore, key: str) -> None:
    for operation in (
        put(store, b"x", key),
        store.get(key),
        store.read(key, start=1),
        store.head(key),
        store.delete(key),
        store.delete_old(key, older_than_seconds=0),
    ):
        with pytest.raises(InvalidKey):
            await operation
    assert await found(store) == []


async def test_keys_are_those_of_blobs_and_of_nothing_else(store: BlobStore) -> None:
    marker = await store.ensure_marker()
    wanted = ["a.jpg", "b/c.jpg", "b/d/e.jpg", "bc/d.jpg", "_uploads/acct/u.png", KEY]
    for key in wanted:
        await put(store, key=key)
    assert await found(store) == sorted(wanted)
    assert await found(store, under="b") == ["b/c.jpg", "b/d/e.jpg"]
    assert await found(store, under="b/d") == ["b/d/e.jpg"]
    assert await found(store, under="nothing/here") == []
    assert await found(store, older_than_seconds=3600) == []
    assert await store.ensure_marker() == marker


async def test_no_blob_looks_as_if_it_had_been_put_before_it_was(store: BlobStore) -> None:
    """Buckets tell whole seconds."""
    began_at = time.time() - CLOCK_TICK_SECONDS
    await put(store)
    async with aclosing(store.keys(older_than_seconds=EVERY_AGE)) as steps:
        [[stored]] = [step async for step in steps]
    assert began_at <= stored.put_at.timestamp() <= time.time() + 1


async def test_an_old_blob_is_deleted_and_a_young_one_is_not(store: BlobStore) -> None:
    await put(store)
    assert not await store.delete_old(KEY, older_than_seconds=3600)
    assert await store.get(KEY) == b"picture"
    assert await store.delete_old(KEY, older_than_seconds=EVERY_AGE)
    assert await store.head(KEY) is None
    assert not await store.delete_old(KEY, older_than_seconds=EVERY_AGE)


async def test_the_marker_is_one_per_store(store: BlobStore) -> None:
    assert len(set(await asyncio.gather(*(store.ensure_marker() for _ in range(8))))) == 1
    assert await store.remove_parts(older_than_seconds=0) == 0
