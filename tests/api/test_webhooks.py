"""Webhooks over HTTP: made, changed, turned; their messages listed and sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.cursor import page_cursor
from safelight.api.dependencies import ApiDependencies
from safelight.domain.events import EventType
from safelight.net.egress import EgressGuard, parse_allowances
from tests.api.conftest import Serve, job, submitted
from tests.api.problems import pointers, refusal
from tests.delivery.receiver import Receiver, receiving, status
from tests.delivery.stage import courier, happen, nothing_waits
from tests.orders import until

NOBODY = "whe_01JD0000000000000000000000"
NOTHING = f"msg_{'0' * 32}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def local(serve_with: Serve) -> AsyncIterator[httpx2.AsyncClient]:
    """An API that lets webhooks go to loopback."""
    async with serve_with(check_url=EgressGuard(parse_allowances("http://127.0.0.0/8:*")).check) as client:
        yield client


async def created(client: httpx2.AsyncClient, url: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/webhooks", json={"url": url, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def test_a_webhook_is_made_shown_changed_and_deleted(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    response = await client.post(
        "/v1/webhooks",
        json={
            "url": "https://hooks.example:8443/safelight?token=1",
            "events": ["job.completed", "provider.paused", "job.progress", "job.completed"],
            "description": "The game's own",
            "retry_seconds": [5, 600],
        },
    )
    made = response.json()
    assert response.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert response.headers["cache-control"] == "no-store"
    assert made["secret"].startswith("whsec_")
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert (await client.get(f"/v1/webhooks/{made['id']}")).json() == shown
    assert (await client.get("/v1/webhooks")).json() == {"webhooks": [shown]}
    assert shown["events"] == ["job.completed", "provider.paused", "job.progress"]
    assert (shown["retry_seconds"], shown["enabled"], shown["job_id"]) == ([5.0, 600.0], True, None)
    sealed = await pool.fetchval("SELECT ciphertext FROM webhook_secrets")
    assert made["secret"].removeprefix("whsec_").encode() not in sealed

    changed = await client.patch(f"/v1/webhooks/{made['id']}", json={"events": None, "url": "https://more.example/"})
    assert changed.json() == {**shown, "events": None, "url": "https://more.example/"}
    assert (await client.patch(f"/v1/webhooks/{made['id']}", json={})).json() == changed.json()

    assert (await client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    assert (await client.get("/v1/webhooks")).json() == {"webhooks": []}
    for response in (
        await client.get(f"/v1/webhooks/{made['id']}"),
        await client.patch(f"/v1/webhooks/{made['id']}", json={}),
        await client.delete(f"/v1/webhooks/{made['id']}"),
        await client.post(f"/v1/webhooks/{made['id']}/test"),
        await client.post(f"/v1/webhooks/{made['id']}/rotate-secret"),
    ):
        refusal(response, 404, "not-found")


async def test_a_test_message_arrives_signed_and_its_delivery_says_so(
    local: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, receiver: Receiver
):
    made = await created(local, receiver.url(), events=["job.failed"])
    sent = await local.post(f"/v1/webhooks/{made['id']}/test")
    assert (sent.status_code, sent.json()["status"], sent.json()["type"]) == (202, "pending", "webhook.test")
    receiver.answer = status(200, body=b"hello")
    async with courier(pool, vault=deps.vault):
        await nothing_waits(pool)

    [message] = receiver.messages
    assert message.verified(made["secret"])["data"] == {"webhook_id": made["id"]}
    delivery = (await local.get(f"/v1/webhooks/deliveries/{message.id}")).json()
    assert delivery["id"] == message.id == sent.json()["id"]
    assert (delivery["status"], delivery["http_status"], delivery["reply"]) == ("delivered", 200, "hello")
    assert (delivery["attempt_count"], delivery["next_attempt_at"], delivery["error"]) == (1, None, None)
    assert delivery["delivered_at"] == delivery["attempted_at"] is not None


async def test_a_secret_is_turned_and_the_one_before_it_signs_for_a_while(
    local: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, receiver: Receiver
):
    made = await created(local, receiver.url(), events=["job.failed"])
    turned = await local.post(f"/v1/webhooks/{made['id']}/rotate-secret", json={"overlap_seconds": 60})
    assert turned.json().keys() == {"id", "secret", "previous_expires_at"}
    assert turned.json()["previous_expires_at"] is not None
    await local.post(f"/v1/webhooks/{made['id']}/test")
    async with courier(pool, vault=deps.vault):
        await nothing_waits(pool)

    [message] = receiver.messages
    for secret in (made["secret"], turned.json()["secret"]):
        message.verified(secret)


async def test_a_jobs_own_webhook_is_told_and_signed_with_the_default_secret(
    local: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, receiver: Receiver
):
    default = await local.post("/v1/webhooks/default/rotate-secret")
    assert (default.json()["id"], default.json()["previous_expires_at"]) == ("default", None)
    webhook = {"url": receiver.url(), "events": ["job.created", "job.completed"]}
    body, key = job(webhook=webhook), {"Idempotency-Key": "mine"}
    accepted = (await local.post("/v1/jobs", json=body, headers=key)).json()
    assert (await local.post("/v1/jobs", json=body, headers=key)).json()["id"] == accepted["id"]
    async with courier(pool, vault=deps.vault):
        await happen(pool, accepted["id"], EventType.JOB_STARTED, EventType.JOB_COMPLETED)
        await nothing_waits(pool)

    told = [each.verified(default.json()["secret"]) for each in receiver.messages]
    assert [each["type"] for each in told] == ["job.created", "job.completed"]
    assert await pool.fetchval("SELECT count(*) FROM webhook_endpoints") == 1
    assert (await local.get("/v1/webhooks")).json() == {"webhooks": []}
    [delivery, _] = (await local.get("/v1/webhooks/deliveries", params={"job_id": accepted["id"]})).json()["deliveries"]
    own = (await local.get(f"/v1/webhooks/{delivery['webhook_id']}")).json()
    assert (own["job_id"], own["events"]) == (accepted["id"], webhook["events"])
    refusal(await local.post(f"/v1/webhooks/{own['id']}/rotate-secret"), 409, "conflict")


async def test_default_is_the_name_of_a_secret_and_of_nothing_else(client: httpx2.AsyncClient):
    for response in (
        await client.get("/v1/webhooks/default"),
        await client.patch("/v1/webhooks/default", json={}),
        await client.delete("/v1/webhooks/default"),
        await client.post("/v1/webhooks/default/test"),
    ):
        refusal(response, 404, "not-found")


async def test_messages_are_listed_by_page_newest_first_and_filtered(
    local: httpx2.AsyncClient, pool: asyncpg.Pool, receiver: Receiver
):
    first = await created(local, receiver.url("/a"))
    second = await created(local, receiver.url("/b"), events=["job.created"])
    jobs = [(await submitted(local))["id"] for _ in range(3)]
    await pool.execute(
        "UPDATE deliveries SET status = 'dead', ended_at = safelight.now() WHERE endpoint_id = $1 AND job_id = $2",
        first["id"],
        jobs[0],
    )

    async def listed(**params: Any) -> list[dict[str, Any]]:
        return (await local.get("/v1/webhooks/deliveries", params=params)).json()["deliveries"]

    assert [(each["job_id"], each["seq"]) for each in await listed(webhook_id=second["id"])] == [
        (each, 1) for each in reversed(jobs)
    ]
    assert {each["webhook_id"] for each in await listed(job_id=jobs[1])} == {first["id"], second["id"]}
    assert [each["job_id"] for each in await listed(status="dead")] == [jobs[0]]
    assert len(await listed(status="pending")) == 5
    assert await listed(webhook_id=NOBODY) == []

    page = (await local.get("/v1/webhooks/deliveries", params={"limit": 4})).json()
    rest = await local.get("/v1/webhooks/deliveries", params={"limit": 4, "cursor": page["next_cursor"]})
    together = [*page["deliveries"], *rest.json()["deliveries"]]
    assert rest.json()["next_cursor"] is None
    assert together == await listed(limit=100)
    other = {"status": "dead", "cursor": page["next_cursor"]}
    refusal(await local.get("/v1/webhooks/deliveries", params=other), 400, "invalid-cursor")


async def test_a_message_is_sent_again_under_its_own_id_unless_its_webhook_is_closed(
    local: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies, receiver: Receiver
):
    made = await created(local, receiver.url(), events=["job.created"])
    await submitted(local)
    async with courier(pool, vault=deps.vault):
        await nothing_waits(pool)
        [delivery] = (await local.get("/v1/webhooks/deliveries")).json()["deliveries"]
    again = f"/v1/webhooks/deliveries/{delivery['id']}/redeliver"
    sent = await local.post(again)
    assert (sent.status_code, sent.json()["status"], sent.json()["attempt_count"]) == (202, "pending", 0)
    async with courier(pool, vault=deps.vault):
        await nothing_waits(pool)
        assert [each.id for each in receiver.messages] == [delivery["id"]] * 2

        receiver.answer = status(410)
        await local.post(again)
        await until(pool, "SELECT disabled_at IS NOT NULL FROM webhook_endpoints")
        await nothing_waits(pool)
        refusal(await local.post(again), 409, "endpoint-disabled")
        refusal(await local.post(f"/v1/webhooks/{made['id']}/test"), 409, "endpoint-disabled")
        disabled = (await local.get(f"/v1/webhooks/{made['id']}")).json()
        assert (disabled["enabled"], disabled["disabled_reason"] is None) == (False, False)

        for wish in (False, 1, "true", None):
            refusal(await local.patch(f"/v1/webhooks/{made['id']}", json={"enabled": wish}), 422, "validation-error")
        receiver.answer = status(204)
        enabled = (await local.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True})).json()
        assert (enabled["enabled"], enabled["disabled_at"], enabled["failing_since"]) == (True, None, None)
        assert (await local.post(again)).status_code == 202
        await nothing_waits(pool)
        assert len(receiver.messages) == 4

        await local.delete(f"/v1/webhooks/{made['id']}")
        refusal(await local.post(again), 409, "endpoint-disabled")
    assert (await local.get(f"/v1/webhooks/deliveries/{delivery['id']}")).json()["status"] == "delivered"


async def test_every_fault_of_a_webhook_is_told_at_once(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    wish = {"url": "https://private.example/x", "events": ["job.completed", "job.nonsense"], "retry_seconds": [0]}
    problem = refusal(await client.post("/v1/webhooks", json=wish), 422, "validation-error")
    assert sorted(pointers(problem)) == ["/events/1", "/retry_seconds/0", "/url"]
    assert {each["pointer"]: each["type"] for each in problem["errors"]}["/url"] == "/problems/url-not-allowed"

    problem = refusal(await client.post("/v1/jobs", json=job(webhook=wish, images=[])), 422, "unknown-field")
    assert sorted(pointers(problem)) == ["/webhook/events/1", "/webhook/retry_seconds", "/webhook/url"]
    assert await pool.fetchval("SELECT count(*) FROM webhook_endpoints") == 0


async def test_a_job_that_was_accepted_is_shown_again_when_its_address_leads_nowhere_by_now(
    client: httpx2.AsyncClient, serve_with: Serve
):
    body, key = job(webhook={"url": "https://hooks.example/"}), {"Idempotency-Key": "mine"}
    accepted = await client.post("/v1/jobs", json=body, headers=key)

    async def nowhere(_host: str, _port: int) -> list[str]:
        raise OSError

    async with serve_with(check_url=EgressGuard(resolve=nowhere).check) as later:
        again = await later.post("/v1/jobs", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (202, accepted.json()["id"])
        problem = refusal(await later.post("/v1/jobs", json=body), 422, "url-unresolvable")
    assert (pointers(problem), problem["retryable"]) == (["/webhook/url"], True)


async def test_an_account_has_so_many_webhooks_and_no_more(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await pool.execute(
        "INSERT INTO webhook_endpoints (id, account, url, created_at)"
        " SELECT 'whe_' || n, 'default', 'https://hooks.example/', safelight.now() FROM generate_series(1, 100) AS n"
    )
    response = await client.post("/v1/webhooks", json={"url": "https://hooks.example/"})
    refusal(response, 409, "too-many-webhooks")


async def test_nobody_sees_or_changes_what_is_another_accounts(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    made = await created(client, "https://hooks.example/")
    await submitted(client)
    [delivery] = (await client.get("/v1/webhooks/deliveries")).json()["deliveries"]
    await pool.execute("UPDATE webhook_endpoints SET account = 'other'")
    await pool.execute("UPDATE deliveries SET account = 'other'")

    assert (await client.get("/v1/webhooks")).json() == {"webhooks": []}
    assert (await client.get("/v1/webhooks/deliveries")).json()["deliveries"] == []
    for response in (
        await client.get(f"/v1/webhooks/{made['id']}"),
        await client.patch(f"/v1/webhooks/{made['id']}", json={}),
        await client.delete(f"/v1/webhooks/{made['id']}"),
        await client.post(f"/v1/webhooks/{made['id']}/test"),
        await client.post(f"/v1/webhooks/{made['id']}/rotate-secret"),
        await client.get(f"/v1/webhooks/deliveries/{delivery['id']}"),
        await client.post(f"/v1/webhooks/deliveries/{delivery['id']}/redeliver"),
    ):
        refusal(response, 404, "not-found")


@pytest.mark.parametrize("position", ["abc", "-", "9" * 20, "\0", ""])
async def test_a_cursor_that_was_forged_is_refused(client: httpx2.AsyncClient, position: str):
    """Its digest is no secret."""
    forged = page_cursor(position, "deliveries", "default", "", "", "")
    refusal(await client.get("/v1/webhooks/deliveries", params={"cursor": forged}), 400, "invalid-cursor")
