"""An operator is shown what fires and what did, over HTTP and at the command line."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from safelight.api.app import ApiDependencies
from safelight.domain.access import KeyScope
from safelight.engine.pause import pause, resume
from tests.api.conftest import serving
from tests.api.doors import bearer, key_for
from tests.engine.alarms import Tower


async def test_an_admin_is_shown_what_fires_and_what_is_over_and_nobody_else_is(
    deps: ApiDependencies, pool: asyncpg.Pool
) -> None:
    tower = Tower(pool=pool).only("queue_paused")
    boss, _ = await key_for(pool, "default", KeyScope.ADMIN)
    guest, _ = await key_for(pool, "guest", KeyScope.READ)
    async with serving(replace(deps, may_run_open=False)) as client:
        assert (await client.get("/v1/alerts", headers=bearer(guest))).status_code == 403
        assert (await client.get("/v1/alerts?x=1", headers=bearer(boss))).status_code == 422
        empty = (await client.get("/v1/alerts", headers=bearer(boss))).json()
        assert empty == {"evaluated_at": None, "alerts": []}

        await pause(pool, reason="x")
        await tower.look(after_seconds=3700)
        shown = (await client.get("/v1/alerts", headers=bearer(boss))).json()
        [alert] = shown["alerts"]
        assert shown["evaluated_at"] == alert["firing_since"]
        assert alert["since"] < alert["firing_since"]
        assert {name: alert[name] for name in ("rule", "subject", "state", "severity", "title", "page")} == {
            "rule": "queue_paused",
            "subject": "",
            "state": "firing",
            "severity": "warning",
            "title": "Buying is paused",
            "page": "/dashboard/queue",
        }
        assert (alert["notified_at"], alert["clear_since"], alert["resolved_at"]) == (None, None, None)

        await resume(pool)
        await tower.until_over()
        [over] = (await client.get("/v1/alerts", headers=bearer(boss))).json()["alerts"]
        assert (over["state"], over["resolved_at"] > over["clear_since"]) == ("resolved", True)
        await tower.look(after_seconds=8 * 86_400)
        assert (await client.get("/v1/alerts", headers=bearer(boss))).json()["alerts"] == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_alerts_are_only_looked_at(deps: ApiDependencies, method: str) -> None:
    async with serving(deps) as client:
        assert (await client.request(method, "/v1/alerts")).status_code == 405
