"""The backlog, and the switch that stops all buying."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from safelight.api.dependencies import ApiDependencies
from safelight.domain.access import KeyScope
from tests.api.conftest import image, submitted
from tests.api.doors import key_for
from tests.dashboard.conftest import Browser, looking
from tests.dashboard.test_home import shown, text_of


async def test_what_waits_is_told_by_provider_with_places_that_are_free(browser: Browser):
    first = await submitted(browser.client, images=[image("a"), image("b")])
    second = await submitted(browser.client)

    page = await browser.look("/queue")

    words = text_of(page)
    assert shown(page) == [second["id"], first["id"]]
    assert "Waiting 3 images Being made 0 images" in words
    assert "placeholder passes 3 0 8 of 8" in words
    await browser.client.post(f"/v1/jobs/{first['id']}/cancel")
    assert "Waiting 1 image Being made 0 images" in text_of(await browser.look("/queue"))
    assert "<html" not in await browser.look("/queue/live")


async def test_pausing_takes_a_second_step_and_so_does_going_on(browser: Browser):
    await submitted(browser.client)
    assert 'href="/dashboard/queue/pause"' in await browser.look("/queue")
    assert "1 image waits now" in text_of(await browser.look("/queue/pause"))
    assert not (await browser.client.get("/v1/queue")).json()["paused"], "looking changes nothing"

    response = await browser.send("/queue/pause", on="/queue/pause")

    assert response.url.path == "/dashboard/queue"
    assert (await browser.client.get("/v1/queue")).json()["paused"]
    assert "Nothing is bought" in response.text
    assert 'href="/dashboard/queue/resume"' in response.text
    response = await browser.send("/queue/resume", on="/queue/resume")
    assert not (await browser.client.get("/v1/queue")).json()["paused"]
    assert "Nothing is bought" not in response.text


async def test_who_may_not_pause_finds_no_button_and_is_refused(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "game", KeyScope.SUBMIT, KeyScope.READ)
    async with looking(replace(deps, may_run_open=False)) as browser:
        await browser.send("/sign-in", on="/sign-in", key=key)
        assert "/queue/pause" not in await browser.look("/queue")
        response = await browser.send("/queue/pause", on="/queue", status=403)
        assert "admin" in response.text
        assert await pool.fetchval("SELECT paused_at FROM installation") is None
