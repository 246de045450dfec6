"""Two accounts in one service: whatever route there is, the one learns nothing of the other and changes nothing of it.

The routes are asked of the application itself, so that a new one is looked at from its first day on. One that takes an
id of a kind that is not known here, or that cannot be called with an empty body, fails until `tenants.py` knows it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from safelight.api.app import ApiDependencies, create_app
from safelight.api.edge.authentication import is_open
from safelight.db.pool import close_pool, open_pool
from safelight.domain.access import KeyScope
from tests.api.conftest import image, job, serving
from tests.api.doors import as_caller, bearer, key_for
from tests.api.problems import refusal
from tests.api.tenants import CANARY, MAKES, SHARED, UNKNOWN, Belongings, Route, everything_of, furnish, routes_of
from tests.orders import until

FIRST, SECOND = "first-account", "second-account"


@dataclass(kw_only=True)
class House:
    """A service with two tenants. `asked` are the statements that the service has sent, by name."""

    app: FastAPI
    first: httpx2.AsyncClient
    second: httpx2.AsyncClient
    nobody: httpx2.AsyncClient
    pool: asyncpg.Pool
    asked: list[str]

    @property
    def routes(self) -> list[Route]:
        return [route for route in routes_of(self.app) if not is_open(route.path)]


@pytest.fixture
async def house(deps: ApiDependencies, database: str, pool: asyncpg.Pool) -> AsyncIterator[House]:
    counted = await open_pool(database, min_size=1, max_size=1, application_name="tests counted")
    deps = replace(deps, pool=counted, may_run_open=False, traffic_seconds=0.0, history_seconds=0.0)
    async with serving(deps) as nobody, _listening(counted) as asked:
        first, _ = await key_for(pool, FIRST)
        second, _ = await key_for(pool, SECOND)
        async with as_caller(nobody, first) as one, as_caller(nobody, second) as other:
            yield House(app=create_app(deps), first=one, second=other, nobody=nobody, pool=pool, asked=asked)
    await close_pool(counted)


@asynccontextmanager
async def _listening(pool: asyncpg.Pool) -> AsyncIterator[list[str]]:
    asked: list[str] = []
    async with pool.acquire() as held:
        conn: Any = held._con  # the connection itself: what is put on its proxy goes with the proxy
        conn.add_query_logger(lambda record: asked.append(record.query.partition("\n")[0]))
    yield asked


async def call(
    house: House, client: httpx2.AsyncClient, route: Route, address: str
) -> tuple[httpx2.Response, list[str]]:
    """The answer, and the statements that it took, but for those that look a key up."""
    house.asked.clear()
    answer = await client.request(route.method, address, json=route.body())
    await asyncio.sleep(0)
    return answer, [each for each in house.asked if each != "-- name: key"]


def said(answer: httpx2.Response, *ids: str) -> tuple[int, str, str]:
    """Status, type and body, without what names the request or the thing that was asked for."""
    text = answer.text
    for each in ids:
        text = text.replace(each, "…")
    text = re.sub(r'"(instance|request_id)":"[^"]*"', "", text)
    return answer.status_code, answer.headers.get("content-type", ""), text


async def test_whatever_is_named_by_an_id_is_to_another_account_as_if_it_did_not_exist(house: House) -> None:
    belongings = await furnish(house.first, house.pool, account=FIRST)
    before = await everything_of(house.pool, FIRST)
    looked_at = 0
    for route in house.routes:
        if not route.parameters or route.path in SHARED or route in MAKES:
            continue
        assert set(route.parameters) <= UNKNOWN.keys(), f"{route}: tests/api/tenants.py does not know what this names"
        hidden, its_statements = await call(house, house.second, route, route.address(belongings.ids))
        absent, other_statements = await call(house, house.second, route, route.address(UNKNOWN))
        looked_at += 1
        names = [*belongings.ids.values(), *UNKNOWN.values()]
        assert said(hidden, *names) == said(absent, *names), route
        assert hidden.status_code in (403, 404), f"{route} answers {hidden.status_code}: {hidden.text}"
        if not route.path.startswith("/openai/"):
            refusal(hidden, hidden.status_code, "not-found" if hidden.status_code == 404 else "insufficient-scope")
        assert its_statements == other_statements, f"{route} tells by its statements"
    assert looked_at >= 20
    for route in MAKES:
        made, _ = await call(house, house.second, route, route.address(belongings.ids))
        assert made.status_code == 201, "one of its own by the same name"
    assert await everything_of(house.pool, FIRST) == before


async def test_no_list_and_no_figure_of_an_account_changes_by_what_another_does(house: House) -> None:
    own = (await house.second.post("/v1/jobs", json=job(images=[image("mine")], priority="low"))).json()
    await until(house.pool, FEED_IS_UP_TO_DATE)
    routes = [route for route in house.routes if route.method == "GET" and not route.parameters]
    mine = Route(method="GET", path=own["urls"]["self"])
    before = {route: await _shown(house, route.path) for route in (*routes, mine)}

    await furnish(house.first, house.pool, account=FIRST)
    await house.first.post("/v1/jobs", json=job(images=[image(f"n-{n}") for n in range(5)], priority="high"))

    after = {route: await _shown(house, route.path) for route in before}
    assert len(before) >= 9
    for route in before:
        assert after[route] == before[route], route
        assert CANARY not in after[route]


FEED_IS_UP_TO_DATE = "SELECT max(xact) < pg_snapshot_xmin(pg_current_snapshot()) FROM events"
"""Other tests' transactions hold it back as well, on the same server."""


async def _shown(house: House, address: str) -> str:
    answer = await house.second.get(address)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        return str(answer.status_code)
    return re.sub(r'"(from|to)":"[^"]*"', "", answer.text)  # statistics end now


async def test_an_account_that_is_named_is_there_for_an_admin_alone(house: House) -> None:
    belongings = await furnish(house.first, house.pool, account=FIRST)
    admin, _ = await key_for(house.pool, "default", KeyScope.ADMIN)
    document = house.app.openapi()
    asked = [
        Route(method=method.upper(), path=path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if any(each["name"] == "account" and each["in"] == "query" for each in operation.get("parameters", ()))
    ]
    assert len(asked) >= 15
    for route in asked:
        address = route.address(belongings.ids)
        foreign, unknown = [
            await house.second.request(route.method, address, params={"account": each}, json=route.body())
            for each in (FIRST, UNKNOWN["account_id"])
        ]
        assert said(foreign) == said(unknown), route
        assert foreign.status_code in (403, 404), f"{route} answers {foreign.status_code}: {foreign.text}"
        if route.method == "GET":
            shown = await house.nobody.get(address, params={"account": FIRST}, headers=bearer(admin))
            assert shown.status_code == 200, f"{route}: {shown.text}"


async def test_a_job_for_another_account_is_an_admins_to_submit(house: House) -> None:
    for account in (FIRST, "nobody-has-heard-of-it"):
        refused = await house.second.post("/v1/jobs", json=job(account=account))
        assert (refused.status_code, refused.json()["detail"]) == (404, "There is no such account.")
    assert await house.pool.fetchval("SELECT count(*) FROM jobs") == 0
    assert (await house.second.post("/v1/jobs", json=job(account=SECOND))).status_code == 202
    assert (await house.second.post("/v1/jobs", json=job(account="no account"))).status_code == 422

    admin, _ = await key_for(house.pool, "default", KeyScope.ADMIN)
    async with as_caller(house.nobody, admin) as boss:
        accepted = await boss.post("/v1/jobs", json=job(account="new-account"), headers={"Idempotency-Key": "k"})
        assert accepted.status_code == 202, accepted.text
        again = await boss.post("/v1/jobs", json=job(account="new-account"), headers={"Idempotency-Key": "k"})
        assert again.json()["id"] == accepted.json()["id"]
        assert await house.pool.fetchval("SELECT count(*) FROM accounts WHERE id = 'new-account'") == 1
        theirs = (await boss.get("/v1/jobs", params={"account": "new-account"})).json()["jobs"]
        assert [each["id"] for each in theirs] == [accepted.json()["id"]]
        assert (await boss.get("/v1/jobs")).json()["jobs"] == []


async def test_an_admin_finds_cancels_and_retries_any_job_by_its_id(house: House) -> None:
    made = (await house.first.post("/v1/jobs", json=job())).json()
    admin, _ = await key_for(house.pool, "default", KeyScope.ADMIN)
    async with as_caller(house.nobody, admin) as boss:
        assert (await boss.get(made["urls"]["self"])).json()["id"] == made["id"]
        events = await boss.get(made["urls"]["events"], headers={"Accept": "application/json"})
        assert events.json()["events"][0]["type"] == "job.created"
        assert (await boss.get(f"{made['urls']['self']}/images/one")).status_code == 409
        assert (await boss.post(made["urls"]["cancel"])).json()["status"] == "canceled"
        assert (await boss.post(made["urls"]["retry"])).status_code == 202
    assert (await house.first.get(made["urls"]["self"])).json()["run"] == 2


async def test_one_idempotency_key_is_another_one_in_each_account(house: House) -> None:
    head = {"Idempotency-Key": "the-same"}
    first = await house.first.post("/v1/jobs", json=job(), headers=head)
    second = await house.second.post("/v1/jobs", json=job(images=[image("other")]), headers=head)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]
    assert "idempotency-replayed" not in second.headers


async def test_a_cursor_of_one_account_is_none_of_another(house: House) -> None:
    for n in range(2):
        await house.first.post("/v1/jobs", json=job())
        await house.second.post("/v1/jobs", json=job())
        await house.first.put(f"/v1/styles/s-{n}", json={"prefix": "x"})
        plan = {"name": f"n-{n}", "cron": "@daily", "timezone": "UTC", "job": job()}
        await house.first.post("/v1/schedules", json=plan)
    for path in ("/v1/jobs", "/v1/schedules", "/v1/events"):
        cursor = (await house.first.get(path, params={"limit": 1})).json()["next_cursor"]
        name = "after" if path == "/v1/events" else "cursor"
        refused = await house.second.get(path, params={"limit": 1, name: cursor})
        refusal(refused, 400, "invalid-cursor")


async def test_every_route_but_the_open_ones_is_closed_without_a_key(house: House) -> None:
    for route in house.routes:
        answer = await house.nobody.request(route.method, route.address(UNKNOWN), json=route.body())
        assert answer.status_code == 401, route
        if route.path.startswith("/v1/"):
            assert said(answer) == said(await house.nobody.get("/v1/jobs")), route
    reader, _ = await key_for(house.pool, FIRST, KeyScope.READ)
    for route in house.routes:
        if route.method != "GET":
            answer = await house.nobody.request(
                route.method, route.address(UNKNOWN), json=route.body(), headers=bearer(reader)
            )
            assert (route, answer.status_code) == (route, 403)


async def test_every_row_of_an_account_says_whose_it_is(pool: asyncpg.Pool) -> None:
    """What is served by account is found by account: a table that a caller can see has the column, or hangs on one."""
    rows = await pool.fetch(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'safelight' AND column_name = 'account'"
    )
    have = {row["table_name"] for row in rows}
    assert {"jobs", "events", "webhook_endpoints", "deliveries", "schedules", "styles", "api_keys"} <= have


def test_the_canary_is_in_what_the_first_account_says() -> None:
    assert json.dumps(Belongings(ids={"name": CANARY}).ids).count(CANARY) == 1
