"""The first page: what is being made, and what was made last."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.session import SESSION_COOKIE, Sessions
from safelight.domain.access import KeyScope
from tests.api.conftest import image, submitted
from tests.api.doors import as_caller, key_for
from tests.api.stored import JPEG, stored_job
from tests.dashboard.conftest import Browser, looking

PICTURES = {f"image-{n}": JPEG for n in range(3)}


def text_of(page: str) -> str:
    """What somebody reads there."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def shown(page: str) -> list[str]:
    """The jobs that it leads to, in order."""
    return list(dict.fromkeys(re.findall(r'href="/dashboard/jobs/(job_\w+)"', page)))


async def test_what_is_under_way_comes_before_what_has_ended(
    browser: Browser, deps: ApiDependencies, pool: asyncpg.Pool
):
    live = await submitted(browser.client, images=[image("a"), image("b")], metadata={"case_id": "case-7"})
    ended = await stored_job(browser.client, pool, deps.blobs, PICTURES, failed=("lost",))

    page = await browser.look("/")

    assert shown(page) == [live["id"], ended["id"]]
    words = text_of(page)
    assert "case_id case-7" in words
    assert "0 of 2" in words
    assert "Elapsed" in words
    assert live["current_step"] in words
    assert "3 of 4, 1 failed" in words
    assert "partial" in words
    assert 'aria-valuenow="0"' in page
    assert 'aria-valuenow="100"' in page


async def test_the_live_part_is_asked_for_anew_and_is_no_page_of_its_own(browser: Browser):
    job = await submitted(browser.client)
    page = await browser.look("/")
    asked = re.search(r'hx-get="/dashboard(/[^"]*)" hx-trigger="every 3s, refresh"', page)
    assert asked
    part = await browser.look(asked[1])
    assert shown(part) == [job["id"]]
    assert "<html" not in part
    assert "static/htmx.min.js" in page
    assert "static/live.js" in page


async def test_who_has_no_job_is_told_how_to_make_one(browser: Browser):
    page = await browser.look("/")
    assert "No job yet" in page
    assert "/v1/jobs" in page


async def test_who_needs_a_key_is_told_to_send_it(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(replace(deps, may_run_open=False)) as browser:
        for scope, is_told in ((KeyScope.ADMIN, True), (KeyScope.READ, False)):
            browser.client.cookies.set(SESSION_COOKIE, Sessions(deps.vault).issue((await key_for(pool, "x", scope))[0]))
            page = html.unescape(await browser.look("/"))
            assert ('-H "Authorization: Bearer $SAFELIGHT_API_KEY"' in page) is is_told
            assert ("curl" in page) is is_told


@pytest.mark.parametrize(("scope", "sees_both"), [(KeyScope.ADMIN, True), (KeyScope.READ, False)])
async def test_an_admin_sees_the_jobs_of_everybody_and_others_their_own(
    deps: ApiDependencies, pool: asyncpg.Pool, scope: KeyScope, sees_both: bool
):
    game, _ = await key_for(pool, "game")
    studio, _ = await key_for(pool, "studio", scope)
    async with looking(replace(deps, may_run_open=False)) as browser:
        jobs: dict[str, dict[str, Any]] = {}
        for account, key in (("game", game), ("studio", (await key_for(pool, "studio"))[0])):
            async with as_caller(browser.client, key) as client:
                jobs[account] = await submitted(client)
        await browser.send("/sign-in", on="/sign-in", key=studio)
        page = await browser.look("/")
        assert (jobs["game"]["id"] in page) is sees_both
        assert jobs["studio"]["id"] in page


async def test_a_paused_queue_is_told_of(browser: Browser):
    await browser.client.post("/v1/queue/pause")
    assert "Nothing is bought" in await browser.look("/")


async def test_what_others_wrote_is_shown_as_they_wrote_it(browser: Browser):
    await submitted(browser.client, metadata={"<i>case": "<script>alert(1)</script>\"'"})
    page = await browser.look("/")
    assert "<script>alert" not in page
    assert "<i>case" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
