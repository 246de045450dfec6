"""Pictures that others are made from: kept without anything but their pixels, for a while, in one account.

Nothing of what was given is stored or handed on: a picture is decoded whole in a process without rights and written
anew. An upload never changes under its id, and does not go while a job that has not ended is to be made from it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS, ASIDE_SECONDS
from safelight.db.statements import load
from safelight.domain.errors import Conflict, NotFound, SafelightError, Unavailable
from safelight.domain.ids import UploadId, new_upload_id
from safelight.imaging.rendition import ChildDied, Cleaned, NoChild, NotAnImage, Reason
from safelight.storage.blob_store import BlobMissing, BlobStore
from safelight.storage.keys import upload_key

MAX_UPLOAD_BYTES = 20_000_000
UPLOAD_DAYS = 30.0
"""How long an upload is kept, unless the installation says otherwise."""

_DAY_SECONDS = 86_400.0
_LEFT_BEHIND_SECONDS = _DAY_SECONDS
"""One that was begun so long ago and never stored has nobody any more who would store it. Chosen."""
_AT_ONCE = 500

_SLUGS: Mapping[Reason, str] = {
    "not-an-image": "unsupported-image",
    "unsupported-format": "unsupported-image",
    "animated": "unsupported-image",
    "truncated": "corrupt-image",
    "too-large": "image-too-large",
}

_SQL = load("uploads")

log = structlog.get_logger(__name__)


class Cleaner(Protocol):
    """What decodes strangers' files: the render pool."""

    async def clean(self, data: bytes) -> Cleaned:
        """Raises NotAnImage, which is final, and ChildDied."""
        ...


class UnusablePicture(SafelightError):
    """What was given is no picture that can be used, and never will be. `is_animated`: only because it moves."""

    def __init__(self, detail: str, *, slug: str, is_animated: bool = False) -> None:
        super().__init__(detail, slug=slug)
        self.is_animated = is_animated


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """`sha256` and `length` are of what is kept. `has_alpha`: something in it is transparent; it is a PNG then."""

    id: UploadId
    account: str
    key: str
    format: str
    mime: str
    width_px: int
    height_px: int
    length: int
    sha256: str
    has_alpha: bool
    is_fetched: bool
    created_at: datetime
    expires_at: datetime


async def keep_upload(
    pool: asyncpg.Pool,
    blobs: BlobStore,
    renderer: Cleaner,
    *,
    account: str,
    data: bytes,
    days: float = UPLOAD_DAYS,
    is_fetched: bool = False,
) -> Upload:
    """The picture is kept, durably, for `days` at least. The same bytes of the same account are the same upload.

    Raises UnusablePicture (`unsupported-image`, `corrupt-image`, `image-too-large`), Unavailable while there is no
    process to decode it in, and OSError when it cannot be stored.
    """
    given_sha256 = hashlib.sha256(data).hexdigest()
    same = await _same(pool, account, given_sha256, is_fetched=is_fetched, days=days)
    if same is not None:
        return same
    picture = await _cleaned(renderer, data)
    upload_id = new_upload_id()
    key = upload_key(account=account, upload_id=upload_id, extension=picture.extension)
    await pool.execute(
        _SQL.begin_upload,
        upload_id,
        account,
        given_sha256,
        is_fetched,
        key,
        picture.format,
        picture.mime,
        picture.width_px,
        picture.height_px,
        len(picture.data),
        picture.sha256,
        picture.has_alpha,
        days * _DAY_SECONDS,
        timeout=ACQUIRE_SECONDS,
    )
    await blobs.put(key, picture.data, content_type=picture.mime)
    try:
        row = await pool.fetchrow(_SQL.end_upload, upload_id, timeout=ACQUIRE_SECONDS)
    except asyncpg.UniqueViolationError:
        await blobs.delete(key)
        await pool.execute(_SQL.delete_upload, upload_id, timeout=ACQUIRE_SECONDS)
        row = None
    if row is not None:
        return _upload(row)
    same = await _same(pool, account, given_sha256, is_fetched=is_fetched, days=days)
    if same is None:
        raise Unavailable("The same picture is being deleted just now.")
    return same


async def uploads_of(pool: asyncpg.Pool, ids: Collection[str], *, account: str | None) -> Mapping[str, Upload]:
    """Those that the account has of these, by id: what a request may name. None is whoever may reach all accounts. The
    database is not asked for none."""
    if not ids:
        return {}
    rows = await pool.fetch(_SQL.uploads_of, account, list(ids), timeout=ACQUIRE_SECONDS)
    return {row["id"]: _upload(row) for row in rows}


async def upload_of(pool: asyncpg.Pool, upload_id: str, *, account: str | None) -> Upload:
    """Raises NotFound."""
    found = await uploads_of(pool, [upload_id], account=account)
    if upload_id not in found:
        raise _unknown()
    return found[upload_id]


async def content_of(pool: asyncpg.Pool, blobs: BlobStore, upload: Upload) -> bytes:
    """Its bytes, whole. Raises NotFound for one that has been deleted meanwhile, and Unavailable."""
    try:
        data = await blobs.get(upload.key)
    except BlobMissing:
        data = b""
    if hashlib.sha256(data).hexdigest() == upload.sha256:
        return data
    # Bytes go before their row does: this waits for a deletion that has begun.
    if not await pool.fetchval(_SQL.hold_uploads, upload.account, [upload.id], timeout=ACQUIRE_SECONDS):
        raise _unknown()
    raise Unavailable("The picture cannot be read from the storage at the moment.")


async def remove_upload(pool: asyncpg.Pool, blobs: BlobStore, upload_id: str, *, account: str | None) -> None:
    """The upload and its bytes are gone. Raises NotFound, and Conflict (`upload-in-use`)."""
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        key = await conn.fetchval(_SQL.lock_upload, account, upload_id)
        if key is None:
            raise _unknown()
        if await conn.fetchval(_SQL.is_in_use, upload_id):
            raise Conflict("A job that has not ended is to be made from this upload.", slug="upload-in-use")
        await _delete(conn, blobs, upload_id, key)


async def forget_uploads(pool: asyncpg.Pool, blobs: BlobStore) -> int:
    """Deletes what is past its time, or was fetched for jobs that have been removed since, and is in no job that lives.
    How many that was."""
    forgotten = 0
    while True:
        rows = await pool.fetch(_SQL.expired_uploads, _AT_ONCE, _LEFT_BEHIND_SECONDS, timeout=ACQUIRE_SECONDS)
        deleted = sum([await _forget(pool, blobs, row["id"]) for row in rows])
        forgotten += deleted
        if not deleted or len(rows) < _AT_ONCE:
            break
    if forgotten:
        log.info("uploads that are past their time", deleted=forgotten)
    return forgotten


async def _forget(pool: asyncpg.Pool, blobs: BlobStore, upload_id: str) -> bool:
    """False for one that somebody has locked, or that is needed after all."""
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        expired = await conn.fetchrow(_SQL.lock_expired_upload, upload_id, _LEFT_BEHIND_SECONDS)
        if expired is None or await conn.fetchval(_SQL.is_in_use, upload_id):
            return False
        if not expired["is_over"] and await conn.fetchval(_SQL.is_named, upload_id):
            return False
        await _delete(conn, blobs, upload_id, expired["key"])
        return True


async def _delete(conn: Any, blobs: BlobStore, upload_id: str, key: str) -> None:
    """The bytes first: a row without them is deleted the next time, bytes without a row never."""
    async with asyncio.timeout(ASIDE_SECONDS):
        await blobs.delete(key)
    await conn.execute(_SQL.delete_upload, upload_id)


async def _same(pool: asyncpg.Pool, account: str, given_sha256: str, *, is_fetched: bool, days: float) -> Upload | None:
    row = await pool.fetchrow(
        _SQL.same_upload, account, given_sha256, is_fetched, days * _DAY_SECONDS, timeout=ACQUIRE_SECONDS
    )
    return _upload(row) if row is not None else None


async def _cleaned(renderer: Cleaner, data: bytes) -> Cleaned:
    """A picture that takes a process down with it twice is at fault itself."""
    if len(data) > MAX_UPLOAD_BYTES:
        raise UnusablePicture(f"The picture has more than {MAX_UPLOAD_BYTES // 1_000_000} MB.", slug="image-too-large")
    try:
        try:
            return await renderer.clean(data)
        except NoChild:
            raise
        except ChildDied:
            return await renderer.clean(data)
    except NotAnImage as refusal:
        detail = f"The picture cannot be used: {refusal.message}."
        raise UnusablePicture(detail, slug=_SLUGS[refusal.code], is_animated=refusal.code == "animated") from None
    except NoChild:
        raise Unavailable("There is no process to decode the picture in at the moment.") from None
    except ChildDied:
        detail = "The picture cannot be used: decoding it takes more time or memory than it may."
        raise UnusablePicture(detail, slug="corrupt-image") from None


def _upload(row: asyncpg.Record) -> Upload:
    return Upload(**row)


def _unknown() -> NotFound:
    return NotFound("There is no such upload.")
