"""Blobs that nothing names are deleted when nobody can be about to name them; every other file stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import asyncpg
import pytest

from safelight.domain.ids import JobId
from safelight.engine.orders.control import retry
from safelight.engine.orders.submit import submit
from safelight.engine.upkeep import retention
from safelight.engine.upkeep.retention import Walked, delete_orphans
from safelight.settings import Settings
from safelight.storage.keys import blob_key
from safelight.storage.local import LocalBlobStore
from tests.engine.by_hand import pass_time
from tests.engine.conftest import running
from tests.orders import image, order, until

HOUR = 3600.0


class Scene:
    """A job whose only image failed three days ago, and its blob, put two days ago and named by nothing."""

    def __init__(self, pool: asyncpg.Pool, root: Path, job_id: JobId, row_id: int) -> None:
        self.pool = pool
        self.root = root
        self.store = LocalBlobStore(root)
        self.job_id = job_id
        self.row_id = row_id
        self.key = self.key_of(row_id)

    def key_of(self, row_id: int, *, sha256: str = "ab" * 32) -> str:
        named = {"group": "test", "image_id": "img", "output": "card", "extension": "jpg"}
        return blob_key(account=None, prefix=self.job_id, row_id=row_id, sha256=sha256, **named)

    async def put(self, key: str, *, hours_ago: float = 48.0) -> None:
        await self.store.put(key, b"picture", content_type="image/jpeg")
        put_at = time.time() - hours_ago * HOUR
        os.utime(self.root / key, (put_at, put_at))

    async def walk(self) -> Walked | None:
        await pass_time(self.pool, HOUR)
        return await delete_orphans(self.pool, self.store)

    async def has(self, key: str) -> bool:
        return await self.store.head(key) is not None

    async def name(self, key: str) -> None:
        await self.pool.execute(
            "INSERT INTO renditions (image_row_id, name, key, format, mime, width_px, height_px, length, sha256)"
            " VALUES ($1, 'card', $2, 'jpeg', 'image/jpeg', 1, 1, 7, 'x')",
            self.row_id,
            key,
        )


@pytest.fixture
async def scene(pool: asyncpg.Pool, tmp_path: Path) -> Scene:
    accepted = await submit(pool, order(image("img")), run_limit_seconds=3600)
    ended = "status = 'failed', created_at = created_at - interval '3 days', completed_at = now() - interval '3 days'"
    row_id = await pool.fetchval(f"UPDATE images SET {ended} RETURNING row_id")
    await pool.execute("UPDATE jobs SET status = 'failed', completed_at = now() - interval '3 days'")
    scene = Scene(pool, tmp_path / "blobs", accepted.job_id, row_id)
    await scene.put(scene.key)
    return scene


async def test_a_blob_that_nothing_names_is_deleted_and_one_that_is_named_is_not(scene: Scene) -> None:
    named = scene.key_of(scene.row_id, sha256="cd" * 32)
    await scene.put(named)
    await scene.name(named)
    assert await scene.walk() == Walked(blobs=2, deleted=1)
    assert (await scene.has(scene.key), await scene.has(named)) == (False, True)


@pytest.mark.parametrize(
    "reason",
    [
        "UPDATE images SET status = 'queued'",
        "UPDATE images SET status = 'uploading', claim_token = gen_random_uuid()",
        "UPDATE installation SET paused_at = now()",
    ],
    ids=["its image waits", "its image is at work", "buying is paused"],
)
async def test_a_blob_that_somebody_may_be_about_to_name_stays(reason: str, scene: Scene) -> None:
    await scene.pool.execute(reason)
    assert await scene.walk() == Walked(blobs=1, kept=1)
    assert await scene.has(scene.key)


async def test_a_young_blob_is_not_looked_at(scene: Scene) -> None:
    await scene.put(scene.key, hours_ago=23)
    assert await scene.walk() == Walked()
    assert await scene.has(scene.key)


@pytest.mark.parametrize("younger", [False, True], ids=["unknown here", "younger than the blob"])
async def test_a_blob_of_an_image_that_this_database_does_not_know_stays(younger: bool, scene: Scene) -> None:
    """The database was restored from before the image, and may since have given its number to another one."""
    stranger = scene.key if younger else scene.key_of(scene.row_id + 1000)
    await scene.put(stranger)
    if younger:
        await scene.pool.execute("UPDATE images SET created_at = now()")
    found = await scene.walk()
    assert found is not None
    assert found.strangers == 1
    assert await scene.has(stranger)


@pytest.mark.parametrize(
    "key",
    [
        "job_01ARZ3NDEKTSV4RRFFQ69G5FAV/test/img.card-{row}abababab.jpg",
        "another_installation/{job}/test/img.card-{row}abababab.jpg",
        "{job}/test/another.card-{row}abababab.jpg",
        "{job}/img.card-{row}abababab.jpg",
    ],
)
@pytest.mark.parametrize("is_removed", [False, True], ids=["there", "removed"])
async def test_a_blob_that_another_database_made_for_an_image_of_the_same_number_stays(
    key: str, is_removed: bool, scene: Scene
) -> None:
    """Several installations may share a bucket, and each counts its images from 1."""
    if is_removed:
        await scene.pool.execute("UPDATE jobs SET removed_at = now(), prompts_removed_at = now()")
    stranger = key.format(job=scene.job_id, row=f"{scene.row_id:08x}")
    await scene.put(stranger)
    assert await scene.walk() == Walked(blobs=2, deleted=1, strangers=1)
    assert (await scene.has(scene.key), await scene.has(stranger)) == (False, True)


async def test_a_blob_in_a_store_below_this_one_stays_also_under_a_prefix_that_nobody_knows_any_more(
    scene: Scene,
) -> None:
    """Two installations of one program order the same things, under names and prefixes of its own."""
    await scene.pool.execute("UPDATE jobs SET removed_at = now(), prompts_removed_at = now()")
    await LocalBlobStore(scene.root / "staging").ensure_marker()
    stranger = f"staging/cases/today/test/img.card-{scene.row_id:08x}abababab.jpg"
    await scene.put(stranger)
    assert await scene.walk() == Walked(blobs=2, deleted=1, strangers=1)
    assert (await scene.has(scene.key), await scene.has(stranger)) == (False, True)


@pytest.mark.parametrize("is_removed", [False, True], ids=["there", "removed"])
@pytest.mark.parametrize("group", ["test", ""])
async def test_a_blob_under_a_prefix_of_the_callers_own_is_known_by_it(
    group: str, is_removed: bool, scene: Scene
) -> None:
    """With the job the prefix goes, and names of blobs are all that is left to know them by."""
    await scene.pool.execute("UPDATE images SET image_group = $1", group)
    await scene.pool.execute("UPDATE jobs SET storage_prefix = 'cases/today'")
    named = {"group": group, "image_id": "img", "output": "card", "extension": "jpg", "sha256": "ab" * 32}
    key = blob_key(account=None, prefix="cases/today", row_id=scene.row_id, **named)
    await scene.put(key)
    if is_removed:
        await scene.pool.execute(
            "UPDATE jobs SET removed_at = now(), prompts_removed_at = now(), storage_prefix = NULL"
        )
    await scene.walk()
    assert not await scene.has(key)


async def test_files_that_are_none_of_ours_stay(scene: Scene) -> None:
    foreign = ["README.txt", "holiday/beach.jpg", f"{scene.job_id}/test/img.card-zz.jpg", "with space/a b.jpg"]
    for path in foreign:
        (scene.root / path).parent.mkdir(exist_ok=True, parents=True)
        (scene.root / path).write_bytes(b"mine")
        os.utime(scene.root / path, (0, 0))
    assert await scene.walk() == Walked(blobs=1, deleted=1)
    assert [path for path in foreign if not (scene.root / path).exists()] == []


async def test_an_image_that_is_opened_again_while_its_blob_is_to_be_deleted_keeps_it(scene: Scene) -> None:
    """The retry has the job's lock first: by then the blob may be in use again."""
    async with scene.pool.acquire() as conn:
        async with conn.transaction():
            await conn.execute("SELECT FROM jobs WHERE id = $1 FOR NO KEY UPDATE", scene.job_id)
            await conn.execute("UPDATE images SET status = 'queued', run = run + 1")
            walking = asyncio.create_task(scene.walk())
            await until(scene.pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        assert await walking == Walked(blobs=1, kept=1)
    assert await scene.has(scene.key)


async def test_an_image_that_is_opened_again_waits_until_its_blob_is_deleted_and_stores_it_anew(scene: Scene) -> None:
    """The walk has the lock first: the retry goes on when the blob is gone, finds it absent, and writes it."""
    retried: list[int] = []

    class Slow(LocalBlobStore):
        async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
            retrying = asyncio.create_task(retry(scene.pool, scene.job_id, account="default", run_limit_seconds=3600))
            retrying.add_done_callback(lambda task: retried.append(task.result()))
            await until(scene.pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            assert retried == []
            return await super().delete_old(key, older_than_seconds=older_than_seconds)

    await pass_time(scene.pool, HOUR)
    assert await delete_orphans(scene.pool, Slow(scene.root)) == Walked(blobs=1, deleted=1)
    await until(scene.pool, "SELECT status = 'queued' FROM images")
    await scene.store.put(scene.key, b"picture", content_type="image/jpeg")
    await scene.name(scene.key)
    await scene.pool.execute("UPDATE images SET status = 'completed'")
    assert await scene.walk() == Walked()
    assert await scene.has(scene.key)


async def test_a_blob_that_is_put_again_before_it_is_deleted_stays(scene: Scene) -> None:
    """By a worker that has lost its image and does not know it yet."""

    class PutMeanwhile(LocalBlobStore):
        async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
            await self.put(key, b"picture", content_type="image/jpeg")
            return await super().delete_old(key, older_than_seconds=older_than_seconds)

    await pass_time(scene.pool, HOUR)
    assert await delete_orphans(scene.pool, PutMeanwhile(scene.root)) == Walked(blobs=1, kept=1)
    assert await scene.has(scene.key)


async def test_nothing_is_deleted_by_a_walk_whose_lock_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store takes longer than the database leaves a lock to who does nothing: by then the blob may be in use."""
    monkeypatch.setattr(retention, "ASIDE_SECONDS", 0.5)

    class Hanging(LocalBlobStore):
        async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
            await until(scene.pool, "SELECT EXISTS (SELECT FROM jobs FOR NO KEY UPDATE SKIP LOCKED)")
            return await super().delete_old(key, older_than_seconds=older_than_seconds)

    await pass_time(scene.pool, HOUR)
    with pytest.raises(TimeoutError):
        await delete_orphans(scene.pool, Hanging(scene.root))
    assert await scene.has(scene.key)


async def test_of_many_processes_one_walks_in_an_hour(scene: Scene) -> None:
    walks = await asyncio.gather(*(delete_orphans(scene.pool, scene.store) for _ in range(5)))
    assert [walked for walked in walks if walked is not None] == [Walked(blobs=1, deleted=1)]
    await pass_time(scene.pool, HOUR / 2)
    assert await delete_orphans(scene.pool, scene.store) is None
    assert await scene.walk() == Walked()


async def test_a_long_walk_asks_about_all_of_them(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BREATH_SECONDS", 0)
    for number in range(600):
        await scene.put(scene.key_of(scene.row_id, sha256=f"{number:08x}"))
    assert await scene.walk() == Walked(blobs=601, deleted=601)


async def test_a_worker_walks_the_store_when_it_starts(scene: Scene, settings: Settings) -> None:
    blob = settings.blobs / scene.key
    assert blob.exists()
    async with running(settings), asyncio.timeout(30):
        while True:
            if not blob.exists():
                return
            await asyncio.sleep(0.02)
