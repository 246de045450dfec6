"""A bucket that fails, hangs, lies or breaks off: an OSError in time, and never a blob, or a loss, that is none."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from safelight.storage.blob_store import BlobConflict, BlobMissing
from safelight.storage.bucket import THREADS, Bucket, BucketRefuses, BucketTrouble
from safelight.storage.bucket_blobs import BucketBlobStore
from tests.s3 import AWAY, Answer, Cut, Fault, Request, Silence, Trouble, new_bucket, place_in, trouble_before

KEY = "job_1/evidence/ev-1.card-0000000112345678.jpg"


@pytest.fixture
async def trouble(s3: str) -> AsyncIterator[Trouble]:
    async with trouble_before(s3) as trouble:
        yield trouble


@pytest.fixture
def name(s3: str) -> str:
    return new_bucket(s3)


@pytest.fixture
def sound(s3: str, name: str) -> BucketBlobStore:
    """The same store, by a way without trouble."""
    return BucketBlobStore(Bucket(place_in(s3, name)))


def behind(trouble: Trouble, name: str, *, timeout_seconds: float = 20.0) -> BucketBlobStore:
    return BucketBlobStore(Bucket(place_in(trouble.url, name, timeout_seconds=timeout_seconds)))


async def put(store: BucketBlobStore, data: bytes = b"picture") -> None:
    await store.put(KEY, data, content_type="image/jpeg")


def once(fault: Fault, *, method: str) -> Callable[[Request], Fault | None]:
    """The first request of this kind meets the fault."""
    left = [fault]
    return lambda request: left.pop() if request.method == method and left else None


@pytest.mark.parametrize(
    "fault",
    [
        AWAY,
        Answer(status=500),
        Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"),
        Answer(status=404, body=b"<Error><Code>NoSuchBucket</Code></Error>"),
        Answer(status=404, body=b"a proxy without the bucket behind it"),
        Answer(status=501, body=b"<Error><Code>NotImplemented</Code></Error>"),
        Cut(),
    ],
    ids=["503", "500", "403", "no bucket", "bare 404", "501", "cut"],
)
async def test_an_operation_that_fails_raises_an_os_error_and_nothing_else(
    trouble: Trouble, name: str, fault: Fault
) -> None:
    store = behind(trouble, name)
    trouble.fault = lambda _request: fault
    for operation in (
        put(store),
        store.get(KEY),
        store.read(KEY, start=1),
        store.head(KEY),
        store.delete(KEY),
        store.delete_old(KEY, older_than_seconds=0),
        store.ensure_marker(),
    ):
        with pytest.raises(OSError):  # noqa: PT011 - that it is one is all that is promised
            await operation
    with pytest.raises(OSError):  # noqa: PT011
        async with aclosing(store.keys(older_than_seconds=0)) as steps:
            await anext(steps)


async def test_a_bucket_that_does_not_answer_is_given_up_in_time_and_its_threads_are_bounded(
    trouble: Trouble, name: str
) -> None:
    store = behind(trouble, name, timeout_seconds=0.5)
    trouble.fault = lambda _request: Silence()
    began_at = time.monotonic()
    outcomes = await asyncio.gather(*(store.get(KEY) for _ in range(3 * THREADS)), return_exceptions=True)
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    assert time.monotonic() - began_at < 20
    assert len(trouble.seen) <= 2 * THREADS, "those that had no thread in time are not sent any more"


async def test_a_store_that_takes_a_blob_and_does_not_keep_it_is_noticed(
    trouble: Trouble, name: str, sound: BucketBlobStore
) -> None:
    trouble.fault = lambda request: Answer(status=200) if request.method == "PUT" else None
    store = behind(trouble, name)
    for writing in (put(store), store.ensure_marker()):
        with pytest.raises(BucketTrouble, match="does not have it"):
            await writing
    trouble.fault = lambda _request: Answer(status=200)
    with pytest.raises(BucketTrouble):
        await store.ensure_marker()
    assert await sound.head(KEY) is None


async def test_a_lie_that_is_told_once_is_made_good(trouble: Trouble, name: str, sound: BucketBlobStore) -> None:
    trouble.fault = once(Answer(status=200), method="PUT")
    await put(behind(trouble, name))
    assert await sound.get(KEY) == b"picture"


async def test_an_upload_that_is_cut_off_leaves_nothing_and_may_be_repeated(
    trouble: Trouble, name: str, sound: BucketBlobStore
) -> None:
    store = behind(trouble, name)
    trouble.fault = lambda request: Cut() if request.method == "PUT" else None
    with pytest.raises(OSError, match="bucket"):
        await put(store, b"picture" * 200_000)
    assert await sound.head(KEY) is None
    trouble.come_back()
    await put(store, b"picture" * 200_000)
    assert await sound.get(KEY) == b"picture" * 200_000


async def test_a_put_whose_answer_was_lost_succeeds_when_it_is_repeated(
    trouble: Trouble, name: str, sound: BucketBlobStore
) -> None:
    store = behind(trouble, name)
    trouble.fault = once(Answer(status=500, is_late=True), method="PUT")
    with pytest.raises(OSError, match="500"):
        await put(store)
    await put(store)
    assert await sound.get(KEY) == b"picture"
    with pytest.raises(BlobConflict):
        await put(store, b"another")


async def test_a_conflict_with_a_writer_at_work_is_tried_again(trouble: Trouble, name: str) -> None:
    conflict = Answer(status=409, body=b"<Error><Code>ConditionalRequestConflict</Code></Error>")
    trouble.fault = once(conflict, method="PUT")
    store = behind(trouble, name)
    await put(store)
    assert await store.get(KEY) == b"picture"
    assert [request.method for request in trouble.seen][:4] == ["PUT", "GET", "PUT", "HEAD"]


async def test_what_is_missing_is_missing_only_when_the_bucket_itself_says_so(trouble: Trouble, name: str) -> None:
    store = behind(trouble, name)
    with pytest.raises(BlobMissing):
        await store.get(KEY)
    assert await store.head(KEY) is None
    gone = BucketBlobStore(Bucket(place_in(trouble.upstream, "no-such-bucket")))
    with pytest.raises(BucketTrouble, match="NoSuchBucket"):
        await gone.get(KEY)
    with pytest.raises(BucketTrouble, match="NoSuchBucket"):
        await gone.head(KEY)


async def test_the_same_bytes_put_again_are_written_again_when_they_are_not_young_any_more(
    trouble: Trouble, name: str
) -> None:
    bucket = Bucket(place_in(trouble.url, name))
    await put(BucketBlobStore(bucket))
    await put(BucketBlobStore(bucket))
    await put(BucketBlobStore(bucket, young_seconds=-60))
    sent = [request for request in trouble.seen if request.method == "PUT"]
    assert [request.headers.get("if-none-match") for request in sent] == ["*", "*", "*", None]
    for request in sent:
        assert request.headers["content-type"] == "image/jpeg"
        assert "immutable" in request.headers["cache-control"]


async def test_an_answer_is_told_without_what_was_asked(
    trouble: Trouble, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    trouble.fault = lambda _request: Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
    with caplog.at_level(logging.DEBUG), pytest.raises(BucketRefuses) as refused:
        await behind(trouble, name).get(KEY)
    assert refused.value.strerror == "the bucket answered 403 AccessDenied"
    for secret in ("test-secret", trouble.url, "Signature"):
        assert secret not in str(refused.value)
        assert secret not in caplog.text


async def test_an_address_without_a_key_gives_the_blob_for_a_while(trouble: Trouble, sound: BucketBlobStore) -> None:
    await put(sound)
    address = await sound.presign(KEY, expires_seconds=60)
    with await asyncio.to_thread(urllib.request.urlopen, address) as answer:
        assert answer.read() == b"picture"
        assert answer.headers["Content-Type"] == "image/jpeg"
    assert "X-Amz-Expires=60" in address
