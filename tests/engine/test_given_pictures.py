"""Images that are made from pictures that their caller gave: uploads, a mask, and what addresses give."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from PIL import Image
from pydantic import SecretStr

from safelight.db.statements import load
from safelight.domain.errors import InvalidRequest
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import ImageOrder, Reference
from safelight.engine.accounts import uploads
from safelight.engine.accounts.uploads import (
    UnusablePicture,
    Upload,
    forget_uploads,
    keep_upload,
    remove_upload,
    upload_of,
)
from safelight.engine.image.lease import Hint
from safelight.engine.orders.control import retry
from safelight.engine.orders.submit import submit
from safelight.engine.upkeep.erasure import remove
from safelight.imaging.pool import RenderPool
from safelight.sandbox.server import RunningSandbox
from safelight.settings import ProviderSettings, Settings
from safelight.storage.local import LocalBlobStore
from tests.engine.by_hand import pass_time, pipeline_of, run
from tests.engine.conftest import running
from tests.engine.families import errors, made_from
from tests.engine.test_claim import register
from tests.engine.test_dependencies import next_hint
from tests.net.loopback_site import Site, open_site, whole
from tests.orders import attempts_of, ended, image, images_of, order, until, vendor_image

ANYWHERE_HERE = "http://127.0.0.0/8:*"


@pytest.fixture
async def renderer() -> AsyncIterator[RenderPool]:
    renderer = RenderPool()
    yield renderer
    await renderer.aclose()


@pytest.fixture
def blobs(settings: Settings) -> LocalBlobStore:
    return LocalBlobStore(settings.blobs)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        site.says = whole(png("gold"))
        yield site


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    """That may fetch from this machine."""
    return settings.model_copy(update={"egress_allow": ANYWHERE_HERE})


def png(color: str = "teal", side_px: int = 32) -> bytes:
    return _file(Image.new("RGB", (side_px, side_px), color))


def mask_png(side_px: int = 32) -> bytes:
    mask = Image.new("RGBA", (side_px, side_px), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, side_px // 2, side_px))
    return _file(mask)


def _file(picture: Image.Image) -> bytes:
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


def at(site: Site, path: str = "/photo.png") -> str:
    return f"http://127.0.0.1:{site.port}{path}"


def given(order: ImageOrder, *references: Reference, mask: Upload | None = None) -> ImageOrder:
    return replace(order, references=references, mask=mask.id if mask is not None else None)


async def submitted(pool: asyncpg.Pool, *images: ImageOrder) -> JobId:
    return (await submit(pool, order(*images), run_limit_seconds=3600)).job_id


async def fetched_sha256(pool: asyncpg.Pool) -> str:
    return await pool.fetchval("SELECT sha256 FROM uploads WHERE is_fetched")


async def test_an_upload_an_address_and_another_image_reach_the_vendor_in_their_order(
    pool: asyncpg.Pool,
    open_settings: Settings,
    sandbox: RunningSandbox,
    blobs: LocalBlobStore,
    renderer: RenderPool,
    site: Site,
) -> None:
    upload = await keep_upload(pool, blobs, renderer, account="default", data=png())
    references = (Reference(url=at(site)), Reference(upload_id=upload.id, role="product"), Reference(image_id="a"))
    job_id = await submitted(pool, given(vendor_image("b"), *references), vendor_image("a"))
    async with running(open_settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED
    made = {row["id"]: row["sha256"] for row in await pool.fetch(
        "SELECT i.id, a.sha256 FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id")}  # fmt: skip
    [call] = [call for call in sandbox.vendor.calls if call.references_sha256]
    assert call.references_sha256 == (await fetched_sha256(pool), upload.sha256, made["a"])
    assert len(site.requests) == 1


async def test_an_upload_and_its_mask_reach_a_vendor_that_takes_masks(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    openai = ProviderSettings(kind="openai", base_url=sandbox.url("openai"), api_key=SecretStr("good-key"))
    photo = await keep_upload(pool, blobs, renderer, account="default", data=png())
    mask = await keep_upload(pool, blobs, renderer, account="default", data=mask_png())
    ordered = image("one", provider="openai", model="gpt-image-1.5", options={"size": "1024x1024", "quality": "low"})
    job_id = await submitted(pool, given(ordered, Reference(upload_id=photo.id, role="model"), mask=mask))
    async with running(settings.model_copy(update={"providers": {**settings.providers, "openai": openai}})):
        assert await ended(pool, job_id) is JobStatus.COMPLETED
    [call] = sandbox.vendor.calls
    assert (call.references_sha256, call.mask_sha256) == ((photo.sha256,), mask.sha256)
    assert call.path.endswith("/images/edits")


BAD_ANSWERS = {
    "redirected": whole(b"", "location: http://127.0.0.1/", status="302 Found"),
    "not found": whole(b"", status="404 Not Found"),
    "a page": whole(b"<!doctype html><title>Sign in</title>", "content-type: image/png"),
    "cut short": whole(png()[:-30], "content-type: image/png"),
    "more than 20 MB": b"HTTP/1.1 200 OK\r\ncontent-length: 20000001\r\n\r\n",
}


@pytest.mark.parametrize("says", BAD_ANSWERS.values(), ids=list(BAD_ANSWERS))
async def test_an_address_that_gives_no_picture_ends_the_image_and_nothing_is_bought(
    says: bytes, pool: asyncpg.Pool, queue: asyncpg.Pool, open_settings: Settings, sandbox: RunningSandbox, site: Site
) -> None:
    site.says = says
    job_id = await submitted(pool, given(vendor_image("a"), Reference(url=at(site))), vendor_image("b"))
    await pool.execute("UPDATE images SET not_before = not_before + interval '1 h' WHERE id = 'b'")
    async with pipeline_of(open_settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await next_hint(pool, queue))
    assert await errors(pool, job_id) == {"a": ("PERMANENT", "reference-fetch-failed")}
    [error] = [row["error"] for row in await images_of(pool, job_id) if row["error"]]
    assert (error["billed"], error["retryable"]) == ("no", False)
    assert "photo.png" not in error["message"], "an address may hold a secret"
    assert len(site.requests) == 1
    assert not sandbox.vendor.calls
    assert not await attempts_of(pool, job_id)


async def test_an_address_that_leads_inside_is_not_asked(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings, site: Site
) -> None:
    job_id = await submitted(pool, given(vendor_image("a"), Reference(url=at(site))))
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await next_hint(pool, queue))
    assert await errors(pool, job_id) == {"a": ("PERMANENT", "reference-fetch-failed")}
    assert not site.requests
    assert not site.gone.is_set(), "nobody has connected"


async def test_an_address_that_stumbles_is_asked_again_a_few_times(
    pool: asyncpg.Pool, queue: asyncpg.Pool, open_settings: Settings, site: Site
) -> None:
    site.says = whole(b"", status="503 Service Unavailable")
    job_id = await submitted(pool, given(vendor_image("a"), Reference(url=at(site))))
    async with pipeline_of(open_settings, pool, await register(pool)) as pipeline:
        for tries in range(1, 5):
            assert (await images_of(pool, job_id))[0]["status"] == "queued"
            await pass_time(pool, seconds=60)
            await run(pipeline, await next_hint(pool, queue))
            assert len(site.requests) == tries
    assert await errors(pool, job_id) == {"a": ("PERMANENT", "reference-fetch-failed")}
    assert not await attempts_of(pool, job_id)


async def test_a_retry_is_made_from_the_picture_that_was_fetched_first(
    pool: asyncpg.Pool, open_settings: Settings, sandbox: RunningSandbox, site: Site
) -> None:
    job_id = await submitted(pool, given(vendor_image("a", "500 x1"), Reference(url=at(site))))
    async with running(open_settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED
    first, second = sandbox.vendor.calls
    assert first.references_sha256 == second.references_sha256 == (await fetched_sha256(pool),)
    assert len(site.requests) == 1


async def test_a_worker_that_dies_between_the_fetch_and_the_call_leaves_the_picture_to_the_next(
    pool: asyncpg.Pool, queue: asyncpg.Pool, open_settings: Settings, sandbox: RunningSandbox, site: Site
) -> None:
    job_id = await submitted(pool, given(vendor_image("a"), Reference(url=at(site))))
    hint = await next_hint(pool, queue)
    async with pipeline_of(open_settings, pool, await register(pool)) as dying:
        lease = await dying.claim(hint)
        assert lease is not None
        assert await dying.addresses.keep_for(lease)
    site.says = whole(png("black"))
    await pass_time(pool, seconds=60)
    async with pipeline_of(open_settings, pool, await register(pool)) as pipeline:
        await run(pipeline, Hint(queue_row_id=hint.queue_row_id, row_id=hint.row_id, generation=hint.generation))
    assert (await images_of(pool, job_id))[0]["status"] == "completed"
    assert len(site.requests) == 1
    assert [call.references_sha256 for call in sandbox.vendor.calls] == [(await fetched_sha256(pool),)]
    assert len(await attempts_of(pool, job_id)) == 1


async def test_a_worker_without_its_lease_keeps_nothing_for_the_image(
    pool: asyncpg.Pool, queue: asyncpg.Pool, open_settings: Settings, site: Site
) -> None:
    await submitted(pool, given(vendor_image("a"), Reference(url=at(site))))
    hint = await next_hint(pool, queue)
    async with pipeline_of(open_settings, pool, await register(pool)) as stale:
        lease = await stale.claim(hint)
        assert lease is not None
        await pool.execute("UPDATE images SET claim_token = gen_random_uuid()")
        await stale.addresses.keep_for(lease)
    assert await pool.fetchval("SELECT upload_id FROM image_references") is None


async def test_images_of_one_job_share_what_an_address_gave(
    pool: asyncpg.Pool, queue: asyncpg.Pool, open_settings: Settings, sandbox: RunningSandbox, site: Site
) -> None:
    await submitted(pool, *(given(vendor_image(name), Reference(url=at(site))) for name in "ab"))
    await pool.execute("UPDATE images SET not_before = not_before + interval '5 min' WHERE id = 'b'")
    async with pipeline_of(open_settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await next_hint(pool, queue))
        site.says = whole(png("black"))
        await pass_time(pool, seconds=600)
        await run(pipeline, await next_hint(pool, queue))
    assert len({call.references_sha256 for call in sandbox.vendor.calls}) == 1
    assert len(sandbox.vendor.calls) == 2
    assert len(site.requests) == 1


async def test_a_job_is_not_accepted_with_an_upload_that_is_gone_or_is_somebody_elses(
    pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    upload = await keep_upload(pool, blobs, renderer, account="other", data=png())
    with pytest.raises(InvalidRequest):
        await submitted(pool, given(vendor_image("a"), Reference(upload_id=upload.id)))
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_uploads_go_after_their_time_and_not_while_a_job_lives(
    pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    used, unused = [
        await keep_upload(pool, blobs, renderer, account="default", data=png(color)) for color in ("red", "blue")
    ]
    job_id = await submitted(pool, given(vendor_image("a"), Reference(upload_id=used.id)))
    assert await forget_uploads(pool, blobs) == 0
    await pass_time(pool, seconds=31 * 86_400)
    assert await forget_uploads(pool, blobs) == 1
    assert await blobs.head(unused.key) is None
    assert await blobs.head(used.key) is not None
    await pool.execute("UPDATE jobs SET status = 'failed' WHERE id = $1", job_id)
    assert await forget_uploads(pool, blobs) == 1
    assert await blobs.head(used.key) is None
    assert await pool.fetchval("SELECT count(*) FROM uploads") == 0


async def test_however_many_uploads_are_past_their_time_all_of_them_go(
    pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    await keep_upload(pool, blobs, renderer, account="default", data=png())
    await pool.execute(
        """
        INSERT INTO uploads (id, account, given_sha256, key, format, mime, width_px, height_px, length, sha256,
                             has_alpha, created_at, stored_at, expires_at)
        SELECT id || n, account, given_sha256 || n, key || n, format, mime, width_px, height_px, length, sha256,
               has_alpha, created_at, stored_at, expires_at FROM uploads, generate_series(1, 500) AS n
        """
    )
    await pass_time(pool, seconds=31 * 86_400)
    assert await forget_uploads(pool, blobs) == 501
    assert await pool.fetchval("SELECT count(*) FROM uploads") == 0


async def test_uploads_past_their_time_are_found_by_index_and_the_time_is_asked_for_once(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        rows = await conn.fetch("EXPLAIN " + load("uploads").expired_uploads, 100, 86_400.0)
    plan = [row[0].strip() for row in rows]
    assert any("uploads_expiring" in line for line in plan), plan
    assert not [line for line in plan if "now()" in line], plan


async def test_what_was_begun_and_never_said_to_be_stored_goes_with_its_bytes(
    pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    upload = await keep_upload(pool, blobs, renderer, account="default", data=png())
    await pool.execute("UPDATE uploads SET stored_at = NULL")
    assert await forget_uploads(pool, blobs) == 0, "somebody may be about to say so"
    again = await keep_upload(pool, blobs, renderer, account="default", data=png())
    assert again.id != upload.id
    await pass_time(pool, seconds=86_401)
    assert await forget_uploads(pool, blobs) == 1
    assert await blobs.head(upload.key) is None
    assert await blobs.head(again.key) is not None


async def test_an_upload_that_is_being_deleted_is_not_taken_by_a_job(
    pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    upload = await keep_upload(pool, blobs, renderer, account="default", data=png())
    async with pool.acquire() as conn:
        begun = conn.transaction()
        await begun.start()
        await conn.execute("SELECT 1 FROM uploads FOR UPDATE")
        taking = asyncio.create_task(submitted(pool, given(vendor_image("a"), Reference(upload_id=upload.id))))
        await until(pool, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
        await conn.execute("DELETE FROM uploads")
        await begun.commit()
    with pytest.raises(InvalidRequest):
        await taking


async def test_an_upload_whose_lock_is_gone_keeps_its_bytes(
    pool: asyncpg.Pool,
    settings: Settings,
    blobs: LocalBlobStore,
    renderer: RenderPool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store takes longer than the database leaves a lock to who does nothing: by then a job may be made from it."""
    monkeypatch.setattr(uploads, "ASIDE_SECONDS", 0.5)
    upload = await keep_upload(pool, blobs, renderer, account="default", data=png())

    class Hanging(LocalBlobStore):
        async def delete(self, key: str) -> None:
            await until(pool, "SELECT EXISTS (SELECT FROM uploads FOR UPDATE SKIP LOCKED)")
            await super().delete(key)

    with pytest.raises(TimeoutError):
        await remove_upload(pool, Hanging(settings.blobs), upload.id, account="default")
    assert await blobs.head(upload.key) is not None
    await remove_upload(pool, blobs, upload.id, account="default")
    assert await blobs.head(upload.key) is None


async def test_a_users_retry_after_its_upload_has_gone_fails_without_a_call(
    pool: asyncpg.Pool,
    queue: asyncpg.Pool,
    settings: Settings,
    blobs: LocalBlobStore,
    renderer: RenderPool,
    sandbox: RunningSandbox,
) -> None:
    upload = await keep_upload(pool, blobs, renderer, account="default", data=png())
    job_id = await submitted(pool, given(vendor_image("a", "400"), Reference(upload_id=upload.id)))
    before = (await images_of(pool, job_id))[0]["fingerprint"]
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await next_hint(pool, queue))
        await remove_upload(pool, blobs, upload.id, account="default")
        await retry(pool, job_id, account="default", run_limit_seconds=3600)
        assert (await images_of(pool, job_id))[0]["fingerprint"] == before, "the same request"
        await run(pipeline, await next_hint(pool, queue))
    assert await errors(pool, job_id) == {"a": ("STORAGE", "REFERENCE_GONE")}
    assert len(sandbox.vendor.calls) == 1


async def test_what_was_fetched_for_a_job_goes_a_day_after_the_job_was_removed(
    pool: asyncpg.Pool, queue: asyncpg.Pool, open_settings: Settings, blobs: LocalBlobStore, site: Site
) -> None:
    job_id = await submitted(pool, given(vendor_image("a"), Reference(url=at(site))))
    async with pipeline_of(open_settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await next_hint(pool, queue))
    key = await pool.fetchval("SELECT key FROM uploads")
    await pass_time(pool, seconds=2 * 86_400)
    assert await forget_uploads(pool, blobs) == 0, "a retry would be made from it"
    await remove(pool, job_id, account="default")
    assert await forget_uploads(pool, blobs) == 1
    assert await blobs.head(key) is None
    assert not await pool.fetchval("SELECT count(*) FROM image_references WHERE url <> ''")


async def test_what_an_address_gave_is_nobodys_upload(
    pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool
) -> None:
    fetched = await keep_upload(pool, blobs, renderer, account="default", data=png(), is_fetched=True)
    own = await keep_upload(pool, blobs, renderer, account="default", data=png())
    assert own.id != fetched.id
    with pytest.raises(Exception, match="no such upload"):
        await upload_of(pool, fetched.id, account="default")


async def test_more_than_20_mb_are_no_upload(pool: asyncpg.Pool, blobs: LocalBlobStore, renderer: RenderPool) -> None:
    with pytest.raises(UnusablePicture) as refusal:
        await keep_upload(pool, blobs, renderer, account="default", data=b"\0" * 20_000_001)
    assert refusal.value.slug == "image-too-large"


def test_pictures_make_requests_different_and_their_roles_do_not() -> None:
    plain = vendor_image("c")
    one, two = Reference(upload_id="upl_1"), Reference(upload_id="upl_2")
    there = Reference(url="https://a.example/1.png")
    ordered = [
        plain,
        given(plain, one),
        given(plain, two),
        given(plain, one, two),
        given(plain, two, one),
        given(plain, there),
        made_from(plain, "a"),
        replace(given(plain, one), mask="upl_2"),
    ]
    assert len({each.fingerprint for each in ordered}) == len(ordered)
    assert given(plain, replace(there, role="style")).fingerprint == given(plain, there).fingerprint
