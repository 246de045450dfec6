"""Whether the bucket does what the promises rest on, tried with an object of our own that is removed again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable
from typing import TypeVar

from safelight.domain.checkup import Check, Verdict
from safelight.storage.bucket import Bucket, BucketRefuses, BucketTrouble
from safelight.storage.bucket_blobs import MARKER, PROBE
from safelight.storage.checkup import AREA
from safelight.storage.place import BucketPlace

_SLOW_SECONDS = 2.0
_SKEW_SECONDS = 60.0
"""Beyond this the bucket's dates and ours do not mean the same any more; what is deleted by age is a day old."""

T = TypeVar("T")

_TEXT, _FIRST, _SECOND = "text/plain", b"safelight doctor", b"safelight doctor, again"


async def bucket_checks(place: BucketPlace, *, markers: str | None) -> list[Check]:
    """A bucket that can do its work gives one check. `markers` are what the database belongs to, when that is known."""
    try:
        bucket = Bucket(place)
    except ValueError as error:
        return [
            _problem("bucket", f"`{place}`: {error}", "Set what this vendor's own tools need, such as its account.")
        ]
    try:
        return await _checks(bucket, expected=(markers or "").partition(" ")[0])
    except BucketRefuses as error:
        remedy = (
            "Look at the credentials in the environment of the process, and at what they may do: list the bucket, "
            "and get, put and delete its objects."
        )
        return [_problem("bucket", f"`{place}`: {error.strerror}", remedy)]
    except OSError as error:
        return [
            _problem("bucket", f"`{place}`: {error.strerror}", "Look at the bucket's name, its region and endpoint.")
        ]
    finally:
        bucket.close()


async def _checks(bucket: Bucket, *, expected: str) -> list[Check]:
    """Raises OSError when an operation fails that everything rests on."""
    name = f"{PROBE}-{secrets.token_hex(8)}"
    missing = await _missing(bucket, name)
    began_at = time.time()
    try:
        await _put(bucket, name)
        seconds = time.time() - began_at
        skew_seconds = await _skew_seconds(bucket, name, began_at)
        condition = await _condition(bucket, name)
    finally:
        await _within(bucket, bucket.delete(name))
    found = f"`{bucket.place}` takes, gives and deletes objects"
    return [
        Check(area=AREA, name="bucket", verdict=Verdict.OK, found=found),
        *missing,
        *condition,
        *_speed(seconds),
        *_clock(skew_seconds),
        *_marker(await _within(bucket, bucket.get(MARKER)), expected, bucket.place),
    ]


async def _put(bucket: Bucket, name: str) -> None:
    """An object that comes back as it went. Raises OSError."""
    await _within(bucket, bucket.create(name, _FIRST, content_type=_TEXT, sha256=""))
    if await _within(bucket, bucket.get(name)) != _FIRST:
        raise BucketTrouble("it took an object and does not have it")


async def _missing(bucket: Bucket, name: str) -> list[Check]:
    """Who may not list a bucket is told `forbidden` of what is not there, and could not tell a loss from a lock."""
    try:
        await _within(bucket, bucket.get(name))
    except BucketRefuses as error:
        found = f"of an object that does not exist {error.strerror}"
        remedy = "Allow listing the bucket too (`s3:ListBucket`, on the bucket itself)."
        return [_problem("missing objects", found, remedy)]
    return []


async def _condition(bucket: Bucket, name: str) -> list[Check]:
    """Whether an object that is there keeps others from taking its name."""
    try:
        is_overwritten = await _within(bucket, bucket.create(name, _SECOND, content_type=_TEXT, sha256=""))
    except OSError as error:
        found = f"the bucket knows no conditional put (`If-None-Match: *`): {error.strerror}"
        return [_problem("conditional put", found, "Use a store that has it; nothing can be stored in this one.")]
    if not is_overwritten and await _within(bucket, bucket.get(name)) == _FIRST:
        return []
    return [
        Check(
            area=AREA,
            name="conditional put",
            verdict=Verdict.WARNING,
            found="the bucket ignores `If-None-Match: *`: an object that is there is overwritten",
            meaning="Pictures keep apart by their names, which hold their digest; nothing else guards them here.",
            remedy="Use a store that honours it, or let nobody but Safelight write below this prefix.",
        )
    ]


async def _skew_seconds(bucket: Bucket, name: str, began_at: float) -> float:
    """How far the bucket's date of an object lies outside of the time in which it was put; dates are whole seconds."""
    info = await _within(bucket, bucket.head(name))
    if info is None:
        raise BucketTrouble("it took an object and does not have it")
    put_at = info.put_at.timestamp()
    return put_at - time.time() if put_at > time.time() else min(put_at - began_at, 0.0)


async def _within(bucket: Bucket, request: Awaitable[T]) -> T:
    async with bucket.within_deadline():
        return await request


def _speed(seconds: float) -> list[Check]:
    if seconds <= _SLOW_SECONDS:
        return []
    return [
        Check(
            area=AREA,
            name="bucket speed",
            verdict=Verdict.WARNING,
            found=f"a small object took {seconds:.1f} s to be put and read",
            meaning="Every picture waits for that several times before it goes on.",
            remedy="Run workers in the bucket's region.",
        )
    ]


def _clock(skew_seconds: float) -> list[Check]:
    if abs(skew_seconds) <= _SKEW_SECONDS:
        return []
    return [
        Check(
            area=AREA,
            name="bucket clock",
            verdict=Verdict.WARNING,
            found=f"the bucket's clock is {abs(skew_seconds):.0f} s {'ahead' if skew_seconds > 0 else 'behind'}",
            meaning="Signed requests fail from a quarter of an hour on, and what is deleted by age goes by its dates.",
            remedy="Let this machine's clock be set by NTP.",
        )
    ]


def _marker(found: bytes | None, expected: str, place: BucketPlace) -> list[Check]:
    if not expected or (found or b"").decode(errors="replace") == expected:
        return []
    return [
        Check(
            area=AREA,
            name="bucket marker",
            verdict=Verdict.PROBLEM,
            found=f"`{place}` is not the store that the database belongs to",
            meaning="Workers refuse to start: they would not find pictures that are paid for, and buy them again.",
            remedy="Set SAFELIGHT_STORAGE_URL to that of the other workers; to move a store, see docs/operations.md.",
        )
    ]


def _problem(name: str, found: str, remedy: str) -> Check:
    return Check(
        area=AREA,
        name=name,
        verdict=Verdict.PROBLEM,
        found=found,
        meaning="Pictures have nowhere to go; those that are paid for meanwhile wait on the disk of their host.",
        remedy=remedy,
    )
