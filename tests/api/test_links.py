"""Links that stand in for a key, over real HTTP: what they open, for how long, and how they are refused."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.delivery.webhooks.vault import Vault, new_key
from safelight.domain.access import KeyScope
from safelight.domain.events import EventType
from safelight.engine.image.journal import append_event, locked_job
from tests.api.conftest import Serve, serving
from tests.api.doors import as_caller, key_for
from tests.api.problems import refusal
from tests.api.stored import JPEG, stored_job
from tests.api.test_feed import told


class Clock:
    """The server's, in a test's hand."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def locked(deps: ApiDependencies, clock: Clock) -> AsyncIterator[httpx2.AsyncClient]:
    """A service that needs keys; this client has none."""
    async with serving(replace(deps, may_run_open=False, clock=clock)) as client:
        yield client


@pytest.fixture
async def owner(locked: httpx2.AsyncClient, pool: asyncpg.Pool) -> AsyncIterator[httpx2.AsyncClient]:
    key, _ = await key_for(pool, "studio")
    async with as_caller(locked, key) as client:
        yield client


@pytest.fixture
async def job(owner: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies) -> dict[str, Any]:
    return await stored_job(owner, pool, deps.blobs, {"one": JPEG, "two": JPEG[:100]})


async def test_a_signed_link_opens_its_picture_for_whoever_has_it(locked: httpx2.AsyncClient, job: dict[str, Any]):
    one, two = job["images"]

    for url, expected in ((one["url"], JPEG), (two["url"], JPEG[:100]), (one["outputs"]["card"]["url"], JPEG)):
        response = await locked.get(url)
        assert (response.status_code, response.content) == (200, expected)
        assert response.headers["cross-origin-resource-policy"] == "same-site"
        kind, immutable, age = response.headers["cache-control"].split(", ")
        assert (kind, immutable) == ("private", "immutable")
        assert 0 < int(age.removeprefix("max-age=")) <= 3600
    assert (await locked.head(one["url"])).status_code == 200
    assert (await locked.get(f"{one['url']}&download=1")).headers["content-disposition"].startswith("attachment")


async def test_every_part_of_a_link_counts_and_every_refusal_reads_the_same(
    locked: httpx2.AsyncClient, owner: httpx2.AsyncClient, job: dict[str, Any]
):
    one, two = (urlsplit(each["url"]) for each in job["images"])
    parts = dict(parse_qsl(one.query))
    other_job = one.path.replace(job["id"], "job_01M7YSVVBZEPXTK42RPN6ET4AT")
    links = [
        f"{one.path}?{two.query}",
        f"{other_job}?{one.query}",
        f"{one.path}/card?{one.query}",
        f"{one.path}?{one.query}&size=large",
        f"{one.path}?{one.query}&signature={parts['signature']}",
        f"{one.path}?{one.query}&link=x",
        f"{one.path}?link=x",
        f"{one.path}?link=",
        f"/v1/jobs/{job['id']}/images/none?{one.query}",
        f"/v1/jobs/{job['id']}/archive?{one.query}",
        f"/v1/jobs/none/archive?{one.query}",
    ]
    for name, value in parts.items():
        tampered = value[:-1] + ("0" if value[-1] != "0" else "1")
        links.append(f"{one.path}?{urlencode({**parts, name: tampered})}")
        links.append(f"{one.path}?{urlencode({**parts, name: ''})}")
        links.append(f"{one.path}?{urlencode({k: v for k, v in parts.items() if k != name})}")
    bodies = set()
    for link in links:
        response = await locked.get(link)
        slug = (
            "invalid-signature" if {"signature", "link"} & dict(parse_qsl(urlsplit(link).query, True)).keys() else None
        )
        found = refusal(response, 403, slug) if slug else refusal(response, 401, "unauthenticated")
        if slug:
            bodies.add((found["title"], found["detail"]))
    assert len(bodies) == 1


async def test_a_link_ends_with_its_time(locked: httpx2.AsyncClient, job: dict[str, Any], clock: Clock):
    url = job["images"][0]["url"]
    clock.ahead_seconds = 2900
    assert (await locked.get(url)).status_code == 200
    clock.ahead_seconds = 3601
    refusal(await locked.get(url), 403, "invalid-signature")


async def test_a_link_opens_nothing_but_its_picture(locked: httpx2.AsyncClient, job: dict[str, Any]):
    query = urlsplit(job["images"][0]["url"]).query
    path = f"/v1/jobs/{job['id']}"
    for method, each in (
        ("GET", path),
        ("GET", f"{path}/events"),
        ("DELETE", path),
        ("POST", f"{path}/retry"),
        ("GET", "/v1/jobs"),
    ):
        refusal(await locked.request(method, f"{each}?{query}"), 401, "unauthenticated")


async def test_a_key_counts_more_than_a_link_and_opens_what_is_its_own(
    locked: httpx2.AsyncClient, owner: httpx2.AsyncClient, job: dict[str, Any], pool: asyncpg.Pool
):
    url = job["images"][0]["url"]
    plain = urlsplit(url).path
    assert (await owner.get(plain)).content == JPEG
    assert (await owner.get(f"{plain}?expires=1&key=x&signature=y")).status_code == 200
    refusal(await locked.get(plain), 401, "unauthenticated")
    refusal(await locked.get(url, headers={"authorization": "Bearer nonsense"}), 401, "unauthenticated")
    for scopes, account, status in (
        ((KeyScope.READ,), "other", 404),
        ((KeyScope.ADMIN,), "other", 200),
        ((KeyScope.SUBMIT,), "studio", 403),
    ):
        key, _ = await key_for(pool, account, *scopes)
        async with as_caller(locked, key) as client:
            assert (await client.get(plain)).status_code == status


async def test_links_of_an_older_secret_key_are_good_while_it_is_listed(
    job: dict[str, Any], deps: ApiDependencies, serve_with: Serve
):
    url, newer = job["images"][0]["url"], new_key()
    old = base64.urlsafe_b64encode(deps.vault.keys[0]).decode()
    async with serve_with(vault=Vault([newer, old]), may_run_open=False) as client:
        assert (await client.get(url)).status_code == 200
    async with serve_with(vault=Vault([newer]), may_run_open=False) as client:
        refusal(await client.get(url), 403, "invalid-signature")


async def test_looking_again_shows_the_same_links_for_a_while(
    owner: httpx2.AsyncClient, job: dict[str, Any], clock: Clock
):
    clock.ahead_seconds = 600 - (time.time() % 600) + 1
    first = await owner.get(job["urls"]["self"])
    clock.ahead_seconds += 500
    again = await owner.get(job["urls"]["self"], headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_events_show_links_that_are_signed_when_they_are_shown(
    locked: httpx2.AsyncClient, owner: httpx2.AsyncClient, job: dict[str, Any], pool: asyncpg.Pool
):
    async with locked_job(pool, job["id"]) as (conn, _job):
        await append_event(conn, job["id"], EventType.IMAGE_COMPLETED, image_id="one")
        await append_event(conn, job["id"], EventType.JOB_PARTIAL)
    page = (await owner.get(job["urls"]["events"], headers={"accept": "application/json"})).json()
    feed = await told(owner, 3)
    stream = await owner.get(job["urls"]["events"], params={"after": 1})
    shown = [
        event["data"]["image_url"]
        for event in (*page["events"], *feed["events"])
        if event["type"] == EventType.IMAGE_COMPLETED
    ]
    assert len(shown) == 2
    for url in shown:
        assert url in stream.text
        assert (await locked.get(url)).content == JPEG
    assert "signature" not in str(await pool.fetch("SELECT data FROM events"))


async def test_a_lasting_link_needs_no_key_has_no_end_and_may_be_kept_by_anybody(
    locked: httpx2.AsyncClient, owner: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, clock: Clock
):
    job = await stored_job(owner, pool, deps.blobs, {"one": JPEG, "two": JPEG}, visibility="link")
    one, two = (each["url"] for each in job["images"])
    assert job["visibility"] == "link"
    assert len(dict(parse_qsl(urlsplit(one).query))["link"]) >= 22
    clock.ahead_seconds = 10 * 365 * 86_400
    response = await locked.get(one)
    assert response.content == JPEG
    assert response.headers["cache-control"] == "public, immutable, max-age=31536000"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    refusal(await locked.get(f"{urlsplit(one).path}?{urlsplit(two).query}"), 403, "invalid-signature")
    by_key = await owner.get(urlsplit(one).path)
    assert by_key.headers["cache-control"].startswith("private"), "whoever keeps it must not show it to the keyless"
    assert (await owner.get(job["urls"]["self"])).json()["images"][0]["url"] == one
    assert (await owner.delete(job["urls"]["self"])).status_code == 200
    refusal(await locked.get(one), 410, "gone")


async def test_in_an_open_service_links_are_plain(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
):
    job = await stored_job(client, pool, deps.blobs)
    assert job["images"][0]["url"] == f"/v1/jobs/{job['id']}/images/one"
    assert job["urls"]["archive"] == f"/v1/jobs/{job['id']}/archive"
    assert (await client.get(f"{job['images'][0]['url']}?expires=1&key=x&signature=y")).content == JPEG
