"""Keys: made, shown once, and revoked by somebody who meant it."""

from __future__ import annotations

import re
from dataclasses import replace

import asyncpg

from safelight.api.dependencies import ApiDependencies
from safelight.domain.access import KeyScope
from tests.api.doors import as_caller, key_for
from tests.dashboard.conftest import looking
from tests.dashboard.test_home import text_of


async def test_a_key_is_shown_once_is_good_and_is_revoked(deps: ApiDependencies, pool: asyncpg.Pool):
    admin, admin_id = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        await browser.send("/sign-in", on="/sign-in", key=admin)
        page = await browser.look("/keys")
        assert "the one you are signed in with" in page
        assert admin not in page

        fields = {"account": "game", "name": "<b>the game</b>", "scopes": ["read"], "expires_at": "2098-01-01T00:00"}
        made = await browser.send("/keys/new", on="/keys/new", status=201, **fields)
        [key] = re.findall(r"sl_\w+", made.text)
        assert made.headers["cache-control"] == "no-store"
        assert key not in str(made.url)
        assert not made.history
        async with as_caller(browser.client, key) as client:
            assert (await client.get("/v1/jobs")).status_code == 200

        page = await browser.look("/keys", account="game")
        assert key not in page
        assert admin_id not in page
        assert "&lt;b&gt;the game" in page
        assert "2098-01-01" in page
        [revoke] = re.findall(r'<details class="meant">.*?action="/dashboard(/keys/[^"]+)"', page, re.DOTALL)
        after = await browser.send(revoke, on="/keys")
        assert after.url.path == "/dashboard/keys"
        assert "revoked" in text_of(after.text)
        async with as_caller(browser.client, key) as client:
            assert (await client.get("/v1/jobs")).status_code == 401


async def test_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(deps) as browser:
        assert "asks everybody for one" in text_of(await browser.look("/keys/new"))
        fields = {"account": "a b", "name": "mine", "expires_at": "soon"}
        page = (await browser.send("/keys/new", on="/keys/new", status=422, **fields)).text
        for field in ("account", "scopes", "expires_at"):
            assert f'id="f-{field}-fault"' in page, field
        assert 'id="f-name-fault"' not in page
        assert 'value="a b"' in page
        assert 'value="mine"' in page
        assert 'value="soon"' in page
        assert await pool.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_keys_are_an_admins(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "game")
    async with looking(replace(deps, may_run_open=False)) as browser:
        await browser.send("/sign-in", on="/sign-in", key=key)
        for path in ("/keys", "/keys/new"):
            await browser.look(path, status=403)
        await browser.send("/keys/new", on="/", status=403, account="game", scopes="admin")
        assert await pool.fetchval("SELECT count(*) FROM api_keys") == 1
