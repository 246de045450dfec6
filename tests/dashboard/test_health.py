"""How generation does, in a few figures, charts, and the same as tables."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import asyncpg
import pytest

from safelight.api.dependencies import ApiDependencies
from safelight.dashboard.health import _ticked
from safelight.domain.access import KeyScope
from tests.api.doors import key_for
from tests.api.stored import JPEG, stored_job
from tests.api.test_attempts import called
from tests.dashboard.conftest import Browser, looking
from tests.dashboard.test_home import text_of

ALERT = """
    INSERT INTO alerts (rule, subject, severity, told_severity, seen_since, seen_at, firing_since, told_at,
                        title, found, remedy, page)
    SELECT 'provider_down', 'gemini', 'critical', 'critical', t, t, t, t,
           'Provider `gemini` is paused', 'For 10 min.', 'See `safelight providers check`.', '/dashboard/providers'
    FROM safelight.now() AS t
"""


@pytest.mark.parametrize(("window", "points"), [("24h", 24), ("7d", 28)])
async def test_figures_charts_and_tables_say_the_same(
    browser: Browser, deps: ApiDependencies, pool: asyncpg.Pool, window: str, points: int
):
    await stored_job(browser.client, pool, deps.blobs, {"a": JPEG, "b": JPEG, "c": JPEG}, failed=("d",))

    page = await browser.look("/health", window=window)

    words = text_of(page)
    assert "Success rate 75.0 % 3 of 4 images" in words
    assert "Active jobs 0" in words
    assert "Stuck jobs 0" in words
    assert "Cost today $0.00" in words
    assert "placeholder passes 75.0 % 3 1" in words
    found = re.search(r'<script type="application/json" id="chart-data">(.+?)</script>', page, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert points <= len(data["at"]) <= points + 1
    assert all(len(column) == len(data["at"]) for column in data.values())
    assert sum(data["completed"]) == 3
    assert data["failed"][-1] == 1
    rows = re.findall(r'<tr><th scope="row"><time datetime="[^"]+">[^<]+</time></th>(.+?)</tr>', page, re.DOTALL)
    assert len(rows) == 3 * len(data["at"])
    assert text_of(rows[0]) == "3 0 1 0 0", "the newest step comes first"
    assert page.count("As a table") == 3


async def test_what_nobody_can_put_a_bound_to_is_not_shown_as_nothing(
    browser: Browser, deps: ApiDependencies, pool: asyncpg.Pool
):
    job = await stored_job(browser.client, pool, deps.blobs, {"a": JPEG}, failed=("lost",))
    assert "Uncertain $0.00 at most," in text_of(await browser.look("/health"))

    await called(pool, job["id"], "lost", 1, "unknown")

    assert "Uncertain not known of calls" in text_of(await browser.look("/health"))
    assert "$0.00 perhaps more" in text_of(await browser.look("/history"))


async def test_the_figures_are_asked_for_anew_with_their_window(browser: Browser):
    page = await browser.look("/health", window="7d")
    asked = re.search(r'hx-get="/dashboard(/[^"]*)"', page)
    assert asked
    assert asked[1] == "/health/live?window=7d"
    part = await browser.look(asked[1])
    assert "<html" not in part
    assert "7 days" in part
    assert 'id="chart-data"' in part
    assert await browser.look("/health", window="for ever")


async def test_what_fires_stands_at_the_top_for_those_who_administer(deps: ApiDependencies, pool: asyncpg.Pool):
    await pool.execute(ALERT)
    admin, _ = await key_for(pool, "default", KeyScope.ADMIN)
    reader, _ = await key_for(pool, "default", KeyScope.READ)
    for key, is_told in ((admin, True), (reader, False)):
        async with looking(replace(deps, may_run_open=False)) as browser:
            await browser.send("/sign-in", on="/sign-in", key=key)
            page = await browser.look("/health")
            assert ("Provider <code>gemini</code> is paused" in page) is is_told
            if is_told:
                assert page.index("is paused") < page.index("Success rate")
                assert 'href="/dashboard/providers">Show' in page


def test_what_stands_between_backticks_is_code_and_nothing_else_is_markup():
    assert _ticked("See `a <b>` & `c") == "See <code>a &lt;b&gt;</code> &amp; `c"
