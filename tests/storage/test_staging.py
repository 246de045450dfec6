from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed_at_each_step import killed_at_each_step, trace_of

from safelight.domain.money import Cost, CostBasis
from safelight.storage import durable
from safelight.storage.local_staging import LocalStaging
from safelight.storage.place import BucketPlace, Folder
from safelight.storage.staging import Receipt, Staged, StagedConflict, StagedCorrupt, Staging
from safelight.storage.stores import open_stores
from tests.s3 import new_bucket, place_in

BYTES = b"paid for" * 10_000


def _receipt(data: bytes = BYTES, **fields: Any) -> Receipt:
    good: dict[str, Any] = {
        "attempt_id": "att_1",
        "image_row_id": 4711,
        "job_id": "job_1",
        "sha256": hashlib.sha256(data).hexdigest(),
        "length": len(data),
        "claimed_mime": "image/png",
        "cost_microusd": 39_000,
        "cost_basis": CostBasis.USAGE,
        "price_ref": "gemini@2026-11",
        "usage": {"output_tokens": 1290, "details": [{"modality": "IMAGE"}]},
        "request_id": "req_1",
        "model_version": None,
        "received_at": "2026-11-20T22:04:05Z",
    }
    return Receipt(**{**good, **fields})


@pytest.fixture
def staging(tmp_path: Path) -> LocalStaging:
    return LocalStaging(tmp_path)


@pytest.fixture(params=["folder", "bucket"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Staging]:
    """What every staging place promises, whatever it is made of."""
    place: Folder | BucketPlace = Folder(root=tmp_path / "blobs")
    if request.param == "bucket":
        s3 = request.getfixturevalue("s3")
        place = place_in(s3, new_bucket(s3))
    stores = open_stores(place, staging_folder=tmp_path / "staging")
    yield stores.staging
    stores.close()


async def test_a_staged_attempt_is_found_by_another_process_with_all_its_receipt_says(
    staging: LocalStaging, tmp_path: Path
) -> None:
    staged = await staging.stage(_receipt(), BYTES)

    restarted = LocalStaging(tmp_path)
    assert await restarted.pending() == [_receipt()]
    assert await restarted.load("att_1") == (_receipt(), BYTES)
    assert _receipt().cost == Cost(39_000, CostBasis.USAGE, "gemini@2026-11")
    assert staged == Staged(receipt=_receipt(), only_in=None)
    assert (tmp_path / "att_1.bin").read_bytes() == BYTES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["att_1.bin", "att_1.json"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


async def test_pending_attempts_come_in_the_order_they_were_received(either: Staging) -> None:
    for attempt_id, minute in (("b", "03"), ("a", "02"), ("c", "01")):
        await either.stage(_receipt(attempt_id=attempt_id, received_at=f"2026-11-20T22:{minute}:00Z"), BYTES)

    assert [receipt.attempt_id for receipt in await either.pending()] == ["c", "a", "b"]


async def test_nothing_staged_is_none(either: Staging) -> None:
    assert await either.load("att_1") is None
    assert await either.pending() == []
    await either.discard("att_1")


async def test_a_discarded_attempt_leaves_nothing(staging: LocalStaging, tmp_path: Path) -> None:
    await staging.stage(_receipt(), BYTES)

    await staging.discard("att_1")

    assert await staging.load("att_1") is None
    assert list(tmp_path.iterdir()) == []


async def test_staging_the_same_bytes_again_returns_the_first_receipt(either: Staging) -> None:
    await either.stage(_receipt(), BYTES)

    again = await either.stage(_receipt(received_at="2026-11-20T23:00:00Z"), BYTES)

    assert again.receipt == _receipt()
    assert await either.pending() == [_receipt()]


async def test_staged_bytes_are_never_replaced_by_others(either: Staging) -> None:
    await either.stage(_receipt(), BYTES)

    with pytest.raises(StagedConflict):
        await either.stage(_receipt(b"other"), b"other")

    assert await either.load("att_1") == (_receipt(), BYTES)


async def test_a_receipt_that_does_not_describe_its_bytes_is_refused(staging: LocalStaging, tmp_path: Path) -> None:
    for receipt in (_receipt(length=1), _receipt(sha256="0" * 64)):
        with pytest.raises(ValueError, match="does not describe"):
            await staging.stage(receipt, BYTES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("attempt_id", ["", ".", "..", "../x", "a/b", "a.b", "a\0b", "x" * 201, "é"])
async def test_an_attempt_id_cannot_lead_out_of_the_folder(either: Staging, attempt_id: str) -> None:
    for operation in (
        either.stage(_receipt(attempt_id=attempt_id), BYTES),
        either.load(attempt_id),
        either.discard(attempt_id),
    ):
        with pytest.raises(ValueError, match="is not an attempt id"):
            await operation


def test_an_amount_without_a_basis_is_no_receipt() -> None:
    with pytest.raises(ValueError, match="basis"):
        _receipt(cost_microusd=1, cost_basis=CostBasis.UNKNOWN)
    with pytest.raises(ValueError, match="basis"):
        _receipt(cost_microusd=None)


async def test_parts_and_bytes_without_a_sidecar_are_never_listed(staging: LocalStaging, tmp_path: Path) -> None:
    (tmp_path / "att_1.bin").write_bytes(BYTES)
    (tmp_path / ".0123~part").write_bytes(BYTES[:100])

    assert await staging.pending() == []
    assert await staging.corrupt() == []
    assert await staging.load("att_1") is None

    await staging.stage(_receipt(), BYTES)
    assert await staging.load("att_1") == (_receipt(), BYTES)


async def test_a_writer_that_was_stopped_while_another_finished_leaves_no_receipt_of_bytes_that_are_gone(
    staging: LocalStaging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have fetched the picture of one job; the one that owns the image by now needs it no more."""
    other, sync = LocalStaging(tmp_path), durable.sync

    def stopped(folder: int) -> None:
        if (tmp_path / "att_1.bin").exists():
            monkeypatch.setattr(durable, "sync", sync)
            asyncio.run(other.stage(_receipt(), BYTES))
            asyncio.run(other.discard("att_1"))
        sync(folder)

    monkeypatch.setattr(durable, "sync", stopped)
    await staging.stage(_receipt(), BYTES)

    assert await staging.corrupt() == []
    assert await staging.load("att_1") is None
    assert list(tmp_path.iterdir()) == []


async def test_leftovers_are_removed_when_they_are_old_and_complete_attempts_never(
    staging: LocalStaging, tmp_path: Path
) -> None:
    await staging.stage(_receipt(), BYTES)
    (tmp_path / "att_2.bin").write_bytes(BYTES)
    (tmp_path / ".0123~part").write_bytes(b"")

    assert await staging.remove_incomplete(older_than_seconds=3600) == 0
    assert await staging.remove_incomplete(older_than_seconds=0) == 2
    assert await staging.load("att_1") == (_receipt(), BYTES)


async def test_corrupt_attempts_are_told_by_name_and_do_not_hide_the_others(
    staging: LocalStaging, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for attempt_id in ("good", "torn", "lost", "short", "bare", "swapped"):
        await staging.stage(_receipt(attempt_id=attempt_id), BYTES)
    (tmp_path / "torn.json").write_bytes((tmp_path / "torn.json").read_bytes()[:100])
    (tmp_path / "lost.bin").unlink()
    (tmp_path / "short.bin").write_bytes(BYTES[:-1])
    (tmp_path / "bare.json").write_text("[]")
    (tmp_path / "swapped.json").write_bytes((tmp_path / "good.json").read_bytes())
    (tmp_path / "folder.json").mkdir()

    names = ["bare.json", "folder.json", "lost.json", "short.json", "swapped.json", "torn.json"]
    assert await staging.pending() == [_receipt(attempt_id="good")]
    assert await staging.corrupt() == names
    assert all(name in caplog.text for name in names)
    for name in ("torn", "lost", "short", "bare", "swapped"):
        with pytest.raises(StagedCorrupt):
            await staging.load(name)


async def test_bytes_that_rotted_are_found_by_their_digest_and_may_be_staged_anew(
    staging: LocalStaging, tmp_path: Path
) -> None:
    await staging.stage(_receipt(), BYTES)
    (tmp_path / "att_1.bin").write_bytes(b"X" + BYTES[1:])
    with pytest.raises(StagedCorrupt):
        await staging.load("att_1")

    await staging.stage(_receipt(), BYTES)

    assert await staging.load("att_1") == (_receipt(), BYTES)


async def test_a_sidecar_of_a_later_version_is_still_read(staging: LocalStaging, tmp_path: Path) -> None:
    await staging.stage(_receipt(), BYTES)
    sidecar = tmp_path / "att_1.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "version": 2, "added": True}))

    assert await staging.pending() == [_receipt()]


def test_free_space_is_told_in_bytes(staging: LocalStaging) -> None:
    assert staging.free_bytes() > 0


PREAMBLE = f"""
from safelight.domain.money import CostBasis
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt
data = {BYTES[:8]!r} * 10_000
receipt = {_receipt()!r}
""".replace("<CostBasis.USAGE: 'usage'>", "CostBasis.USAGE")
STAGE = """
await LocalStaging(root).stage(receipt, data)
"""
STAGE_TOGETHER = """
import asyncio
from dataclasses import replace
staging = LocalStaging(root)
await asyncio.gather(*(staging.stage(replace(receipt, attempt_id=f"att_{n}"), data) for n in (1, 2, 3)))
"""
DISCARD = """
armed = False
await LocalStaging(root).stage(receipt, data)
armed = True
await LocalStaging(root).discard(receipt.attempt_id)
"""


async def test_wherever_a_writer_is_killed_the_attempt_is_whole_or_not_listed(tmp_path: Path) -> None:
    runs = listed = 0
    for root, finished in killed_at_each_step(tmp_path, PREAMBLE, STAGE):
        staging = LocalStaging(root)
        pending = await staging.pending()
        assert await staging.corrupt() == []
        assert pending in ([], [_receipt()])
        assert pending or not finished
        assert await staging.load("att_1") == ((_receipt(), BYTES) if pending else None)
        runs, listed = runs + 1, listed + len(pending)

        await staging.stage(_receipt(), BYTES)
        await staging.remove_incomplete(older_than_seconds=0)
        assert sorted(path.name for path in root.iterdir()) == ["att_1.bin", "att_1.json"]
    assert runs > 4
    assert listed >= 1


async def test_wherever_a_writer_of_several_is_killed_each_that_is_listed_is_whole(tmp_path: Path) -> None:
    counts = set()
    for root, finished in killed_at_each_step(tmp_path, PREAMBLE, STAGE_TOGETHER):
        staging = LocalStaging(root)
        pending = await staging.pending()
        assert await staging.corrupt() == []
        assert not finished or len(pending) == 3
        for receipt in pending:
            assert await staging.load(receipt.attempt_id) == (receipt, BYTES)
        counts.add(len(pending))
    assert counts == {0, 1, 2, 3}, "killed between one sidecar and the next, too"


async def test_one_of_several_that_cannot_be_staged_keeps_no_other_from_it(staging: LocalStaging) -> None:
    await staging.stage(_receipt(attempt_id="att_2"), BYTES)
    other, wrong = b"something else", _receipt(attempt_id="att_3", length=1)
    answers = await asyncio.gather(
        staging.stage(_receipt(), BYTES),
        staging.stage(_receipt(other, attempt_id="att_2"), other),
        staging.stage(wrong, BYTES),
        staging.stage(_receipt(attempt_id="att_4"), BYTES),
        return_exceptions=True,
    )
    assert answers[0] == Staged(receipt=_receipt())
    assert isinstance(answers[1], StagedConflict)
    assert isinstance(answers[2], ValueError)
    assert answers[3] == Staged(receipt=_receipt(attempt_id="att_4"))
    assert {each.attempt_id for each in await staging.pending()} == {"att_1", "att_2", "att_4"}


async def test_wherever_a_discard_is_killed_no_sidecar_is_left_without_its_bytes(tmp_path: Path) -> None:
    gone = 0
    for root, finished in killed_at_each_step(tmp_path, PREAMBLE, DISCARD):
        staging = LocalStaging(root)
        assert await staging.corrupt() == []
        pending = await staging.pending()
        assert not (finished and pending)
        assert await staging.load("att_1") == ((_receipt(), BYTES) if pending else None)
        gone += not pending

        await staging.discard("att_1")
        await staging.remove_incomplete(older_than_seconds=0)
        assert list(root.iterdir()) == []
    assert gone >= 2, "killed between the sidecar and the bytes, too"


@pytest.mark.skipif(sys.platform != "linux", reason="reads descriptors' paths from /proc")
def test_each_step_is_on_disk_before_the_next_begins(tmp_path: Path) -> None:
    assert trace_of(tmp_path / "staging", PREAMBLE, STAGE) == [
        "fsync .",
        "fsync part",
        "fsync part",
        "rename att_1.bin",
        "fsync staging",
        "rename att_1.json",
        "fsync staging",
    ]
    assert trace_of(tmp_path / "group", PREAMBLE, STAGE_TOGETHER) == [
        "fsync .",
        *["fsync part"] * 6,
        *[f"rename att_{n}.bin" for n in (1, 2, 3)],
        "fsync group",
        *[f"rename att_{n}.json" for n in (1, 2, 3)],
        "fsync group",
    ]
    assert trace_of(tmp_path / "staging", PREAMBLE, DISCARD)[-3:] == [
        "unlink att_1.json",
        "fsync staging",
        "unlink att_1.bin",
    ]


def test_receipts_are_values() -> None:
    assert replace(_receipt(), request_id="req_2") == _receipt(request_id="req_2")
