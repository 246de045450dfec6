from __future__ import annotations

from pathlib import Path

import pytest

from safelight.domain.checkup import Check, Verdict, worst
from safelight.storage.checkup import storage_checks
from safelight.storage.local import LocalBlobStore
from safelight.storage.local_staging import LocalStaging


@pytest.fixture
async def markers(tmp_path: Path) -> str:
    """Those of a store and a staging folder that are in use."""
    store, staging = LocalBlobStore(tmp_path / "blobs"), LocalStaging(tmp_path / "staging")
    return f"{await store.ensure_marker()} {await staging.ensure_marker()}"


async def checked(home: Path, markers: str | None, *, min_free_bytes: int = 0) -> dict[str, Check]:
    checks = await storage_checks(
        blobs=home / "blobs", staged=home / "staging", min_free_bytes=min_free_bytes, markers=markers
    )
    return {check.name: check for check in checks}


async def test_folders_that_can_do_their_work_are_left_as_they_were(tmp_path: Path, markers: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    checks = await checked(tmp_path, markers)
    assert worst(checks.values()) in (Verdict.OK, Verdict.WARNING), "a full disk is a warning"
    assert "is writable and durable" in checks["blobs"].found
    assert sorted(tmp_path.rglob("*")) == before


async def test_before_the_first_start_missing_folders_are_no_problem_and_are_not_made(tmp_path: Path) -> None:
    checks = await checked(tmp_path, None)
    assert {check.verdict for check in checks.values()} == {Verdict.WARNING}
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_the_database_remembers_must_not_be_missing(tmp_path: Path, markers: str) -> None:
    (tmp_path / "staging").rename(tmp_path / "elsewhere")
    checks = await checked(tmp_path, markers)
    assert checks["staging"].verdict is Verdict.PROBLEM
    assert "Mount the disk" in checks["staging"].remedy


async def test_a_folder_of_another_installation_is_a_problem(tmp_path: Path, markers: str) -> None:
    of_store, _, _ = markers.partition(" ")
    checks = await checked(tmp_path, f"{of_store} another")
    assert checks["staging marker"].verdict is Verdict.PROBLEM
    assert "blobs marker" not in checks


async def test_a_file_in_the_place_of_a_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("")
    assert (await checked(tmp_path, None))["blobs"].found.endswith("is no folder")


async def test_a_folder_that_cannot_be_written_is_a_problem() -> None:
    checks = await storage_checks(blobs=Path("/proc"), staged=Path("/proc"), min_free_bytes=0, markers=None)
    assert [check.verdict for check in checks] == [Verdict.PROBLEM] * 2
    assert "cannot be written" in checks[0].found


async def test_too_little_room_to_buy_is_a_problem(tmp_path: Path, markers: str) -> None:
    checks = await checked(tmp_path, markers, min_free_bytes=10**18)
    assert checks["staging"].verdict is Verdict.PROBLEM
    assert "Nothing is bought" in checks["staging"].meaning
