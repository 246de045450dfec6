"""Pictures that a job file names by their path are uploaded first."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from safelight.api.app import ApiDependencies
from safelight.cli.complaint import Complaint
from safelight.cli.job_file import JobFile
from safelight.cli.job_pictures import with_uploads
from safelight.client import ApiProblem, NotRead, SafelightClient, SyncSafelightClient
from tests.api.conftest import deps as deps
from tests.api.conftest import queue as queue
from tests.api.conftest import renderer as renderer
from tests.api.conftest import serving


@pytest.fixture
async def http(deps: ApiDependencies) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(deps) as client:
        yield client


@pytest.fixture
async def safelight(http: httpx2.AsyncClient) -> AsyncIterator[SafelightClient]:
    async with SafelightClient(str(http.base_url)) as client:
        yield client


def png(color: str = "teal") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(held, "PNG")
    return held.getvalue()


def job_file(folder: Path, *images: dict[str, Any]) -> JobFile:
    return JobFile(source=folder / "job.toml", body={"images": list(images)})


async def test_each_file_becomes_one_upload_wherever_it_is_named(safelight: SafelightClient, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "coat.png").write_bytes(png())
    coat = {"file": "photos/coat.png", "role": "product"}
    there = {"url": "https://hooks.example/a.png"}
    named = await with_uploads(
        safelight,
        job_file(
            tmp_path,
            {"id": "a", "prompt": "x", "references": [coat, there], "mask": {"file": "photos/coat.png"}},
            {"id": "b", "prompt": "x", "references": [coat]},
            {"id": "c", "prompt": "x"},
        ),
    )
    a, b, c = named.body["images"]
    upload = a["mask"]["upload"]
    assert a["references"] == [{"upload": upload, "role": "product"}, there]
    assert b["references"] == [{"upload": upload, "role": "product"}]
    assert c == {"id": "c", "prompt": "x"}
    again = await with_uploads(safelight, job_file(tmp_path, {"id": "a", "prompt": "x", "references": [coat]}))
    assert again.body["images"][0]["references"] == [{"upload": upload, "role": "product"}]


async def test_what_names_no_file_is_left_as_it_is(safelight: SafelightClient, tmp_path: Path) -> None:
    for body in ({"images": 7}, {"images": [7, {"references": 7, "mask": "x"}]}, {"recipe": "x"}, {}):
        plain = JobFile(source=tmp_path / "job.json", body=body)
        assert await with_uploads(safelight, plain) is plain


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"no picture", "cannot be used")])
async def test_a_file_that_cannot_be_sent_is_named(
    content: bytes | None, said: str, safelight: SafelightClient, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(Complaint, match=said) as raised:
        await with_uploads(safelight, job_file(tmp_path, {"id": "a", "prompt": "x", "references": [{"file": "x.png"}]}))
    assert "x.png" in str(raised.value)


async def test_the_client_uploads_bytes_and_files(safelight: SafelightClient, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    of_bytes, of_file = await safelight.upload(png()), await safelight.upload(tmp_path / "a.png")
    assert of_bytes == of_file or of_bytes.id == of_file.id
    assert (of_file.width_px, of_file.format, of_file.has_alpha) == (8, "png", False)
    with pytest.raises(ApiProblem) as refusal:
        await safelight.upload(b"no picture")
    assert refusal.value.slug == "unsupported-image"
    with pytest.raises(NotRead):
        await safelight.upload(tmp_path / "gone.png")


async def test_the_client_without_an_event_loop_uploads_too(http: httpx2.AsyncClient) -> None:
    def send() -> str:
        with SyncSafelightClient(str(http.base_url)) as client:
            return client.upload(png()).format

    assert await asyncio.to_thread(send) == "png"
