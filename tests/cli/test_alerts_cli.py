"""`safelight alerts` as processes of their own: what fires, which rules there are, and who takes a message."""

from __future__ import annotations

import json
import os
from pathlib import Path

import asyncpg

from safelight.api.app import ApiDependencies
from safelight.engine.pause import pause, resume
from tests.api import conftest as api
from tests.cli.conftest import Safelight
from tests.delivery.receiver import receiving, status
from tests.engine.alarms import Tower

queue, deps, renderer = api.queue, api.deps, api.renderer

SECRET = "canary-secret-in-an-address"


async def test_every_service_is_sent_a_message_and_it_says_which_took_it_without_an_address(
    safelight: Safelight, tmp_path: Path
) -> None:
    alone = await safelight("alerts", "test")
    assert (alone.code, alone.out) == (1, "")
    assert "set alerts.urls" in alone.err
    async with receiving() as well, receiving() as ill:
        ill.answer = status(503)
        (tmp_path / "safelight.toml").write_text(
            f'[alerts]\nurls = ["json://u:{SECRET}@127.0.0.1:{well.port}/"]\n'
            f'critical_urls = ["json://u:{SECRET}@127.0.0.1:{ill.port}/"]\n'
            "[alerts.rules.success_rate]\nwarning_below = 0.75\n[alerts.rules.budget]\nenabled = false\n"
        )
        said = await safelight("alerts", "test")
        assert (said.code, said.out) == (1, "json-1: accepted\njson-2: it was not accepted (status 503)\n")
        [message] = well.messages
        assert message.document["title"] == "[test] Safelight can tell you"
        assert SECRET not in said.out + said.err + message.body.decode()
    rules = await safelight("alerts", "rules")
    rows = {line.split()[0]: line for line in rules.out.splitlines()}
    assert "below 0.75" in rows["success_rate"]
    assert "json-1, json-2" in rows["success_rate"]
    assert "turned off" in rows["budget"]
    assert SECRET not in rules.out


async def test_settings_that_make_no_sense_are_named_without_an_address(safelight: Safelight, tmp_path: Path) -> None:
    (tmp_path / "safelight.toml").write_text(
        f'[alerts]\nurls = ["json://{SECRET}"]\n[alerts.rules.budget]\nwarning_below = 0.5\n'
    )
    said = await safelight("alerts", "rules")
    assert said.code == os.EX_CONFIG
    assert "setting alerts: rule `budget` has no `warning_below`; it has enabled" in said.err
    assert SECRET not in said.err


async def test_what_fires_and_what_is_over_is_listed(
    safelight: Safelight, deps: ApiDependencies, pool: asyncpg.Pool
) -> None:
    tower = Tower(pool=pool).only("queue_paused")
    async with api.serving(deps) as client:
        url = str(client.base_url).rstrip("/")
        await pause(pool, reason="x")
        await tower.look(after_seconds=3700)
        firing = await safelight("alerts", "list", url=url)
        assert firing.out.startswith("warning  Buying is paused, since 20"), firing.err
        assert "Nothing has been bought for 62 min (warning after 60 min)." in firing.out
        await resume(pool)
        await tower.until_over()
        over = await safelight("alerts", "list", url=url)
        assert over.out.startswith("nothing fires (")
        assert "over      Buying is paused, 20" in over.out
        shown = await safelight("alerts", "list", "--json", url=url)
        assert [each["state"] for each in json.loads(shown.out)["alerts"]] == ["resolved"]
