from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from safelight.domain.checkup import Check, Verdict
from safelight.storage.bucket import Bucket
from safelight.storage.bucket_blobs import MARKER, BucketBlobStore
from safelight.storage.bucket_checkup import bucket_checks
from tests.s3 import AWAY, Answer, Fault, Request, Trouble, new_bucket, place_in, trouble_before


@pytest.fixture
async def trouble(s3: str) -> AsyncIterator[Trouble]:
    async with trouble_before(s3) as trouble:
        yield trouble


@pytest.fixture
def name(s3: str) -> str:
    return new_bucket(s3)


async def checked(trouble: Trouble, name: str, markers: str | None = None) -> dict[str, Check]:
    checks = await bucket_checks(place_in(trouble.url, name), markers=markers)
    return {check.name: check for check in checks}


async def test_a_bucket_that_can_do_its_work_is_left_as_it_was(trouble: Trouble, name: str) -> None:
    bucket = Bucket(place_in(trouble.url, name))
    marker = await BucketBlobStore(bucket).ensure_marker()
    checks = await checked(trouble, name, f"{marker} bucket")
    assert {each: check.verdict for each, check in checks.items()} == {"bucket": Verdict.OK}
    assert [each.name async for page in bucket.list() for each in page] == [".safelight-store"]


async def test_a_bucket_of_another_installation_is_a_problem(trouble: Trouble, name: str) -> None:
    checks = await checked(trouble, name, "another bucket")
    assert checks["bucket marker"].verdict is Verdict.PROBLEM
    assert "docs/operations.md" in checks["bucket marker"].remedy


@pytest.mark.parametrize(
    ("fault", "found", "remedy"),
    [
        (AWAY, "503 SlowDown", "region and endpoint"),
        (Answer(status=404, body=b"<Error><Code>NoSuchBucket</Code></Error>"), "404 NoSuchBucket", "bucket's name"),
        (Answer(status=403, body=b"<Error><Code>InvalidAccessKeyId</Code></Error>"), "403 Inv", "credentials"),
    ],
)
async def test_a_bucket_that_cannot_be_used_is_a_problem_with_its_own_words(
    trouble: Trouble, name: str, fault: Fault, found: str, remedy: str
) -> None:
    trouble.fault = lambda _request: fault
    check = (await checked(trouble, name)).popitem()[1]
    assert check.verdict is Verdict.PROBLEM
    assert found in check.found
    assert remedy in check.remedy


async def test_who_may_put_and_not_list_is_told_which_right_is_missing(trouble: Trouble, name: str) -> None:
    await BucketBlobStore(Bucket(place_in(trouble.url, name))).ensure_marker()
    put: set[str] = set()

    def fault(request: Request) -> Fault | None:
        if request.method == "PUT":
            put.add(request.path)
        is_allowed = request.path in put or request.path.endswith(MARKER)
        return None if is_allowed else Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")

    trouble.fault = fault
    checks = await checked(trouble, name)
    assert "s3:ListBucket" in checks["missing objects"].remedy


async def test_a_store_that_overwrites_what_is_there_is_told_of(trouble: Trouble, name: str) -> None:
    """Played by one that lies: it says yes to a put that it should have refused."""
    puts: list[Request] = []

    def fault(request: Request) -> Fault | None:
        if request.method == "PUT":
            puts.append(request)
        return Answer(status=200) if request.method == "PUT" and len(puts) == 2 else None

    trouble.fault = fault
    checks = await checked(trouble, name)
    assert checks["conditional put"].verdict is Verdict.WARNING


async def test_a_store_without_conditional_puts_is_a_problem(trouble: Trouble, name: str) -> None:
    trouble.fault = lambda request: (
        Answer(status=501, body=b"<Error><Code>NotImplemented</Code></Error>")
        if "if-none-match" in request.headers
        else None
    )
    assert "501 NotImplemented" in (await checked(trouble, name))["bucket"].found
