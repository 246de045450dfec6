"""Uploads: what is taken, what is made of it, and whose it is."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import asyncpg
import httpx2
import pytest
from PIL import Image, PngImagePlugin

from safelight.api.app import ApiDependencies
from tests.api.bad_uploads import NO_FORMS, NOT_ONE_FILE, REFUSED, file_of, png, with_chunk
from tests.api.conftest import Serve, image, submitted
from tests.api.problems import refusal
from tests.api.wire import exchange, request
from tests.engine.by_hand import pass_time
from tests.orders import until

BOUNDARY = "frame"
WAITS_FOR_A_LOCK = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
)


async def upload(client: httpx2.AsyncClient, data: bytes, name: str = "photo.png") -> httpx2.Response:
    return await client.post("/v1/uploads", files={"file": (name, data, "image/png")})


async def uploaded(client: httpx2.AsyncClient, data: bytes) -> dict[str, Any]:
    response = await upload(client, data)
    assert response.status_code == 201, response.text
    return response.json()


async def content(client: httpx2.AsyncClient, upload_id: str) -> bytes:
    return (await client.get(f"/v1/uploads/{upload_id}/content")).raise_for_status().content


async def test_what_is_no_still_whole_picture_of_a_sane_size_is_refused_and_nothing_is_kept(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
) -> None:
    for name, (data, status, slug) in REFUSED.items():
        with subtests.test(name):
            refusal(await upload(client, data), status, slug, usual_status=415 if slug == "unsupported-image" else None)
    assert await pool.fetchval("SELECT count(*) FROM uploads") == 0


async def test_an_upload_is_shown_and_served_as_what_was_made_of_it(client: httpx2.AsyncClient) -> None:
    response = await upload(client, png(side_px=20))
    made = response.json()
    assert (made["width"], made["height"], made["format"], made["has_alpha"]) == (20, 20, "png", False)
    assert response.headers["location"] == f"/v1/uploads/{made['id']}"
    assert (await client.get(f"/v1/uploads/{made['id']}")).json() == made

    picture = await client.get(made["url"])
    assert len(picture.content) == made["bytes"]
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert picture.headers["etag"] == f'"{made["sha256"]}"'
    again = await client.get(made["url"], headers={"If-None-Match": picture.headers["etag"]})
    assert again.status_code == 304


async def test_the_same_bytes_are_the_same_upload_and_live_longer(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    first = await uploaded(client, png())
    await pass_time(pool, seconds=86_400)
    again = await uploaded(client, png())
    assert again["id"] == first["id"]
    assert again["expires_at"] > first["expires_at"]
    assert (await uploaded(client, png(color="red")))["id"] != first["id"]


async def test_uploads_of_the_same_bytes_at_once_are_one(client: httpx2.AsyncClient, deps: ApiDependencies) -> None:
    made = await asyncio.gather(*(uploaded(client, png()) for _ in range(5)))
    assert len({each["id"] for each in made}) == 1
    keys = [stored.key async for step in deps.blobs.keys(older_than_seconds=0) for stored in step]
    assert keys == [f"_uploads/default/{made[0]['id']}.png"]


def canary_rows() -> dict[str, tuple[bytes, str]]:
    """Files that carry a word where it does not belong, and what they become."""
    word = b"CANARY-4711"
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", word.decode())
    info.add_itxt("XML:com.adobe.xmp", f"<x>{word.decode()}</x>", zip=False)
    exif = Image.Exif()
    exif[0x010E] = word.decode()
    exif[0x0112] = 6
    picture = Image.new("RGB", (24, 16), "navy")
    return {
        "PNG text": (file_of(picture, "PNG", pnginfo=info), "png"),
        "PNG private chunk": (with_chunk(png(), b"prVt", word), "png"),
        "PNG and ZIP": (png() + b"PK\x03\x04" + word, "png"),
        "PNG and HTML": (png() + b"<html>" + word, "png"),
        "JPEG EXIF and comment": (file_of(picture, "JPEG", exif=exif, comment=word), "jpeg"),
        "JPEG trailer": (file_of(picture, "JPEG") + word, "jpeg"),
        "JPEG profile": (file_of(picture, "JPEG", icc_profile=b"\0" * 128 + word), "jpeg"),
        "WebP": (file_of(picture, "WEBP", exif=exif, xmp=word), "jpeg"),
        "AVIF": (file_of(picture, "AVIF", exif=exif), "jpeg"),
    }


async def test_nothing_but_its_pixels_is_kept_of_a_file(client: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for name, (data, form) in canary_rows().items():
        with subtests.test(name):
            assert b"CANARY-4711" in data
            made = await uploaded(client, data)
            kept = await content(client, made["id"])
            assert made["format"] == form
            assert b"CANARY" not in kept
            assert b"<html>" not in kept
            opened = Image.open(io.BytesIO(kept))
            opened.load()
            assert not opened.getexif()
            assert set(opened.info) <= {
                "dpi",
                "progressive",
                "progression",
                "jfif",
                "jfif_version",
                "jfif_unit",
                "jfif_density",
            }


async def test_a_picture_is_turned_as_its_exif_says(client: httpx2.AsyncClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = await uploaded(client, file_of(Image.new("RGB", (24, 16), "navy"), "JPEG", exif=exif))
    assert (made["width"], made["height"]) == (16, 24)


async def test_what_is_transparent_stays_so(client: httpx2.AsyncClient) -> None:
    mask = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    mask.putpixel((2, 3), (0, 0, 0, 0))
    for form in ("PNG", "WEBP"):
        made = await uploaded(client, file_of(mask, form, **({"lossless": True} if form == "WEBP" else {})))
        assert (made["format"], made["has_alpha"]) == ("png", True)
        kept = Image.open(io.BytesIO(await content(client, made["id"])))
        assert [kept.getpixel((2, 3))[3], kept.getpixel((3, 3))[3]] == [0, 255]  # type: ignore[index]


async def test_a_form_without_exactly_one_file_is_malformed(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
) -> None:
    for name, files in NOT_ONE_FILE.items():
        with subtests.test(name):
            response = await client.post("/v1/uploads", files=files)
            refusal(response, 400, "malformed-upload")
    assert await pool.fetchval("SELECT count(*) FROM uploads") == 0


async def test_what_is_no_whole_form_is_refused(client: httpx2.AsyncClient, subtests: pytest.Subtests) -> None:
    for name, (content_type, body, (status, slug)) in NO_FORMS.items():
        with subtests.test(name):
            response = await client.post("/v1/uploads", content=body, headers={"Content-Type": content_type})
            refusal(response, status, slug)


async def test_what_the_file_is_called_does_not_matter(client: httpx2.AsyncClient, deps: ApiDependencies) -> None:
    response = await upload(client, png(), name="../../../etc/x\\y.svg")
    assert response.status_code == 201
    [key] = [stored.key async for step in deps.blobs.keys(older_than_seconds=0) for stored in step]
    assert key == f"_uploads/default/{response.json()['id']}.png"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_more_than_20_mb_are_not_read(framing: str, client: httpx2.AsyncClient) -> None:
    headers = [("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")]
    if framing == "length":
        sent = request("POST", "/v1/uploads", [*headers, ("Content-Length", "20200000")])
        response = await exchange(client, sent)
    else:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
        parts = [head, *[b"\0" * 500_000] * 41, b""]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        sent = request("POST", "/v1/uploads", [*headers, ("Transfer-Encoding", "chunked")])
        response = await exchange(client, sent + chunks)
    refusal(response, 413, "payload-too-large")


async def test_a_body_that_does_not_come_ends_with_408_and_frees_its_place(serve_with: Serve) -> None:
    async with serve_with(body_seconds=0.2, max_uploads=2) as client:
        for _ in range(3):
            headers = [("Content-Type", f"multipart/form-data; boundary={BOUNDARY}"), ("Content-Length", "500")]
            response = await exchange(client, request("POST", "/v1/uploads", headers))
            assert response.status_code == 408
        await uploaded(client, png())


async def test_an_upload_beyond_what_is_taken_at_a_time_is_turned_away(serve_with: Serve) -> None:
    async with serve_with(max_uploads=0) as client:
        response = await upload(client, png())
    refusal(response, 503, "too-many-uploads")
    assert response.headers["retry-after"]


async def test_an_upload_can_be_deleted_unless_a_job_is_to_be_made_from_it(
    client: httpx2.AsyncClient, deps: ApiDependencies
) -> None:
    made = await uploaded(client, png())
    job = await submitted(client, images=[image(references=[{"upload": made["id"]}])])
    refused = await client.delete(f"/v1/uploads/{made['id']}")
    refusal(refused, 409, "upload-in-use")

    await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await client.delete(f"/v1/uploads/{made['id']}")).status_code == 204
    for path in ("", "/content"):
        assert (await client.get(f"/v1/uploads/{made['id']}{path}")).status_code == 404
    assert (await client.delete(f"/v1/uploads/{made['id']}")).status_code == 404
    assert not [stored async for stored in deps.blobs.keys(older_than_seconds=0)]
    shown = (await client.get(f"/v1/jobs/{job['id']}")).json()["images"][0]["references"]
    assert shown == [{"upload": made["id"], "role": None}], "the job still says what it was to be made from"


async def test_an_upload_that_is_being_deleted_is_not_found_rather_than_unavailable(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
) -> None:
    made = await uploaded(client, png())
    async with pool.acquire() as conn:
        deletion = conn.transaction()
        await deletion.start()
        key = await conn.fetchval("DELETE FROM uploads WHERE id = $1 RETURNING key", made["id"])
        await deps.blobs.delete(key)
        looking = asyncio.create_task(client.get(made["url"]))
        await until(pool, WAITS_FOR_A_LOCK)
        await deletion.commit()
    refusal(await looking, 404, "not-found")


async def test_an_upload_past_its_time_is_there_no_more(client: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    made = await uploaded(client, png())
    await pass_time(pool, seconds=30 * 86_400 + 1)
    assert (await client.get(f"/v1/uploads/{made['id']}")).status_code == 404
    response = await client.post("/v1/jobs", json={"images": [image(references=[{"upload": made["id"]}])]})
    assert refusal(response, 422, "validation-error")["errors"][0]["pointer"] == "/images/0/references/0/upload"


async def test_what_is_no_upload_is_not_found(client: httpx2.AsyncClient) -> None:
    for upload_id in ("upl_0", "job_01JD0000000000000000000000", "%00", "upl_" + "0" * 26):
        for path in ("", "/content"):
            assert (await client.get(f"/v1/uploads/{upload_id}{path}")).status_code == 404
        assert (await client.delete(f"/v1/uploads/{upload_id}")).status_code == 404
