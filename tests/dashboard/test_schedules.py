"""Schedules: made from what is pasted, run by hand, and deleted by somebody who meant it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import asyncpg

from safelight.api.dependencies import ApiDependencies
from safelight.domain.access import KeyScope
from tests.api.conftest import job
from tests.api.doors import as_caller, key_for
from tests.api.test_schedules import body, set_clock, tick
from tests.dashboard.conftest import looking
from tests.dashboard.test_home import text_of


async def test_a_schedule_is_pasted_runs_once_for_one_click_is_disabled_and_deleted(
    deps: ApiDependencies, pool: asyncpg.Pool
):
    await set_clock(pool, "2026-11-20T12:00:00")
    async with looking(deps) as browser:
        example = re.search(r"<textarea[^>]*>(.*?)</textarea>", await browser.look("/schedules/new"), re.DOTALL)
        assert example
        toml = example[1].replace("&#34;", '"')
        made = await browser.send("/schedules/new", on="/schedules/new", text=toml)
        here = made.url.path.removeprefix("/dashboard")
        assert "2026-11-20 17:00:00 UTC" in made.text
        assert "case-{date}" in made.text
        assert "not run yet" in made.text

        [key] = re.findall(r'name="key" value="(\w+)"', made.text)
        await browser.send(f"{here}/run", on=here, key=key)
        page = (await browser.send(f"{here}/run", on=here, key=key)).text
        [job_id] = set(re.findall(r'href="/dashboard/jobs/(job_\w+)"', page))
        assert job_id in await browser.look("/schedules")
        assert await pool.fetchval("SELECT count(*) FROM schedule_runs") == 1

        page = (await browser.send(f"{here}/disable", on=here)).text
        assert "none while it is disabled" in page
        assert "Enable it" in page
        assert "Disable it" in (await browser.send(f"{here}/enable", on=here)).text
        assert re.search(r'<details class="meant">.*?/delete"', page, re.DOTALL)
        assert "There are no schedules" in (await browser.send(f"{here}/delete", on=here)).text
        await browser.look(here, status=404)


async def test_a_run_without_its_job_is_at_risk_and_says_why(deps: ApiDependencies, pool: asyncpg.Pool):
    await set_clock(pool, "2026-11-20T12:00:00")
    fewer = {"placeholder": deps.catalog.providers["placeholder"]}
    later = replace(deps, catalog=replace(deps.catalog, providers=fewer))
    async with looking(deps) as browser:
        sent = body(job=job(defaults={"provider": "picky", "model": "picky-1"}))
        schedule = (await browser.client.post("/v1/schedules", json=sent)).json()
    await set_clock(pool, "2026-11-20T17:00:01")
    await tick(later)
    async with looking(later) as browser:
        assert "at risk: no job was made" in await browser.look("/schedules")
        here = f"/schedules/{schedule['id']}"
        page = await browser.look(here)
        assert "/job/defaults/provider" in page
        assert "at risk" in page
        refused = (await browser.send(f"{here}/run", on=here, status=422)).text
        assert 'role="alert"' in refused
        assert "/job/defaults/provider" in refused


async def test_what_is_wrong_is_named_by_its_place_and_what_was_pasted_stays(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(deps) as browser:
        bad = json.dumps(body(cron="0 25 * * *", job=job(storage_prefix="cases/{week}")))
        page = (await browser.send("/schedules/new", on="/schedules/new", status=422, text=bad)).text
        words = text_of(page)
        assert "cron 0 25" in words.replace("&#34;", "")
        assert "job › storage_prefix" in words
        assert "cases/{week}" in page
        page = (await browser.send("/schedules/new", on="/schedules/new", status=422, text="name = [")).text
        assert "cannot be read" in page
        assert "name = [" in page


async def test_schedules_are_their_accounts_and_a_reader_changes_none(deps: ApiDependencies, pool: asyncpg.Pool):
    game, _ = await key_for(pool, "game")
    async with looking(replace(deps, may_run_open=False)) as browser:
        async with as_caller(browser.client, game) as client:
            here = f"/schedules/{(await client.post('/v1/schedules', json=body(name='of-the-game'))).json()['id']}"
        await browser.send("/sign-in", on="/sign-in", key=(await key_for(pool, "studio"))[0])
        assert "of-the-game" not in await browser.look("/schedules")
        await browser.look(here, status=404)
        for action in ("run", "disable", "delete"):
            await browser.send(f"{here}/{action}", on="/schedules", status=404)
        await browser.send("/sign-out", on="/")

        await browser.send("/sign-in", on="/sign-in", key=(await key_for(pool, "game", KeyScope.READ))[0])
        page = await browser.look(here)
        assert "of-the-game" in page
        assert "Run it now" not in page
        await browser.look("/schedules/new", status=403)
        await browser.send(f"{here}/delete", on=here, status=403)
        await browser.send("/sign-out", on="/")

        await browser.send("/sign-in", on="/sign-in", key=(await key_for(pool, "studio", KeyScope.ADMIN))[0])
        assert "of-the-game" in await browser.look("/schedules", account="game")
        disabled = await browser.send(f"{here}/disable?account=game", on="/schedules")
        assert "of-the-game" in disabled.text
        assert disabled.url.params["account"] == "game"
