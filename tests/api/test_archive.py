"""All pictures of a job in one file, and a job that is removed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tracemalloc
import zipfile
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.client import SafelightClient
from safelight.engine.upkeep.erasure import Keeping, let_go
from safelight.storage.local import LocalBlobStore, OpenFile
from tests.api.conftest import Serve, serving, submitted
from tests.api.doors import as_caller, key_for
from tests.api.problems import refusal
from tests.api.stored import CARD, JPEG, stored_job
from tests.engine.by_hand import pass_time

PICTURES = {"one": JPEG, "two": os.urandom(1_500_000)}


def opened(response: httpx2.Response) -> zipfile.ZipFile:
    assert response.status_code == 200, response.text
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    return archive


async def test_an_archive_holds_every_picture_and_tells_of_the_others(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    job = await stored_job(client, pool, deps.blobs, PICTURES, group="cases", failed=("bad",))

    response = await client.get(job["urls"]["archive"])

    archive = opened(response)
    manifest = json.loads(archive.read("manifest.json"))
    assert archive.namelist() == ["manifest.json", "cases/one.jpg", "cases/two.jpg"]
    assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}
    *found, bad = manifest["images"]
    for each in found:
        data = archive.read(each["file"])
        assert data == PICTURES[each["id"]]
        assert (each["sha256"], each["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (bad["id"], bad["status"], bad["error"]) == ("bad", "failed", {"kind": "PERMANENT", "code": "X"})
    assert "file" not in bad
    assert b"SECRET" not in archive.read("manifest.json"), "no prompt, and nothing that quotes one"
    assert response.headers["content-disposition"] == f'attachment; filename="{job["id"]}.zip"'


async def test_names_in_an_archive_are_tame_and_differ_on_every_file_system(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    job = await stored_job(client, pool, deps.blobs, dict.fromkeys(("a", "A", "con", "Nul.x"), JPEG))

    names = opened(await client.get(job["urls"]["archive"])).namelist()

    assert names == ["manifest.json", "a.jpg", "A~2.jpg", "_con.jpg", "_Nul.x.jpg"]


async def test_an_archive_is_of_one_output_the_first_or_the_one_that_is_named(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    outputs = [CARD, {**CARD, "name": "thumb"}]
    job = await stored_job(client, pool, deps.blobs, outputs=outputs)
    url = job["urls"]["archive"]

    assert json.loads(opened(await client.get(url)).read("manifest.json"))["output"] == "card"
    assert json.loads(opened(await client.get(f"{url}?output=thumb")).read("manifest.json"))["output"] == "thumb"
    refusal(await client.get(f"{url}?output=poster"), 422, "validation-error")
    refusal(await client.get(f"{url}?size=large"), 422, "unknown-field")
    refusal(await client.get(url.replace(job["id"], "job_1")), 404, "not-found")
    waiting = await submitted(client)
    refusal(await client.get(waiting["urls"]["archive"]), 409, "image-not-ready")


async def test_a_signed_link_opens_the_archive(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "studio")
    async with serving(replace(deps, may_run_open=False)) as locked, as_caller(locked, key) as owner:
        job = await stored_job(owner, pool, deps.blobs)
        archive = opened(await locked.get(f"{job['urls']['archive']}&output=card"))
        assert archive.read("one.jpg") == JPEG
        refusal(await locked.get(job["urls"]["archive"][:-2]), 403, "invalid-signature")


class ShrinkingStore(LocalBlobStore):
    """A picture that ends in the middle."""

    @asynccontextmanager
    async def opened(self, key: str):
        async with super().opened(key) as blob:
            yield _Half(blob) if "two" in key else blob


class _Half(OpenFile):
    def __init__(self, whole: OpenFile) -> None:
        self._whole = whole
        self.length = whole.length

    async def read(self, start: int, length: int) -> bytes:
        return await self._whole.read(start, min(length, 1000)) if start < 1000 else b""


async def test_an_archive_or_a_picture_that_cannot_be_read_to_its_end_is_cut_off_and_never_looks_whole(
    serve_with: Serve, pool: asyncpg.Pool, tmp_path: Path
):
    blobs = ShrinkingStore(tmp_path / "blobs")
    async with serve_with(blobs=blobs) as client:
        job = await stored_job(client, pool, blobs, PICTURES)
        for url in (job["urls"]["archive"], job["images"][1]["url"]):
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(url)


@pytest.mark.slow
async def test_two_hundred_large_pictures_take_no_more_memory_than_a_few_steps(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    data = os.urandom(2_000_000)
    job = await stored_job(client, pool, deps.blobs, {f"i{n}": data for n in range(200)})
    received = 0
    tracemalloc.start()
    try:
        async with client.stream("GET", job["urls"]["archive"]) as response:
            async for part in response.aiter_raw():
                received += len(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received > 400_000_000
    assert peak < 40_000_000


async def test_the_client_saves_an_archive_whole_or_not_at_all(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, tmp_path: Path
):
    job = await stored_job(client, pool, deps.blobs)
    async with SafelightClient(str(client.base_url)) as ours:
        path = await ours.archive(job["id"], tmp_path / "out" / "job.zip")
        assert zipfile.ZipFile(path).read("one.jpg") == JPEG
        removed = await ours.remove(job["id"])
        assert removed.document["data_removed"]
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["job.zip"]


async def test_of_a_removed_job_that_kept_no_pictures_none_are_missed(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, tmp_path: Path
):
    job = await stored_job(client, pool, deps.blobs, outputs=[])
    async with SafelightClient(str(client.base_url)) as ours:
        assert await ours.download(job["id"], tmp_path) == ()
        await ours.remove(job["id"])
        assert await ours.download(job["id"], tmp_path) == ()


async def test_a_removed_job_says_so_and_serves_nothing(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    job = await stored_job(client, pool, deps.blobs, metadata={"case": "7"}, failed=("bad",))
    other = await stored_job(client, pool, deps.blobs)

    gone = (await client.delete(job["urls"]["self"])).json()

    assert (gone["data_removed"], gone["removed_at"] is not None, gone["metadata"]) == (True, True, {})
    assert not any({"url", "outputs"} & each.keys() for each in gone["images"])
    assert [each["status"] for each in gone["images"]] == ["completed", "failed"]
    assert gone["images"][1]["error"]["message"] == ""
    for url in (job["images"][0]["url"], job["images"][0]["outputs"]["card"]["url"], job["urls"]["archive"]):
        refusal(await client.get(url), 410, "gone")
    refusal(await client.post(job["urls"]["retry"]), 410, "gone")
    assert (await client.get(f"{job['urls']['self']}?inline=card")).status_code == 200
    assert (await client.delete(job["urls"]["self"])).json() == gone
    assert (await client.get("/v1/jobs")).json()["jobs"][1]["data_removed"] is True
    assert (await client.get(other["images"][0]["url"])).content == JPEG


async def test_a_picture_that_was_kept_for_its_time_is_gone(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    url = (await stored_job(client, pool, deps.blobs))["images"][0]["url"]
    keeping = Keeping(jobs=timedelta(days=30), prompts=None)
    await pass_time(pool, timedelta(days=29.9).total_seconds())
    assert await let_go(pool, keeping) == 0
    assert (await client.get(url)).status_code == 200

    await pass_time(pool, timedelta(days=0.2).total_seconds())
    assert await let_go(pool, keeping) == 1

    refusal(await client.get(url), 410, "gone")


async def test_a_job_that_lives_is_not_removed_and_one_that_is_not_there_neither(client: httpx2.AsyncClient):
    job = await submitted(client)

    refusal(await client.delete(job["urls"]["self"]), 409, "job-not-ended")
    refusal(await client.delete("/v1/jobs/job_1"), 404, "not-found")
    refusal(await client.delete(f"{job['urls']['self']}?force=1"), 422, "unknown-field")


async def test_a_job_says_when_retention_removes_it(serve_with: Serve, pool: asyncpg.Pool, deps: ApiDependencies):
    async with serve_with(image_retention_days=30.0) as client:
        job = await stored_job(client, pool, deps.blobs)
        ends, expires = (datetime.fromisoformat(job[name]) for name in ("completed_at", "expires_at"))
        assert expires - ends == timedelta(days=30)
        assert (await submitted(client))["expires_at"] is None


class WaitingStore(LocalBlobStore):
    """Holds its readers back, once they have opened their picture, until the test lets them go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.has_opened, self.may_go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opened(self, key: str):
        async with super().opened(key) as blob:
            self.has_opened.set()
            await self.may_go_on.wait()
            yield blob


async def test_a_download_that_races_a_removal_is_whole_and_the_next_one_is_gone(
    serve_with: Serve, pool: asyncpg.Pool, tmp_path: Path
):
    blobs = WaitingStore(tmp_path / "blobs")
    async with serve_with(blobs=blobs) as client:
        job: dict[str, Any] = await stored_job(client, pool, blobs, PICTURES)
        url = job["images"][1]["url"]
        download = asyncio.create_task(client.get(url))
        async with asyncio.timeout(20):
            await blobs.has_opened.wait()
        assert (await client.delete(job["urls"]["self"])).status_code == 200
        assert await pool.fetchval("SELECT cleared_at IS NOT NULL FROM jobs")
        blobs.may_go_on.set()
        assert (await download).content == PICTURES["two"]
        refusal(await client.get(url), 410, "gone")


async def test_no_picture_in_an_archive_is_called_as_a_folder_is(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    job = await stored_job(client, pool, deps.blobs, dict.fromkeys(("cover", "x", "y"), JPEG))
    await pool.execute("UPDATE images SET image_group = 'Cover.jpg' WHERE id = 'x'")
    await pool.execute("UPDATE images SET image_group = 'manifest.json' WHERE id = 'y'")

    names = opened(await client.get(job["urls"]["archive"])).namelist()

    assert names == ["manifest.json", "cover~2.jpg", "Cover.jpg/x.jpg", "_manifest.json/y.jpg"]
