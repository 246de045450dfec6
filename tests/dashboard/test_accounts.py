"""Accounts: balances, budgets and books, for whom they belong to and for those who administer them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import asyncpg

from safelight.api.dependencies import ApiDependencies
from safelight.domain.access import KeyScope
from safelight.domain.credits import CreditPrices
from tests.api.conftest import submitted
from tests.api.doors import as_caller, key_for
from tests.dashboard.conftest import looking
from tests.dashboard.test_home import text_of


async def test_an_admin_bills_an_account_pays_in_once_and_sees_what_a_job_holds(
    deps: ApiDependencies, pool: asyncpg.Pool
):
    async with looking(replace(deps, credit_prices=CreditPrices(default=4, by_model={}))) as browser:
        opened = await browser.send("/accounts", on="/accounts", account="default")
        assert opened.url.path == "/dashboard/accounts/default"
        assert "not billed" in text_of(opened.text)
        here = "/accounts/default"
        limits: dict[str, Any] = {"billing": "credits", "weight": "7", "max_concurrency": "", "max_queued": "900"}
        page = (await browser.send(f"{here}/limits", on=here, **limits)).text
        assert "Weight 7" in text_of(page)
        assert "Images that may wait 900" in text_of(page)

        [key] = re.findall(r'name="key" value="(\w+)"', page)
        for _ in range(2):
            page = (await browser.send(f"{here}/credits", on=here, kind="top_up", amount="25", key=key)).text
        assert "Available 25 credits" in text_of(page)

        job = await submitted(browser.client)
        page = await browser.look(here)
        assert "Available 21 credits" in text_of(page)
        assert "Held 4 for" in text_of(page)
        assert f'href="/dashboard/jobs/{job["id"]}"' in page
        assert "available → held" in page
        assert "outside → available" in page
        assert "outside → available" not in await browser.look(here, job=job["id"])

        page = (await browser.send(f"{here}/budget", on=here, daily_usd="2.50")).text
        assert "Spent today $0.00" in text_of(page)
        assert "of $2.50" in text_of(page)
        assert "$2.50" in await browser.look("/accounts")


async def test_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(deps) as browser:
        here = "/accounts/default"
        limits: dict[str, Any] = {"billing": "usd", "weight": "heavy", "max_concurrency": "0", "max_queued": "12"}
        page = (await browser.send(f"{here}/limits", on=here, status=422, **limits)).text
        for field, is_wrong in {"weight": True, "max_concurrency": True, "max_queued": False}.items():
            assert (f'id="f-{field}-fault"' in page) is is_wrong, field
        assert 'value="heavy"' in page
        assert '<option value="usd" selected>' in page

        await browser.send(f"{here}/limits", on=here, **{**limits, "weight": "1", "max_concurrency": ""})
        fields = {"kind": "adjustment", "amount": "1.2.3", "reason": ""}
        page = (await browser.send(f"{here}/credits", on=here, status=422, **fields)).text
        assert 'id="f-amount-fault"' in page
        assert 'value="1.2.3"' in page
        page = (await browser.send(f"{here}/credits", on=here, status=422, **{**fields, "amount": "2"})).text
        assert 'id="f-reason-fault"' in page
        taken_back: dict[str, Any] = {"kind": "adjustment", "amount": "-2", "reason": "a mistake"}
        page = (await browser.send(f"{here}/credits", on=here, status=409, **taken_back)).text
        assert 'role="alert"' in page
        assert "a mistake" in page
        page = (await browser.send(f"{here}/budget", on=here, status=422, daily_usd="-1")).text
        assert 'id="f-daily_usd-fault"' in page
        for name in ("a/b", "..", ""):
            page = (await browser.send("/accounts", on="/accounts", status=422, account=name)).text
            assert 'id="f-account-fault"' in page
        await browser.look("/accounts/%2e%2e", status=404)
        assert await pool.fetchval("SELECT count(*) FROM ledger") == 0


async def test_others_see_their_own_account_and_change_nothing(deps: ApiDependencies, pool: asyncpg.Pool):
    game, _ = await key_for(pool, "game")
    admin, _ = await key_for(pool, "studio", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        async with as_caller(browser.client, admin) as client:
            await client.patch("/v1/accounts/studio", json={"billing": "usd"})
            await client.post("/v1/accounts/studio/credits", json={"usd": "77.00"})
        await browser.send("/sign-in", on="/sign-in", key=game)
        response = await browser.client.get("/dashboard/accounts")
        assert response.url.path == "/dashboard/accounts/game"
        assert "studio" not in response.text
        assert "/limits" not in response.text
        await browser.look("/accounts/studio", status=404)
        for path, fields in {
            "/accounts/studio/credits": {"kind": "top_up", "amount": "5"},
            "/accounts/game/budget": {"daily_usd": "5"},
            "/accounts/game/limits": {"billing": "none", "weight": "100"},
            "/accounts": {"account": "new"},
        }.items():
            answer = await browser.send(path, on="/accounts/game", status=404 if "studio" in path else 403, **fields)
            assert "77" not in answer.text
