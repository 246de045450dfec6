"""Pictures on the wire: whole, in part, not at all, and as nothing but pictures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.storage.local import LocalBlobStore
from tests.api.conftest import Serve, serving, submitted
from tests.api.problems import refusal
from tests.api.stored import JPEG, stored_job
from tests.api.wire import request

LENGTH = len(JPEG)
TAG = f'"{hashlib.sha256(JPEG).hexdigest()}"'
WHOLE = (200, JPEG, None)


@pytest.fixture
async def url(client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies) -> str:
    return (await stored_job(client, pool, deps.blobs))["images"][0]["url"]


PARTS: list[tuple[dict[str, str], tuple[int, bytes, str | None]]] = [
    ({}, WHOLE),
    ({"range": "bytes=0-9"}, (206, JPEG[:10], f"bytes 0-9/{LENGTH}")),
    ({"range": "bytes=10-"}, (206, JPEG[10:], f"bytes 10-{LENGTH - 1}/{LENGTH}")),
    ({"range": "bytes=-7"}, (206, JPEG[-7:], f"bytes {LENGTH - 7}-{LENGTH - 1}/{LENGTH}")),
    ({"range": "bytes=5-999999"}, (206, JPEG[5:], f"bytes 5-{LENGTH - 1}/{LENGTH}")),
    ({"range": f"bytes=-{LENGTH + 5}"}, (206, JPEG, f"bytes 0-{LENGTH - 1}/{LENGTH}")),
    ({"range": "bytes=0-9", "if-range": TAG}, (206, JPEG[:10], f"bytes 0-9/{LENGTH}")),
    ({"range": "bytes=0-9", "if-range": '"other"'}, WHOLE),
    ({"range": "bytes=0-9", "if-range": f"W/{TAG}"}, WHOLE),
    ({"range": "bytes=0-9", "if-range": "Sat, 21 Nov 2026 06:00:00 GMT"}, WHOLE),
    ({"range": "bytes=" + ",".join(f"{n}-{n}" for n in range(1000))}, WHOLE),
    ({"range": "bytes=9-3"}, WHOLE),
    ({"range": "bytes=--1"}, WHOLE),
    ({"range": "lines=0-9"}, WHOLE),
    ({"range": "bytes=" + "9" * 40 + "-"}, WHOLE),
    ({"if-none-match": TAG}, (304, b"", None)),
    ({"if-none-match": TAG, "range": "bytes=0-9"}, (304, b"", None)),
    ({"if-none-match": '"other"', "range": "bytes=0-9"}, (206, JPEG[:10], f"bytes 0-9/{LENGTH}")),
]


async def test_a_picture_comes_whole_or_in_the_part_that_is_asked_for(client: httpx2.AsyncClient, url: str):
    for headers, expected in PARTS:
        response = await client.get(url, headers=headers)
        found = (response.status_code, response.content, response.headers.get("content-range"))
        assert found == expected, headers
        assert response.headers["etag"] == TAG


async def test_a_part_that_begins_after_the_end_is_refused_and_the_length_told(client: httpx2.AsyncClient, url: str):
    for asked in (f"bytes={LENGTH}-", "bytes=999999-", "bytes=999999-1000000", "bytes=-0"):
        response = await client.get(url, headers={"range": asked})
        refusal(response, 416, "range-not-satisfiable")
        assert response.headers["content-range"] == f"bytes */{LENGTH}"


async def test_head_tells_of_the_whole_picture_and_sends_none_of_it(client: httpx2.AsyncClient, url: str):
    response = await client.head(url, headers={"range": "bytes=0-9"})

    assert (response.status_code, response.content) == (200, b"")
    assert (response.headers["content-length"], response.headers["accept-ranges"]) == (str(LENGTH), "bytes")
    assert (response.headers["etag"], response.headers["content-type"]) == (TAG, "image/jpeg")


async def test_bytes_that_are_something_else_to_a_browser_are_served_as_a_picture_and_in_a_sandbox(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    polyglot = b"\xff\xd8\xff<html><script>alert(document.domain)</script></html>"
    job = await stored_job(client, pool, deps.blobs, {"x.html": polyglot})

    response = await client.get(job["images"][0]["url"])

    assert response.content == polyglot
    assert {name: response.headers[name] for name in SAFE} == SAFE
    saved = await client.get(job["images"][0]["url"], params={"download": "1"})
    assert saved.headers["content-disposition"] == 'attachment; filename="x.html.jpg"'


SAFE = {
    "content-type": "image/jpeg",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": 'inline; filename="x.html.jpg"',
    "cross-origin-resource-policy": "same-site",
    "cache-control": "private, immutable, max-age=31536000",
}


async def test_a_query_that_is_none_of_ours_is_refused(client: httpx2.AsyncClient, url: str):
    for query in ("download=0", "download=yes", "size=large"):
        assert (await client.get(f"{url}?{query}")).status_code == 422


async def test_a_large_picture_is_sent_in_steps(client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies):
    large = os.urandom(3_300_000)
    [shown] = (await stored_job(client, pool, deps.blobs, {"large": large}))["images"]

    whole = await client.get(shown["url"])
    part = await client.get(shown["url"], headers={"range": "bytes=100-3200099"})

    assert (whole.content, whole.headers["content-length"]) == (large, "3300000")
    assert (part.status_code, part.content) == (206, large[100:3200100])


async def test_a_picture_that_the_store_has_lost_or_shortened_is_unavailable_and_never_half(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, tmp_path: Path
):
    job = await stored_job(client, pool, deps.blobs, {"lost": JPEG, "short": JPEG + b"x"})
    lost, short = [
        await pool.fetchval("SELECT key FROM renditions WHERE key LIKE $1", f"%/{name}.%") for name in ("lost", "short")
    ]
    await deps.blobs.delete(lost)
    (tmp_path / "blobs" / short).write_bytes(JPEG)

    for each in job["images"]:
        refusal(await client.get(each["url"]), 503, "unavailable")


async def test_an_image_without_a_picture_has_none_to_fetch(client: httpx2.AsyncClient):
    job = await submitted(client)

    refusal(await client.get(f"{job['urls']['self']}/images/one"), 409, "image-not-ready")


class PresigningStore(LocalBlobStore):
    """Knows an address of its own for everything."""

    async def presign(self, key: str, *, expires_seconds: float) -> str:
        return f"https://bucket.example/{key}?for={expires_seconds}"


async def test_a_store_that_signs_addresses_is_asked_to_serve_where_that_is_wanted(
    serve_with: Serve, pool: asyncpg.Pool, deps: ApiDependencies, tmp_path: Path
):
    blobs = PresigningStore(tmp_path / "blobs")
    async with serve_with(blobs=blobs, redirect_downloads=True) as client:
        url = (await stored_job(client, pool, blobs))["images"][0]["url"]
        sent_on = await client.get(url, follow_redirects=False)
        saved = await client.get(url, params={"download": "1"})
        head = await client.head(url)
    async with serve_with(blobs=blobs) as client:
        direct = await client.get(url)

    assert sent_on.status_code == 307
    assert sent_on.headers["location"].startswith("https://bucket.example/")
    assert sent_on.headers["cache-control"] == "no-store"
    assert [saved.content, direct.content] == [JPEG, JPEG]
    assert head.status_code == 200


def test_the_document_tells_of_parts_and_of_links(deps: ApiDependencies):
    from safelight.api.app import create_app

    document: dict[str, Any] = create_app(deps).openapi()

    operation = document["paths"]["/v1/jobs/{job_id}/images/{image_id}"]["get"]
    assert operation["security"] == [{"key": ["read"]}, {"signature": []}]
    assert {"206", "304", "307", "410", "416"} <= operation["responses"].keys()


async def test_a_large_answer_comes_whole_over_a_thin_line(deps: ApiDependencies, pool: asyncpg.Pool):
    """It takes longer than a client may stand still, and moves all the while."""
    picture = os.urandom(6_000_000)
    async with serving(deps, stall_seconds=1.0, send_buffer_bytes=4096) as client, asyncio.timeout(50):
        made = await stored_job(client, pool, deps.blobs, {"one": picture})
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port, limit=65_536)
        writer.write(request("GET", f"{made['urls']['self']}?inline=card", [("Connection", "close")]))
        began_at, answer = time.monotonic(), bytearray()
        while piece := await reader.read(262_144):
            answer += piece
            await asyncio.sleep(0.02)  # how thin the line is: what is tested, and nothing is waited for
        writer.close()
    assert time.monotonic() - began_at > 1.0
    job = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert base64.b64decode(job["images"][0]["outputs"]["card"]["url"].partition(",")[2]) == picture
