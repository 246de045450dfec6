"""Earlier jobs and single pictures, found again."""

from __future__ import annotations

import csv
import html
import io
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from safelight.api.dependencies import ApiDependencies
from tests.api.conftest import image, submitted
from tests.api.doors import as_caller, key_for
from tests.api.stored import JPEG, stored_job
from tests.dashboard.conftest import Browser, looking
from tests.dashboard.test_home import shown, text_of


@pytest.fixture
async def jobs(browser: Browser, deps: ApiDependencies, pool: asyncpg.Pool) -> dict[str, dict[str, Any]]:
    """One that waits, one that brought a part, and one that failed."""
    client, blobs = browser.client, deps.blobs
    return {
        "live": await submitted(client, account="studio", images=[image("x", group="front")]),
        "partial": await stored_job(
            client, pool, blobs, {"a.key": JPEG}, group="evidence", failed=("lost",), metadata={"case": "7"}
        ),
        "other": await stored_job(client, pool, blobs, {"b": JPEG}, metadata={"case": "8"}),
    }


async def found(browser: Browser, jobs: dict[str, dict[str, Any]], **asked: str) -> set[str]:
    ids = {job["id"]: name for name, job in jobs.items()}
    return {ids[each] for each in shown(await browser.look(f"/history?{urlencode(asked)}"))}


async def test_jobs_are_found_by_their_state_account_group_metadata_and_time(
    browser: Browser, jobs: dict[str, dict[str, Any]], pool: asyncpg.Pool
):
    long_ago = "UPDATE jobs SET created_at = '2026-03-01T10:00:30Z' WHERE id = $1"
    await pool.execute(long_ago, jobs["other"]["id"])
    assert await found(browser, jobs) == {"live", "partial", "other"}
    assert await found(browser, jobs, status="live") == {"live"}
    assert await found(browser, jobs, status="incomplete") == {"partial", "other"}
    assert await found(browser, jobs, status="partial", group="evidence") == {"partial"}
    assert await found(browser, jobs, account="studio") == {"live"}
    assert await found(browser, jobs, key="case", value="8") == {"other"}
    assert await found(browser, jobs, to="2026-03-01T10:01") == {"other"}
    assert await found(browser, jobs, **{"from": "2026-03-01T10:00", "to": "2026-03-02"}) == {"other"}
    page = await browser.look("/history", key="case", value="nothing")
    assert "No job is like that" in page
    assert 'value="nothing"' in page


async def test_a_filter_that_makes_no_sense_is_told_of_beside_what_was_filled_in(browser: Browser):
    page = await browser.look("/history", status=422, **{"group": "no such/form", "from": "yesterday"})
    assert 'role="alert"' in page
    assert 'value="no such/form"' in page
    assert 'value="yesterday"' in page
    assert "<code>created_after</code>" in page, "it says which of them"
    assert 'role="alert"' in await browser.look("/history", status=400, cursor="nonsense")


async def test_a_metadata_value_without_its_key_does_not_find_everything(
    browser: Browser, jobs: dict[str, dict[str, Any]]
):
    for path in ("/history", "/history/images"):
        page = await browser.look(path, status=422, value="8")
        assert "A metadata value needs its key" in page
        assert 'value="8"' in page
        assert not shown(page)


async def test_pages_go_back_to_the_first_job_with_the_same_filters(browser: Browser):
    made = [(await submitted(browser.client, metadata={"a&b": "c d"}))["id"] for _ in range(27)]
    await submitted(browser.client)
    seen: list[str] = []
    path = "/history?key=a%26b&value=c+d"
    while path:
        page = await browser.look(path)
        seen += shown(page)
        following = re.search(r'rel="next" href="/dashboard([^"]+)"', page)
        path = html.unescape(following[1]) if following else ""
    assert seen == made[::-1]


async def test_all_that_a_filter_leaves_comes_as_a_table(browser: Browser, jobs: dict[str, dict[str, Any]]):
    page = await browser.look("/history?status=incomplete&key=case&value=7")
    address = re.search(r'href="(/v1/jobs\?[^"]+)" download', page)
    assert address
    response = await browser.client.get(html.unescape(address[1]))
    assert response.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [row["id"] for row in rows] == [jobs["partial"]["id"]]


async def test_pictures_are_shown_and_led_to_and_what_has_none_says_why(
    browser: Browser, jobs: dict[str, dict[str, Any]]
):
    page = await browser.look("/history/images", group="evidence")
    picture = re.search(r'<img src="([^"]+)" alt="evidence a.key" loading="lazy"', page)
    assert picture
    assert (await browser.client.get(html.unescape(picture[1]))).content == JPEG
    assert f'href="/dashboard/jobs/{jobs["partial"]["id"]}/images/a.key"' in page
    assert "PERMANENT: SECRET it said" in text_of(page)
    assert "lost" not in await browser.look("/history/images?group=evidence&status=completed")
    assert "No image is like that" in await browser.look("/history/images", error_kind="SAFETY")


async def test_others_find_what_is_theirs_alone(deps: ApiDependencies, pool: asyncpg.Pool):
    game, _ = await key_for(pool, "game")
    studio, _ = await key_for(pool, "studio")
    async with looking(replace(deps, may_run_open=False)) as browser:
        async with as_caller(browser.client, game) as client:
            foreign = await submitted(client)
        await browser.send("/sign-in", on="/sign-in", key=studio)
        page = await browser.look("/history")
        assert foreign["id"] not in page
        assert "Account" not in re.sub(r'title="Account"', "", page).split("<main")[1]
        assert 'role="alert"' in await browser.look("/history", status=404, account="game")
