"""What a local store holds, some at a time; and what happens when a blob is put and deleted at once."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from safelight.storage import durable
from safelight.storage.blob_store import BlobConflict
from safelight.storage.local import LocalBlobStore

KEY = "job_1/evidence/ev-1.card-0000000112345678.jpg"
HOUR = 3600.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(root: Path) -> LocalBlobStore:
    return LocalBlobStore(root)


async def put(store: LocalBlobStore, key: str = KEY, data: bytes = b"picture") -> None:
    await store.put(key, data, content_type="image/jpeg")


def age(path: Path, *, hours: float) -> float:
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))
    return then


async def found(store: LocalBlobStore, *, older_than_seconds: float = HOUR) -> list[str]:
    async with aclosing(store.keys(older_than_seconds=older_than_seconds)) as steps:
        return sorted([stored.key async for step in steps for stored in step])


async def test_keys_are_those_of_blobs_that_were_put_long_ago_and_of_nothing_else(
    store: LocalBlobStore, root: Path, tmp_path: Path
) -> None:
    await store.ensure_marker()
    old = ["a.jpg", "b/c.jpg", "b/d/e/f.jpg", KEY]
    for key in [*old, "b/young.jpg", "g/young.jpg"]:
        await put(store, key)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.jpg").write_bytes(b"not ours")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "link.jpg").symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    (root / "b" / "no key.jpg").write_bytes(b"not ours")
    for path in (*old, "b/no key.jpg", ".safelight-store"):
        age(root / path, hours=2)
    (root / ".safelight-parts" / ".x~part").write_bytes(b"half")
    age(root / ".safelight-parts" / ".x~part", hours=2)
    assert await found(store) == sorted(old)
    assert await found(store, older_than_seconds=3 * HOUR) == []


async def test_a_key_comes_with_the_time_of_its_last_put(store: LocalBlobStore, root: Path) -> None:
    await put(store)
    then = age(root / KEY, hours=2)
    async with aclosing(store.keys(older_than_seconds=HOUR)) as steps:
        [[stored]] = [step async for step in steps]
    assert abs(stored.put_at - datetime.fromtimestamp(then, UTC)).total_seconds() < 0.001


async def test_a_large_store_is_walked_in_steps_and_left_at_any_of_them(store: LocalBlobStore, root: Path) -> None:
    names = [f"b/{number:04d}.jpg" for number in range(1200)]
    (root / "b").mkdir()
    for name in names:
        (root / name).write_bytes(b"")
        age(root / name, hours=2)
    process = psutil.Process()
    opened = process.num_fds()
    async with aclosing(store.keys(older_than_seconds=HOUR)) as steps:
        first = await anext(steps)
        assert 0 < len(first) <= 500
    assert process.num_fds() == opened
    assert await found(store) == names


async def test_what_vanishes_during_a_walk_is_passed_over(store: LocalBlobStore, root: Path) -> None:
    for number in range(600):
        (root / f"b{number}").mkdir()
        (root / f"b{number}" / "c.jpg").write_bytes(b"")
        age(root / f"b{number}" / "c.jpg", hours=2)
    keys: list[str] = []
    async with aclosing(store.keys(older_than_seconds=HOUR)) as steps:
        async for step in steps:
            keys += [stored.key for stored in step]
            for number in range(600):
                shutil.rmtree(root / f"b{number}", ignore_errors=True)
    assert 0 < len(keys) < 600


async def test_a_folder_that_we_may_not_enter_keeps_nobody_from_the_others(
    store: LocalBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lost+found`, at the root of a file system of its own, is the system's."""
    enter = durable.enter_folder

    def guarded(name: str, *, parent: int) -> int:
        if name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied")
        return enter(name, parent=parent)

    (root / "lost+found").mkdir()
    await put(store)
    age(root / KEY, hours=2)
    monkeypatch.setattr(durable, "enter_folder", guarded)
    assert await found(store) == [KEY]


async def test_an_old_blob_is_deleted_and_one_that_was_put_again_is_not(store: LocalBlobStore, root: Path) -> None:
    await put(store)
    age(root / KEY, hours=2)
    assert not await store.delete_old(KEY, older_than_seconds=3 * HOUR)
    await put(store)
    assert not await store.delete_old(KEY, older_than_seconds=HOUR), "the same bytes put again are young again"
    age(root / KEY, hours=2)
    with pytest.raises(BlobConflict):
        await put(store, data=b"another")
    assert await store.delete_old(KEY, older_than_seconds=HOUR), "a put that was refused wants nothing of it"
    assert await store.head(KEY) is None
    assert not await store.delete_old(KEY, older_than_seconds=HOUR)


async def test_a_blob_that_is_deleted_just_as_it_is_put_again_is_written_anew(root: Path) -> None:
    class DeletesBeforeItReads(LocalBlobStore):
        times = 2

        def _read(self, segments: list[str], folder: int) -> bytes:
            if self.times:
                self.times -= 1
                os.unlink(segments[-1], dir_fd=folder)
            return super()._read(segments, folder)

    store = DeletesBeforeItReads(root)
    await put(store)
    await put(store)
    assert store.times == 1
    assert await LocalBlobStore(root).get(KEY) == b"picture"


async def test_of_puts_and_deletes_at_once_none_fails_and_a_last_put_stands(store: LocalBlobStore) -> None:
    async def delete() -> None:
        await store.delete_old(KEY, older_than_seconds=0)

    for _ in range(20):
        await asyncio.gather(*(act() for act in [lambda: put(store), delete] * 4))
    await put(store)
    assert await store.get(KEY) == b"picture"
