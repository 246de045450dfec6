"""Paid bytes in the bucket, found from any host; and on this host's disk while the bucket is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from safelight.storage.bucket import Bucket
from safelight.storage.bucket_staging import BucketStaging
from safelight.storage.keys import STAGING
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import BroughtBack, Staged, StagedConflict, StagedCorrupt
from tests.receipts import BYTES, receipt_for
from tests.s3 import Answer, Trouble, new_bucket, place_in, trouble_before


@pytest.fixture
async def trouble(s3: str) -> AsyncIterator[Trouble]:
    async with trouble_before(s3) as trouble:
        yield trouble


class Hosts:
    """Hosts that share a bucket and nothing else; each is a staging place with a disk of its own."""

    def __init__(self, root: Path, trouble: Trouble) -> None:
        self.root = root
        self.trouble = trouble
        self.bucket = Bucket(place_in(trouble.url, new_bucket(trouble.upstream)))

    def host(self, name: str) -> BucketStaging:
        return BucketStaging(self.bucket, LocalStaging(self.root / name))

    def disk(self, name: str) -> set[str]:
        return {path.name for path in (self.root / name).iterdir() if not path.name.startswith(".")}

    async def objects(self) -> set[str]:
        return {each.name.rpartition("/")[2] async for page in self.bucket.list(STAGING) for each in page}

    async def write(self, name: str, data: bytes) -> None:
        await self.bucket.overwrite(f"{STAGING}/{name}", data, content_type="x/y", sha256="0" * 64)


@pytest.fixture
def hosts(tmp_path: Path, trouble: Trouble) -> Hosts:
    return Hosts(tmp_path, trouble)


async def test_what_one_host_staged_another_one_finds_and_discards(hosts: Hosts) -> None:
    a, b = hosts.host("a"), hosts.host("b")
    assert await a.stage(receipt_for(), BYTES) == Staged(receipt=receipt_for())
    assert await b.pending() == [receipt_for()]
    assert await b.load("att_1") == (receipt_for(), BYTES)
    assert hosts.disk("a") == set()
    await b.discard("att_1")
    assert (await a.pending(), await a.load("att_1"), await hosts.objects()) == ([], None, set())
    assert a.free_bytes() is None


async def test_the_bytes_are_there_before_their_sidecar_and_go_after_it(hosts: Hosts) -> None:
    a = hosts.host("a")
    await a.stage(receipt_for(), BYTES)
    await a.discard("att_1")
    written = [(each.method, each.path.rpartition(".")[2]) for each in hosts.trouble.seen]
    assert written == [
        ("PUT", "bin"),
        ("HEAD", "bin"),
        ("PUT", "json"),
        ("HEAD", "json"),
        ("DELETE", "json"),
        ("DELETE", "bin"),
    ]


async def test_while_the_bucket_is_away_bytes_are_staged_on_this_host_and_it_is_said_so(hosts: Hosts) -> None:
    a, b = hosts.host("a"), hosts.host("b")
    hosts.trouble.go_away()
    staged = await a.stage(receipt_for(), BYTES)
    assert staged.only_in
    assert hosts.disk("a") == {"att_1.bin", "att_1.json"}
    assert await a.load("att_1") == (receipt_for(), BYTES)
    assert (a.free_bytes() or 0) > 0, "the disk counts now"
    assert await a.bring_back() == BroughtBack(stranded=(receipt_for(),), here=staged.only_in)
    for asking in (b.load("att_1"), b.pending(), b.corrupt()):
        with pytest.raises(OSError, match="503"):
            await asking
    asked = len(hosts.trouble.seen)
    await a.stage(receipt_for("att_2"), BYTES)
    assert len(hosts.trouble.seen) == asked, "no deadline is waited for again and again"
    await a.probe()


async def test_what_lies_on_one_host_is_brought_back_when_the_bucket_answers_again(hosts: Hosts) -> None:
    a, b = hosts.host("a"), hosts.host("b")
    hosts.trouble.go_away()
    for attempt_id in ("att_1", "att_2"):
        await a.stage(receipt_for(attempt_id), BYTES)
    hosts.trouble.come_back()
    assert await b.load("att_1") is None, "nobody else can see it yet"
    restarted = hosts.host("a")
    back = await restarted.bring_back()
    assert (back.moved, back.stranded) == (("att_1", "att_2"), ())
    assert hosts.disk("a") == set()
    assert await b.load("att_1") == (receipt_for(), BYTES)
    assert (await a.bring_back()).moved == ()
    assert (await a.stage(receipt_for("att_3"), BYTES)).only_in is None


async def test_when_the_disk_refuses_too_the_bucket_is_asked_once_more(hosts: Hosts, tmp_path: Path) -> None:
    a = hosts.host("a")
    (tmp_path / "a").rmdir()
    hosts.trouble.go_away()
    with pytest.raises(OSError, match="503"):
        await a.stage(receipt_for(), BYTES)
    with pytest.raises(OSError):  # noqa: PT011
        await a.probe()
    hosts.trouble.come_back()
    assert (await a.stage(receipt_for(), BYTES)).only_in is None


async def test_a_bucket_that_takes_bytes_and_does_not_keep_them_is_not_trusted_with_them(hosts: Hosts) -> None:
    a = hosts.host("a")
    hosts.trouble.fault = lambda request: Answer(status=200) if request.method == "PUT" else None
    assert (await a.stage(receipt_for(), BYTES)).only_in
    hosts.trouble.come_back()
    assert (await a.bring_back()).moved == ("att_1",)
    assert await hosts.host("b").load("att_1") == (receipt_for(), BYTES)


async def test_bytes_without_a_sidecar_are_listed_by_nobody_replaced_and_removed_when_old(hosts: Hosts) -> None:
    a = hosts.host("a")
    await hosts.write("att_1.bin", b"half a")
    await hosts.write("att_2.bin", b"of somebody who died")
    assert (await a.pending(), await a.corrupt(), await a.load("att_1")) == ([], [], None)
    await a.stage(receipt_for(), BYTES)
    assert await a.remove_incomplete(older_than_seconds=3600) == 0
    assert await a.remove_incomplete(older_than_seconds=-3600) == 1
    assert await hosts.objects() == {"att_1.bin", "att_1.json"}
    assert await a.load("att_1") == (receipt_for(), BYTES)


async def test_corrupt_attempts_are_told_by_name_and_do_not_hide_the_others(hosts: Hosts) -> None:
    a = hosts.host("a")
    for attempt_id in ("good", "lost", "short", "swapped", "torn"):
        await a.stage(receipt_for(attempt_id), BYTES)
    await a.pending()
    await hosts.write("torn.json", b'{"version": 1')
    await hosts.write("short.bin", BYTES[:-1])
    await hosts.write("swapped.json", (await hosts.bucket.get(f"{STAGING}/good.json")) or b"")
    await hosts.bucket.delete(f"{STAGING}/lost.bin")
    await hosts.write("no attempt.json".replace(" ", "."), b"{}")
    assert await a.pending() == [receipt_for("good")]
    assert await a.corrupt() == ["lost.json", "no.attempt.json", "short.json", "swapped.json", "torn.json"]
    for name in ("lost", "short", "swapped", "torn"):
        with pytest.raises(StagedCorrupt):
            await a.load(name)


async def test_other_bytes_never_replace_those_that_are_staged(hosts: Hosts) -> None:
    a, b = hosts.host("a"), hosts.host("b")
    await a.stage(receipt_for(), BYTES)
    with pytest.raises(StagedConflict):
        await b.stage(receipt_for(data=b"other"), b"other")
    later = replace(receipt_for(), received_at="2026-11-21T00:00:00Z")
    assert await b.stage(later, BYTES) == Staged(receipt=receipt_for())
    assert await b.load("att_1") == (receipt_for(), BYTES)


async def test_a_sidecar_is_read_once_however_often_it_is_listed(hosts: Hosts) -> None:
    a = hosts.host("a")
    for number in range(5):
        await a.stage(receipt_for(f"att_{number}"), BYTES)
    assert len(await a.pending()) == 5
    asked = len(hosts.trouble.seen)
    assert len(await a.pending()) == 5
    assert [each.query.partition("&")[0] for each in hosts.trouble.seen[asked:]] == ["list-type=2"]
