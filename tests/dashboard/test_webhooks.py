"""Webhooks: made, told, failing, told again; their secrets shown once."""

from __future__ import annotations

import re
from dataclasses import replace

import asyncpg

from safelight.api.dependencies import ApiDependencies
from safelight.net.egress import EgressGuard, parse_allowances
from tests.api.conftest import submitted
from tests.api.doors import as_caller, key_for
from tests.dashboard.conftest import looking
from tests.dashboard.test_home import text_of
from tests.delivery.receiver import receiving, status
from tests.delivery.stage import courier, nothing_waits
from tests.orders import until

SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


async def test_a_webhook_is_made_tested_disabled_by_its_receiver_enabled_and_told_again(
    deps: ApiDependencies, pool: asyncpg.Pool
):
    guard = EgressGuard(parse_allowances("http://127.0.0.0/8:*"))
    async with receiving() as receiver, looking(replace(deps, check_url=guard.check)) as browser:
        fields = {"url": receiver.url(), "description": "the <game>", "events": ["job.created", "job.failed"]}
        made = await browser.send("/webhooks/new", on="/webhooks/new", status=201, **fields)
        [secret] = SECRET.findall(made.text)
        assert made.headers["cache-control"] == "no-store"
        assert not made.history
        page = await browser.look("/webhooks")
        assert "the &lt;game&gt;" in page
        assert "job.created, job.failed" in page
        assert secret not in page
        [here] = set(re.findall(r'href="/dashboard(/webhooks/whe_\w+)"', page))

        turned = await browser.send(f"{here}/rotate", on=here, overlap="hour")
        [second] = SECRET.findall(turned.text)
        assert second != secret
        assert "signs beside it until" in turned.text
        assert not SECRET.search(await browser.look(here))

        receiver.answer = status(200, body=b"<b>thanks</b>")
        sent = await browser.send(f"{here}/test", on=here)
        assert "It is about to be sent" in sent.text
        assert "data-live" in sent.text
        async with courier(pool, vault=deps.vault):
            await nothing_waits(pool)
            for each in (secret, second):
                receiver.messages[0].verified(each)
            message = sent.url.path.removeprefix("/dashboard")
            page = await browser.look(message)
            assert "&lt;b&gt;thanks" in page
            assert "Answer 200" in text_of(page)
            assert "data-live" not in page
            assert "<html" not in await browser.look(f"{message}/live")

            receiver.answer = status(410)
            job = await submitted(browser.client)
            await until(pool, "SELECT disabled_at IS NOT NULL FROM webhook_endpoints")
            await nothing_waits(pool)
            page = await browser.look(here)
            assert "Nothing is sent there since" in page
            assert f'href="/dashboard/jobs/{job["id"]}"' in page
            again = await browser.send(f"{message}/redeliver", on=message, status=409)
            assert 'role="alert"' in again.text
            receiver.answer = status(204)
            assert "enabled" in text_of((await browser.send(f"{here}/enable", on=here)).text)
            await browser.send(f"{message}/redeliver", on=message)
            await nothing_waits(pool)
        assert len(receiver.messages) == 3
        page = await browser.look(f"/webhooks/deliveries?status=dead&webhook_id={here.removeprefix('/webhooks/')}")
        assert "job.created</a>" in page
        assert "webhook.test</a>" not in page
        await browser.send(f"{here}/delete", on=here)
        assert "No webhook hears" in await browser.look("/webhooks")
        await browser.look(here, status=404)


async def test_what_is_wrong_stands_at_its_field_and_what_was_typed_stays(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(deps) as browser:
        fields = {
            "url": "https://private.example/x",
            "description": "mine",
            "events": ["job.failed", "job.x"],
            "retry_seconds": "5, soon",
        }
        page = (await browser.send("/webhooks/new", on="/webhooks/new", status=422, **fields)).text
        for field, is_wrong in {"url": True, "events": True, "retry_seconds": True, "description": False}.items():
            assert (f'id="f-{field}-fault"' in page) is is_wrong, field
        assert 'value="5, soon"' in page
        assert 'value="job.failed" checked' in page
        assert 'value="mine"' in page
        page = await browser.look("/webhooks/deliveries", status=422, job_id="job_x")
        assert 'role="alert"' in page
        assert 'value="job_x"' in page

        good = {**fields, "url": "https://hooks.example/", "events": ["job.failed"], "retry_seconds": "5 600"}
        made = await browser.send("/webhooks/new", on="/webhooks/new", status=201, **good)
        [here] = re.findall(r'href="/dashboard(/webhooks/whe_\w+)"', made.text)
        page = await browser.look(f"{here}/change")
        assert 'value="https://hooks.example/"' in page
        assert 'value="5, 600"' in page
        page = (await browser.send(f"{here}/change", on=here, url="https://more.example/")).text
        assert "https://more.example/" in page
        assert "everything" in page
        assert "the usual pauses" in page


async def test_another_account_sees_no_webhook_and_no_message_and_a_reader_changes_none(
    deps: ApiDependencies, pool: asyncpg.Pool
):
    game, _ = await key_for(pool, "game")
    studio, _ = await key_for(pool, "studio")
    async with looking(replace(deps, may_run_open=False)) as browser:
        async with as_caller(browser.client, game) as client:
            hook = (await client.post("/v1/webhooks", json={"url": "https://hooks.example/"})).json()
            sent = (await client.post(f"/v1/webhooks/{hook['id']}/test")).json()
        await browser.send("/sign-in", on="/sign-in", key=studio)
        for page in (await browser.look("/webhooks"), await browser.look("/webhooks/deliveries")):
            assert hook["id"] not in page
            assert sent["id"] not in page
            assert "hooks.example" not in page
        await browser.look("/webhooks", status=404, account="game")
        for path in (f"/webhooks/{hook['id']}", f"/webhooks/deliveries/{sent['id']}", f"/webhooks/{hook['id']}/change"):
            await browser.look(path, status=404)
        for path in (*(f"{hook['id']}/{each}" for each in ("test", "rotate", "delete", "enable")), sent["id"]):
            path = path if path.startswith("whe_") else f"deliveries/{path}/redeliver"
            assert "whsec_" not in (await browser.send(f"/webhooks/{path}", on="/webhooks", status=404)).text
        assert await pool.fetchval("SELECT count(*) FROM webhook_endpoints") == 1
