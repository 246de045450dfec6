from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import pytest
from killed_at_each_step import killed_at_each_step, trace_of

from safelight.storage.blob_store import BlobConflict, BlobInfo
from safelight.storage.keys import InvalidKey
from safelight.storage.local import LocalBlobStore

KEY = "job_1/evidence/ev-1.card-0000000112345678.jpg"

PREAMBLE = """
from safelight.storage.local import LocalBlobStore
"""
PUT = f"""
store = LocalBlobStore(root)
await store.put({KEY!r}, b"picture" * 100_000, content_type="image/jpeg")
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "blobs")


async def _put(store: LocalBlobStore, key: str, data: bytes) -> None:
    await store.put(key, data, content_type="image/jpeg")


async def test_what_was_put_is_found_at_the_path_its_key_spells(store: LocalBlobStore, tmp_path: Path) -> None:
    await _put(store, KEY, b"picture")

    assert await store.get(KEY) == b"picture"
    assert await store.head(KEY) == BlobInfo(length=7, sha256=hashlib.sha256(b"picture").hexdigest())
    file = tmp_path / "blobs" / KEY
    assert file.read_bytes() == b"picture"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert _files(tmp_path) == [file]


async def test_of_many_writers_with_different_bytes_exactly_one_wins(store: LocalBlobStore, tmp_path: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(24)]

    outcomes = await asyncio.gather(*(_put(store, KEY, data) for data in contents), return_exceptions=True)

    winners = [data for data, outcome in zip(contents, outcomes, strict=True) if outcome is None]
    assert len(winners) == 1
    assert sum(isinstance(outcome, BlobConflict) for outcome in outcomes) == 23
    assert await store.get(KEY) == winners[0]
    assert len(_files(tmp_path)) == 1


async def test_of_many_writers_with_the_same_bytes_all_succeed(store: LocalBlobStore, tmp_path: Path) -> None:
    await asyncio.gather(*(_put(store, KEY, b"picture" * 10_000) for _ in range(24)))

    assert await store.get(KEY) == b"picture" * 10_000
    assert len(_files(tmp_path)) == 1


async def test_a_reader_sees_the_whole_blob_or_none(store: LocalBlobStore) -> None:
    data = b"picture" * 2_000_000
    put = asyncio.create_task(_put(store, KEY, data))
    while not put.done():
        info = await store.head(KEY)
        assert info is None or info.length == len(data)

    await put
    assert await store.get(KEY) == data


@pytest.mark.parametrize(
    "key",
    ["../x", "/etc/passwd", "a/../../x", "a//x", "", "a/.", "a\0b", ".safelight-store", ".safelight-parts/x"],
)
async def test_a_key_that_leads_elsewhere_is_refused_by_every_operation(
    store: LocalBlobStore, tmp_path: Path, key: str
) -> None:
    for operation in (_put(store, key, b"x"), store.get(key), store.head(key), store.delete(key)):
        with pytest.raises(InvalidKey):
            await operation
    assert _files(tmp_path) == []


async def test_a_symbolic_link_is_never_followed(store: LocalBlobStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "blobs" / "folder").symlink_to(outside)
    (tmp_path / "blobs" / "file").symlink_to(outside / "secret")
    (tmp_path / "blobs" / "dangling").symlink_to(outside / "new")

    for key in ("folder/secret", "folder/new/deeper", "file", "dangling"):
        with pytest.raises(InvalidKey):
            await store.get(key)
        with pytest.raises(InvalidKey):
            await _put(store, key, b"x")
    with pytest.raises(InvalidKey):
        await store.delete("folder/secret")

    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


async def test_a_folder_is_not_a_blob_and_a_blob_not_a_folder(store: LocalBlobStore) -> None:
    await _put(store, "a/b", b"x")

    with pytest.raises(InvalidKey):
        await store.get("a")
    with pytest.raises(InvalidKey):
        await _put(store, "a/b/c", b"x")


async def test_the_marker_is_one_per_store_and_survives(store: LocalBlobStore, tmp_path: Path) -> None:
    ids = await asyncio.gather(*(LocalBlobStore(tmp_path / "blobs").ensure_marker() for _ in range(16)))

    assert set(ids) == {await store.ensure_marker()}
    assert (tmp_path / "blobs" / ".safelight-store").read_text() == ids[0]
    assert await LocalBlobStore(tmp_path / "other").ensure_marker() != ids[0]


async def test_wherever_a_writer_is_killed_there_is_the_whole_blob_or_none(tmp_path: Path) -> None:
    whole = 0
    for root, finished in killed_at_each_step(tmp_path, PREAMBLE, PUT):
        store = LocalBlobStore(root)
        info = await store.head(KEY)
        assert info is None or info.length == 700_000
        assert info is not None or not finished
        whole += info is not None

        await _put(store, KEY, b"picture" * 100_000)
        await store.remove_parts(older_than_seconds=0)
        assert _files(root) == [root / KEY]
    assert whole >= 2, "killed between the link and the end, too"


async def test_parts_of_a_writer_at_work_are_left_alone(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    (tmp_path / ".safelight-parts" / ".0123~part").write_bytes(b"pic")

    assert await store.remove_parts(older_than_seconds=3600) == 0
    assert await store.remove_parts(older_than_seconds=0) == 1
    assert _files(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads descriptors' paths from /proc")
def test_bytes_are_synced_before_they_get_their_name_and_every_folder_after(tmp_path: Path) -> None:
    assert trace_of(tmp_path / "blobs", PREAMBLE, PUT) == [
        "fsync .",
        "fsync blobs",
        "fsync part",
        f"link {KEY.rpartition('/')[2]}",
        "unlink part",
        "fsync blobs/job_1/evidence",
        "fsync blobs/job_1",
        "fsync blobs",
    ]


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())
