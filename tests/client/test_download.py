from __future__ import annotations

from pathlib import Path

import pytest

from safelight.client import NotSaved, SafelightClient
from tests.cli.front_desk import JOB_ID, FrontDesk, jpeg


async def test_every_completed_picture_is_there_and_none_is_fetched_twice(desk: FrontDesk, tmp_path: Path) -> None:
    desk.script["evidence", "ev-2"] = "failed"
    async with SafelightClient(desk.base_url) as client:
        await client.wait(JOB_ID)
        first = await client.download(JOB_ID, tmp_path)
        assert [str(path.relative_to(tmp_path)) for path in first] == ["locations/loc-1.jpg", "evidence/ev-1.jpg"]
        (tmp_path / "evidence/ev-1.jpg").write_bytes(b"half of a pict")
        assert await client.download(JOB_ID, tmp_path) == first
    assert (tmp_path / "evidence/ev-1.jpg").read_bytes() == jpeg("ev-1")
    assert desk.asked["picture"] == 3
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


async def test_a_damaged_picture_leaves_nothing_behind(desk: FrontDesk, tmp_path: Path) -> None:
    desk.damages = True
    async with SafelightClient(desk.base_url) as client:
        await client.wait(JOB_ID)
        with pytest.raises(NotSaved, match="arrived damaged"):
            await client.download(JOB_ID, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_folder_that_cannot_be_written_is_named(desk: FrontDesk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with SafelightClient(desk.base_url) as client:
        await client.wait(JOB_ID)
        with pytest.raises(NotSaved, match="cannot write"):
            await client.download(JOB_ID, tmp_path / "file")
        with pytest.raises(NotSaved, match="cannot write"):
            await client.archive(JOB_ID, tmp_path / "file" / "all.zip")


async def test_names_that_lead_elsewhere_are_not_followed(desk: FrontDesk, tmp_path: Path) -> None:
    desk.script = {("..", "ev-1"): "completed"}
    async with SafelightClient(desk.base_url) as client:
        await client.wait(JOB_ID)
        with pytest.raises(NotSaved, match="no safe file name"):
            await client.download(JOB_ID, tmp_path / "inner")


async def test_a_picture_that_was_removed_is_told_unless_it_was_downloaded_before(
    desk: FrontDesk, tmp_path: Path
) -> None:
    async with SafelightClient(desk.base_url) as client:
        await client.wait(JOB_ID)
        paths = await client.download(JOB_ID, tmp_path)
        desk.is_removed = True
        assert await client.download(JOB_ID, tmp_path) == paths
        paths[1].rename(paths[1].with_name("ev-1.old.jpg"))
        with pytest.raises(NotSaved, match="`ev-1` was removed"):
            await client.download(JOB_ID, tmp_path)


async def test_of_a_job_that_keeps_no_pictures_there_is_nothing_to_download(desk: FrontDesk, tmp_path: Path) -> None:
    desk.keeps_nothing = True
    async with SafelightClient(desk.base_url) as client:
        await client.wait(JOB_ID)
        assert await client.download(JOB_ID, tmp_path) == ()
        desk.is_removed = True
        assert await client.download(JOB_ID, tmp_path) == ()
