"""What release 0.1 has staged: a picture and its receipt, in two files."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_at_each_step import killed_at_each_step, trace_of

from safelight.storage.copying import copy_staged
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt, StagedCorrupt, encode
from tests.storage.test_staging import BYTES, PREAMBLE, _receipt

DISCARD = """
from safelight.storage.staging import encode
armed = False
staging = LocalStaging(root)
(root / "att_1.bin").write_bytes(data)
(root / "att_1.json").write_bytes(encode(receipt))
armed = True
await staging.discard(receipt.attempt_id)
"""


@pytest.fixture
def staging(tmp_path: Path) -> LocalStaging:
    return LocalStaging(tmp_path)


def pair(root: Path, attempt_id: str = "att_1", data: bytes = BYTES) -> Receipt:
    receipt = _receipt(data, attempt_id=attempt_id)
    (root / f"{attempt_id}.bin").write_bytes(data)
    (root / f"{attempt_id}.json").write_bytes(encode(receipt))
    return receipt


async def test_a_pair_is_found_and_loaded_staged_again_and_discarded(staging: LocalStaging, tmp_path: Path) -> None:
    receipt = pair(tmp_path)
    assert await staging.pending() == [receipt]
    assert await staging.load("att_1") == (receipt, BYTES)
    again = await staging.stage(_receipt(received_at="2026-11-20T23:00:00Z"), BYTES)
    assert again.receipt == receipt
    await staging.discard("att_1")
    assert list(tmp_path.iterdir()) == []


async def test_bytes_without_a_sidecar_are_not_listed_and_go_when_they_are_old(
    staging: LocalStaging, tmp_path: Path
) -> None:
    receipt = pair(tmp_path)
    (tmp_path / "att_2.bin").write_bytes(BYTES)
    assert await staging.pending() == [receipt]
    assert await staging.load("att_2") is None
    assert await staging.remove_incomplete(older_than_seconds=3600) == 0
    assert await staging.remove_incomplete(older_than_seconds=0) == 1
    assert await staging.load("att_1") == (receipt, BYTES)


async def test_damaged_pairs_are_told_by_name_and_may_be_staged_anew(staging: LocalStaging, tmp_path: Path) -> None:
    for name in ("torn", "lost", "short", "rotten"):
        pair(tmp_path, name)
    (tmp_path / "torn.json").write_bytes((tmp_path / "torn.json").read_bytes()[:100])
    (tmp_path / "lost.bin").unlink()
    (tmp_path / "short.bin").write_bytes(BYTES[:-1])
    (tmp_path / "rotten.bin").write_bytes(b"X" + BYTES[1:])
    assert await staging.corrupt() == ["lost.json", "short.json", "torn.json"]
    for name in ("torn", "lost", "short", "rotten"):
        with pytest.raises(StagedCorrupt):
            await staging.load(name)
        receipt = _receipt(attempt_id=name)
        await staging.stage(receipt, BYTES)
        assert await staging.load(name) == (receipt, BYTES)
        await staging.discard(name)
    assert list(tmp_path.iterdir()) == []


async def test_wherever_a_discard_is_killed_no_sidecar_is_left_without_its_bytes(tmp_path: Path) -> None:
    gone = 0
    for root, finished in killed_at_each_step(tmp_path, PREAMBLE, DISCARD):
        staging = LocalStaging(root)
        assert await staging.corrupt() == []
        pending = await staging.pending()
        assert not (finished and pending)
        gone += not pending
        await staging.discard("att_1")
        await staging.remove_incomplete(older_than_seconds=0)
        assert list(root.iterdir()) == []
    assert gone >= 2, "killed between the sidecar and the bytes, too"


def test_a_sidecar_is_durably_gone_before_its_bytes_go(tmp_path: Path) -> None:
    assert trace_of(tmp_path / "staging", PREAMBLE, DISCARD)[-3:] == [
        "unlink att_1.json",
        "fsync staging",
        "unlink att_1.bin",
    ]


async def test_a_copy_takes_pairs_and_files_along(staging: LocalStaging, tmp_path: Path) -> None:
    receipt = pair(tmp_path)
    await staging.stage(_receipt(attempt_id="att_2"), BYTES)
    saved = tmp_path / "saved"
    assert copy_staged(tmp_path, saved) == {"att_1", "att_2"}
    assert await LocalStaging(saved).pending() == [receipt, _receipt(attempt_id="att_2")]
