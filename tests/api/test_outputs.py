"""What a caller orders as outputs is what a worker makes and what comes back, byte for byte and as files."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from PIL import Image

from safelight.api.schemas import Job
from safelight.client import Album, NotSaved, SafelightClient
from safelight.domain.ids import JobId
from safelight.settings import Settings
from tests.api.conftest import image, submitted
from tests.api.problems import refusal
from tests.engine.conftest import running
from tests.orders import ended

THREE = [
    {"name": "poster", "width": 96, "height": 32, "fit": "contain", "format": "webp"},
    {"name": "card", "width": 48, "height": 48, "format": "jpeg", "quality": 60},
    {"name": "as-it-came", "format": "original"},
]
EVERY_FORMAT = [
    {"name": f"{fit}-{format_}", "width": 40, "height": 20, "fit": fit, "format": format_}
    for fit, format_ in (("cover", "avif"), ("inside", "png"), ("contain", "png"), ("inside", "webp"))
]


@pytest.fixture
def settings(tmp_path: Path, database: str) -> Settings:
    return Settings(home=tmp_path, database_url=database, admission_seconds=0.05, dequeue_seconds=0.1, slots=4)


async def completed(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings, outputs: list[dict[str, Any]], *ids: str
) -> dict[str, Any]:
    """A job whose images a worker has completed, as its caller sees it."""
    images = [image(each, size="64x64") for each in ids or ("one",)]
    accepted = await submitted(client, images=images, outputs=outputs)
    async with running(settings):
        assert await ended(pool, JobId(accepted["id"])) == "completed"
    job = (await client.get(accepted["urls"]["self"])).json()
    Job.model_validate(job)
    return job


async def test_three_outputs_are_made_described_and_served(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings
):
    job = await completed(client, pool, settings, THREE)

    [one] = job["images"]
    assert list(one["outputs"]) == ["poster", "card", "as-it-came"]
    expected = {"poster": ("webp", (96, 32)), "card": ("jpeg", (48, 48)), "as-it-came": ("png", (64, 64))}
    for name, output in one["outputs"].items():
        response = await client.get(output["url"])
        assert response.status_code == 200
        assert response.headers["content-type"] == f"image/{output['format']}"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert hashlib.sha256(response.content).hexdigest() == output["sha256"]
        assert len(response.content) == output["bytes"]
        with Image.open(io.BytesIO(response.content)) as picture:
            assert picture.format == output["format"].upper()
            assert (output["format"], picture.size) == expected[name]
            assert picture.size == (output["width"], output["height"])
    first = await client.get(one["url"])
    assert first.headers["etag"] == f'"{one["outputs"]["poster"]["sha256"]}"'
    bought = await pool.fetchval("SELECT sha256 FROM attempts")
    assert one["outputs"]["as-it-came"]["sha256"] == bought
    inline = (await client.get(f"{job['urls']['self']}?inline=as-it-came")).json()
    assert inline["images"][0]["outputs"]["as-it-came"]["url"].startswith("data:image/png;base64,")


async def test_every_format_and_fit_comes_out_of_the_service(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings
):
    job = await completed(client, pool, settings, EVERY_FORMAT)

    made = job["images"][0]["outputs"]
    assert {name: (each["width"], each["height"], each["format"]) for name, each in made.items()} == {
        "cover-avif": (40, 20, "avif"),
        "inside-png": (20, 20, "png"),
        "contain-png": (40, 20, "png"),
        "inside-webp": (20, 20, "webp"),
    }
    for each in made.values():
        with Image.open(io.BytesIO((await client.get(each["url"])).content)) as picture:
            assert picture.size == (each["width"], each["height"])
    extensions = [row["key"].rpartition(".")[2] for row in await pool.fetch("SELECT key FROM renditions ORDER BY name")]
    assert extensions == ["png", "avif", "png", "webp"]


async def test_without_outputs_a_picture_is_made_and_paid_for_and_there_is_nothing_to_fetch(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings
):
    job = await completed(client, pool, settings, [])

    [one] = job["images"]
    assert (one["status"], one["attempt_count"], one["cost_usd"]) == ("completed", 1, "0.000")
    assert "url" not in one
    assert "outputs" not in one
    address = f"{job['urls']['self']}/images/one"
    nothing = refusal(await client.get(address), 404, "not-found")
    assert "no outputs" in nothing["detail"]
    refusal(await client.get(f"{address}/card"), 404, "not-found")
    assert await pool.fetchval("SELECT status FROM attempts") == "settled"
    assert [path for path in (settings.home / "blobs").rglob("*.*") if path.is_file() and path.name[0] != "."] == []


async def test_an_order_is_stored_complete(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await submitted(client, outputs=[*THREE, {"name": "a", "width": 8, "height": 9, "format": "avif"}])

    assert await pool.fetchval("SELECT outputs FROM jobs") == [
        {"name": "poster", "width_px": 96, "height_px": 32, "fit": "contain", "format": "webp", "quality": 80},
        {"name": "card", "width_px": 48, "height_px": 48, "fit": "cover", "format": "jpeg", "quality": 60},
        {"name": "as-it-came", "format": "original"},
        {"name": "a", "width_px": 8, "height_px": 9, "fit": "cover", "format": "avif", "quality": 50},
    ]


async def test_files_are_named_after_image_output_and_format(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings, tmp_path: Path
):
    job = await completed(client, pool, settings, THREE, "a", "b")

    async with SafelightClient(str(client.base_url)) as service:
        await Album(client=service, folder=tmp_path / "out").save_new(await service.job(job["id"]))

    saved = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(saved) == ["a.as-it-came.png", "a.card.jpg", "a.webp", "b.as-it-came.png", "b.card.jpg", "b.webp"]
    outputs = job["images"][0]["outputs"]
    assert hashlib.sha256(saved["a.webp"]).hexdigest() == outputs["poster"]["sha256"]
    assert hashlib.sha256(saved["a.as-it-came.png"]).hexdigest() == outputs["as-it-came"]["sha256"]


async def test_two_pictures_never_share_a_file(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings, tmp_path: Path
):
    two = [{"name": "card", "width": 8, "height": 8}, {"name": "thumb", "width": 4, "height": 4}]
    job = await completed(client, pool, settings, two, "a", "a.thumb")

    async with SafelightClient(str(client.base_url)) as service:
        album = Album(client=service, folder=tmp_path / "out")
        with pytest.raises(NotSaved, match=r"`a` and `a\.thumb` would both be"):
            await album.save_new(await service.job(job["id"]))
