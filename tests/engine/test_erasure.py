"""Erasure: what is marked is served no more, what was interrupted is finished, and nothing comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.domain.errors import Conflict, Gone, NotFound
from safelight.domain.events import EventType
from safelight.domain.ids import JobId
from safelight.engine.image.journal import append_event, locked_job
from safelight.engine.orders.control import retry
from safelight.engine.orders.submit import submit
from safelight.engine.upkeep.erasure import Eraser, Keeping, clear, clear_removed, let_go, remove
from safelight.storage.blob_store import BlobMissing
from safelight.storage.local import LocalBlobStore
from tests.api.stored import JPEG, settle
from tests.engine.by_hand import pass_time
from tests.orders import image, job_row, order

DAY = 86_400.0
WORD = "SECRET"


class FailingStore(LocalBlobStore):
    """Deletes `room` blobs, and no more."""

    room = 1

    async def delete(self, key: str) -> None:
        if not self.room:
            raise OSError("the disk does not answer")
        self.room -= 1
        await super().delete(key)


class SlowStore(LocalBlobStore):
    """Deletes when it is let."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def delete(self, key: str) -> None:
        self.is_asked.set()
        await self.goes_on.wait()
        await super().delete(key)


@pytest.fixture
def blobs(tmp_path: Path) -> FailingStore:
    store = FailingStore(tmp_path / "blobs")
    store.room = 1000
    return store


async def ended_job(pool: asyncpg.Pool, blobs: LocalBlobStore, *image_ids: str) -> JobId:
    """With a picture each, and one image that failed."""
    names = image_ids or ("one", "two")
    wishes = [
        image(name, prompt=f"{WORD} {name}", options={"negative_prompt": WORD, "size": "64x64"}) for name in names
    ]
    accepted = await submit(pool, order(*wishes, image("bad", prompt=WORD)), run_limit_seconds=3600)
    await settle(pool, blobs, accepted.job_id, dict.fromkeys(names, JPEG))
    async with locked_job(pool, accepted.job_id) as (conn, _job):
        why = {"error": {"kind": "SAFETY", "message": f"{WORD} is not allowed"}}
        await append_event(conn, accepted.job_id, EventType.IMAGE_FAILED, image_id="bad", data=why)
    return accepted.job_id


async def keys_of(blobs: LocalBlobStore) -> list[str]:
    return [each.key async for step in blobs.keys(older_than_seconds=-10) for each in step]


async def words_in(pool: asyncpg.Pool) -> list[str]:
    """Every table of ours that still holds the word, in whatever column."""
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'safelight'")
    return [
        name
        for (name,) in tables
        if await pool.fetchval(f"SELECT EXISTS (SELECT FROM {name} AS t WHERE t::text LIKE '%{WORD}%')")
    ]


async def test_a_removed_job_keeps_its_row_its_events_and_its_books_and_no_word_of_its_own(
    pool: asyncpg.Pool, blobs: FailingStore
):
    job_id = await ended_job(pool, blobs)
    await pool.execute("UPDATE jobs SET metadata = $2, storage_prefix = $3 WHERE id = $1", job_id, {"name": WORD}, WORD)
    await pool.execute(
        "UPDATE images SET alternate_prompt = $1, original_prompt = $1, style = $2, targets = $3",
        *(WORD, {"name": "noir", "before_chars": 3, "after_chars": 9}),
        [{"provider": "placeholder", "model": "m", "options": {"negative_prompt": WORD, "seed": 1}}],
    )
    seqs = await pool.fetch("SELECT seq, type, image_id FROM events ORDER BY seq")
    assert await words_in(pool)

    await remove(pool, job_id, account="default")

    assert await words_in(pool) == [], "texts go with the mark"
    assert len(await keys_of(blobs)) == 2
    await clear(pool, blobs, job_id)
    assert await keys_of(blobs) == []
    row = await job_row(pool, job_id)
    assert (row["status"], row["cleared_at"] >= row["removed_at"]) == ("partial", True)
    assert await pool.fetch("SELECT seq, type, image_id FROM events ORDER BY seq") == seqs
    assert await pool.fetchval("SELECT count(*) FROM renditions") == 0
    assert await pool.fetchval("SELECT options FROM images WHERE id = 'one'") == {"size": "64x64"}
    assert await pool.fetchval("SELECT targets -> 0 -> 'options' FROM images LIMIT 1") == {"seed": 1}
    await remove(pool, job_id, account="default")
    assert await job_row(pool, job_id) == row, "again changes nothing"


async def test_a_job_that_lives_or_is_anothers_is_not_removed(pool: asyncpg.Pool):
    accepted = await submit(pool, order(image("one")), run_limit_seconds=3600)
    with pytest.raises(Conflict, match="has not ended"):
        await remove(pool, accepted.job_id, account="default")
    for job_id, account in ((accepted.job_id, "other"), (JobId("job_0"), None)):
        with pytest.raises(NotFound):
            await remove(pool, job_id, account=account)


async def test_what_an_interruption_left_is_finished_by_the_next_who_looks(pool: asyncpg.Pool, blobs: FailingStore):
    job_id = await ended_job(pool, blobs)
    other = await ended_job(pool, blobs, "kept")
    await remove(pool, job_id, account=None)
    blobs.room = 1
    with pytest.raises(OSError, match="does not answer"):
        await clear(pool, blobs, job_id)
    assert len(await keys_of(blobs)) == 2
    assert await clear_removed(pool, blobs) == 0, "the store still fails"
    assert (await job_row(pool, job_id))["cleared_at"] is None
    blobs.room = 1000
    assert await clear_removed(pool, blobs) == 1
    assert [other in key for key in await keys_of(blobs)] == [True]
    assert await clear_removed(pool, blobs) == 0


async def test_nothing_of_a_removed_job_can_be_made_again(pool: asyncpg.Pool, blobs: FailingStore):
    job_id = await ended_job(pool, blobs)
    await remove(pool, job_id, account=None)

    with pytest.raises(Gone):
        await retry(pool, job_id, account="default", run_limit_seconds=3600)


@pytest.mark.parametrize("is_removed", [False, True])
async def test_a_picture_that_comes_after_the_removal_is_not_adopted_and_not_kept(
    is_removed: bool, pool: asyncpg.Pool, blobs: FailingStore
):
    job_id = await ended_job(pool, blobs)
    bad = await pool.fetchrow("SELECT row_id, fingerprint FROM images WHERE id = 'bad'")
    assert bad is not None
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at) VALUES ('att_1', $1, 1, 1, 'received', 'p', 'm', $2,"
        " gen_random_uuid(), gen_random_uuid(), now(), now(), now())",
        *(bad["row_id"], bad["fingerprint"]),
    )
    if is_removed:
        await remove(pool, job_id, account=None)

    sweep = load("sweep")
    late: Sequence[Any] = await pool.fetch(sweep.late_receipts)
    adopted = await pool.fetchval(load("settle").adopt_receipt, bad["row_id"])
    [known] = await pool.fetch(sweep.attempts_of_receipts, ["att_1"], 15.0)

    assert [bool(late), adopted is not None, known["is_needed"]] == 3 * [not is_removed]


async def test_retention_lets_prompts_go_and_later_the_rest(pool: asyncpg.Pool, blobs: FailingStore):
    job_id = await ended_job(pool, blobs)
    live = (await submit(pool, order(image("live", prompt="LIVE")), run_limit_seconds=3600)).job_id
    await pool.execute('UPDATE jobs SET metadata = \'{"case": "7"}\' WHERE id = $1', job_id)
    keeping = Keeping(jobs=timedelta(days=30), prompts=timedelta(days=7))
    await pass_time(pool, 6.9 * DAY)
    assert await let_go(pool, keeping) == 0
    await pass_time(pool, 0.2 * DAY)
    assert await let_go(pool, keeping) == 1
    assert await words_in(pool) == []
    row = await job_row(pool, job_id)
    assert (row["removed_at"], row["metadata"], len(await keys_of(blobs))) == (None, {"case": "7"}, 2)
    with pytest.raises(Gone):
        await retry(pool, job_id, account="default", run_limit_seconds=3600)
    await pass_time(pool, 23 * DAY)
    assert await let_go(pool, keeping) == 1
    assert await clear_removed(pool, blobs) == 1
    row = await job_row(pool, job_id)
    assert (row["removed_at"] is not None, row["metadata"], await keys_of(blobs)) == (True, {}, [])
    assert await let_go(pool, keeping) == 0
    assert (await job_row(pool, live))["prompts_removed_at"] is None, "it has not ended"


async def test_without_a_term_nothing_is_let_go(pool: asyncpg.Pool, blobs: FailingStore):
    await ended_job(pool, blobs)
    await pass_time(pool, 3650 * DAY)

    assert await let_go(pool, Keeping()) == 0


async def test_a_download_that_is_open_goes_on_when_the_job_is_cleared(pool: asyncpg.Pool, blobs: FailingStore):
    job_id = await ended_job(pool, blobs)
    key = (await keys_of(blobs))[0]
    async with blobs.opened(key) as blob:
        assert await blob.read(0, 10) == JPEG[:10]
        await remove(pool, job_id, account=None)
        await clear(pool, blobs, job_id)
        assert await blob.read(10, 1_000_000) == JPEG[10:]
    with pytest.raises(BlobMissing):
        await blobs.read(key)


async def test_jobs_that_cannot_be_cleared_hide_no_other_however_many_they_are(pool: asyncpg.Pool, blobs: FailingStore):
    for n in range(51):  # one more than a look takes up
        await remove(pool, await ended_job(pool, blobs, f"{n}"), account=None)
    put_off: set[JobId] = set()
    blobs.room = 0
    assert await clear_removed(pool, blobs, put_off=put_off) == 0
    blobs.room = 1
    assert await clear_removed(pool, blobs, put_off=put_off) == 1, "the last, whose picture can be deleted"
    blobs.room = 1000
    while await clear_removed(pool, blobs, put_off=put_off):
        pass
    assert await keys_of(blobs) == []


async def test_told_to_stop_the_job_in_hand_is_cleared_and_the_rest_is_left_to_others(
    pool: asyncpg.Pool, blobs: FailingStore, tmp_path: Path
):
    for n in range(3):
        await remove(pool, await ended_job(pool, blobs, f"{n}"), account=None)
    slow = SlowStore(tmp_path / "blobs")
    eraser = Eraser(pool, slow, keeping=Keeping(), every_seconds=60.0)
    running = asyncio.create_task(eraser.run())
    async with asyncio.timeout(20):
        await slow.is_asked.wait()
        eraser.stop()
        slow.goes_on.set()
        await running
    assert len(await keys_of(blobs)) == 2
    assert await clear_removed(pool, blobs) == 2


async def test_a_vendors_address_that_is_given_up_after_the_removal_goes_too(pool: asyncpg.Pool, blobs: FailingStore):
    job_id = await ended_job(pool, blobs)
    kept_id = await ended_job(pool, blobs)
    for n, each in enumerate((job_id, kept_id)):
        await pool.execute(
            "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
            " worker_id, sent_at, deadline_at, resolve_at, remote) SELECT $1, row_id, 1, 1, 'submitted', 'p', 'm', 'f',"
            " gen_random_uuid(), gen_random_uuid(), now(), now(), now(), $2 FROM images WHERE job_id = $3"
            " AND id = 'bad'",
            *(f"att_{n}", {"url": WORD}, each),
        )
    await remove(pool, job_id, account=None)

    await pool.execute(load("sweep").book_unknown)

    rows = await pool.fetch("SELECT status, remote FROM attempts ORDER BY id")
    assert [tuple(row) for row in rows] == [("unknown", None), ("unknown", {"url": WORD})]
