"""Evidence out of a real database and a real store."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from PIL import Image

from safelight.chaos.checker import judge
from safelight.chaos.collect import collect_books, collect_store, sightings
from safelight.chaos.evidence import FILES, read
from safelight.chaos.verdict import Question
from safelight.domain.events import EventType
from safelight.engine.image.journal import append_event, locked_job
from safelight.engine.orders.submit import submit
from safelight.storage.local import LocalBlobStore
from safelight.storage.local_staging import LocalStaging
from safelight.storage.place import Folder
from tests.orders import image, order
from tests.receipts import BYTES, receipt_for

BOOKS = ("jobs", "images", "attempts", "events", "messages", "renditions", "holds", "ledger", "balances", "queue")


async def test_the_books_of_an_accepted_job_say_what_was_ordered_and_that_it_waits(
    pool: asyncpg.Pool, database: str, tmp_path: Path
) -> None:
    wanted = [image("a", prompt="Ein Schlüssel 🗝"), image("b")]
    accepted = await submit(pool, order(*wanted, key="k1"), run_limit_seconds=3600)

    await collect_books(database, tmp_path)

    found = read(tmp_path)
    assert [(job.id, job.idempotency_key, job.status) for job in found.jobs] == [(accepted.job_id, "k1", "pending")]
    assert [each.prompts_sha256 for each in found.images] == [
        (hashlib.sha256(each.prompt.encode()).hexdigest(),) for each in wanted
    ]
    assert [(event.seq, event.type, event.is_late) for event in found.events] == [(1, "job.created", False)]
    assert [job.outputs for job in found.jobs] == [("card",)]
    assert {name for name in FILES if (tmp_path / f"{name}.jsonl").exists()} == set(BOOKS)
    assert judge(found).line(Question.STUCK).findings == [
        f"{accepted.job_id} is `pending`",
        f"{accepted.job_id} a is `queued`",
        f"{accepted.job_id} b is `queued`",
    ]


async def test_the_log_says_which_picture_came_late(pool: asyncpg.Pool, database: str, tmp_path: Path) -> None:
    accepted = await submit(pool, order(image("a")), run_limit_seconds=3600)
    async with locked_job(pool, accepted.job_id) as (conn, _):
        for data in ({"late": True}, {}):
            await append_event(conn, accepted.job_id, EventType.IMAGE_RECEIVED, image_id="a", data=data)

    await collect_books(database, tmp_path)

    assert [event.is_late for event in read(tmp_path).events] == [False, True, False]


async def test_no_prompt_is_in_the_evidence(pool: asyncpg.Pool, database: str, tmp_path: Path) -> None:
    await submit(pool, order(image("a", prompt="a canary of a prompt")), run_limit_seconds=3600)

    await collect_books(database, tmp_path)

    assert not any(b"canary" in path.read_bytes() for path in tmp_path.iterdir())


async def test_objects_are_told_from_their_bytes_and_not_from_their_names(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "blobs")
    whole, cut = _png(), _png()[:-40]
    await store.put("job/a.card-0000000112345678.jpg", whole, content_type="image/jpeg")
    await store.put("job/b.card-0000000212345678.png", cut, content_type="image/png")

    await collect_store(Folder(root=tmp_path / "blobs"), tmp_path)

    lines = (tmp_path / "objects.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert '"mime":"image/png"' in lines[0]
    assert hashlib.sha256(whole).hexdigest() in lines[0]
    assert '"mime":null' in lines[1]


async def test_what_lies_staged_is_seen_with_the_time(tmp_path: Path) -> None:
    staging = LocalStaging(tmp_path)
    before = datetime.now(UTC)
    await staging.stage(receipt_for("att_1"), BYTES)

    [seen] = await sightings(staging)

    assert seen.attempt_id == "att_1"
    assert before <= seen.at <= datetime.now(UTC)


def _png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((40, 40), 80).save(file, "PNG")
    return file.getvalue()
