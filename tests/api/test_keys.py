"""Who may call: keys over the API, what is refused without one, and what is the same about refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from safelight.api.app import ApiDependencies
from safelight.api.edge import failures
from safelight.api.edge.authentication import OPEN_PATHS
from safelight.api.resources.recipes import recipe_routes
from safelight.domain.access import KeyScope
from safelight.domain.ids import new_key_id
from safelight.domain.keys import id_in, new_key
from safelight.engine.accounts.keyring import GOOD_SECONDS, Keyring
from safelight.engine.accounts.keys import revoke_key
from tests.api.conftest import Serve, job
from tests.api.doors import admin_key, as_caller, bearer, key_for
from tests.api.problems import refusal
from tests.api.wire import exchange, request


@pytest.fixture
async def closed(serve_with: Serve) -> AsyncIterator[httpx2.AsyncClient]:
    """A service that others can reach, called without a key."""
    async with serve_with(may_run_open=False) as client:
        yield client


def words_of(answer: httpx2.Response) -> dict[str, Any]:
    """The problem without what is different each time."""
    return {name: value for name, value in answer.json().items() if name not in ("request_id", "instance")}


async def test_every_refusal_of_a_key_has_the_same_words(closed: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    good, _ = await key_for(pool, "default")
    revoked, revoked_id = await key_for(pool, "default")
    expired, expired_id = await key_for(pool, "default")
    await pool.execute("UPDATE api_keys SET revoked_at = safelight.now() WHERE id = $1", revoked_id)
    await pool.execute("UPDATE api_keys SET expires_at = safelight.now() WHERE id = $1", expired_id)
    key_id = id_in(good)
    assert key_id is not None
    refused = {
        "none": await closed.get("/v1/jobs"),
        "malformed": await closed.get("/v1/jobs", headers=bearer("sl_nonsense")),
        "not bearer": await closed.get("/v1/jobs", headers={"Authorization": f"Basic {good}"}),
        "bad checksum": await closed.get("/v1/jobs", headers=bearer(good[:-1] + ("0" if good[-1] != "0" else "1"))),
        "other secret": await closed.get("/v1/jobs", headers=bearer(new_key(key_id))),
        "unknown": await closed.get("/v1/jobs", headers=bearer(new_key(new_key_id()))),
        "revoked": await closed.get("/v1/jobs", headers=bearer(revoked)),
        "expired": await closed.get("/v1/jobs", headers=bearer(expired)),
        "twice": await closed.get("/v1/jobs", headers=[("Authorization", f"Bearer {good}")] * 2),
        "in the address": await closed.get("/v1/jobs", params={"api_key": good}),
        "in the address too": await closed.get("/v1/jobs", params={"limit": good}, headers=bearer(good)),
    }
    for answer in refused.values():
        refusal(answer, 401, "unauthenticated")
    assert {answer.headers["www-authenticate"] for answer in refused.values()} == {"Bearer"}
    assert len({json.dumps(words_of(answer)) for answer in refused.values()}) == 1
    assert (await closed.get("/v1/jobs", headers=bearer(good))).status_code == 200


async def test_keys_that_are_looked_up_in_vain_cost_the_same_statements(pool: asyncpg.Pool) -> None:
    good, _ = await key_for(pool, "default")
    revoked, revoked_id = await key_for(pool, "default")
    await pool.execute("UPDATE api_keys SET revoked_at = safelight.now() WHERE id = $1", revoked_id)
    key_id = id_in(good)
    assert key_id is not None
    asked: list[str] = []
    async with pool.acquire() as conn:
        conn.add_query_logger(lambda record: asked.append(record.query.split("\n")[0]))
        keyring = Keyring(_One(conn), acquire_seconds=5, may_run_open=False)  # pyright: ignore[reportArgumentType]
        for key in (revoked, new_key(new_key_id()), new_key(key_id)):
            asked.clear()
            assert await keyring.caller(key) is None
            await asyncio.sleep(0)  # the logger is called by the loop
            assert asked == ["-- name: key"]
        for key in (None, "", "sl_nonsense", good[:-1]):
            asked.clear()
            assert await keyring.caller(key) is None
            await asyncio.sleep(0)
            assert asked == [], "what can be no key asks nobody"


class _One:
    """A pool that has one connection, which is in use."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def acquire(self, *, timeout: float) -> _One:
        return self

    async def __aenter__(self) -> Any:
        return self._conn

    async def __aexit__(self, *_: object) -> None: ...


async def test_what_was_found_is_remembered_for_less_than_five_seconds(pool: asyncpg.Pool) -> None:
    key, key_id = await key_for(pool, "acme")
    keyring = Keyring(pool, acquire_seconds=5, may_run_open=False)
    assert GOOD_SECONDS < 5
    caller = await keyring.caller(key)
    assert caller is not None
    assert (caller.account, caller.key_id) == ("acme", key_id)
    await pool.execute("UPDATE api_keys SET revoked_at = safelight.now() WHERE id = $1", key_id)
    assert await keyring.caller(key) is not None, "another process has not looked again yet"
    keyring.forget(key_id)
    assert await keyring.caller(key) is None


async def test_a_key_that_expires_is_not_remembered_beyond_that(pool: asyncpg.Pool) -> None:
    key, key_id = await key_for(pool, "acme")
    await pool.execute("UPDATE api_keys SET expires_at = safelight.now() + interval '0.3 s' WHERE id = $1", key_id)
    keyring = Keyring(pool, acquire_seconds=5, may_run_open=False)
    assert await keyring.caller(key) is not None
    await pool.fetchval("SELECT pg_sleep(0.4)")
    assert await keyring.caller(key) is None


async def test_a_key_says_when_it_was_used_last_and_writes_it_once_a_minute(pool: asyncpg.Pool) -> None:
    key, key_id = await key_for(pool, "acme")
    used = "SELECT last_used_at FROM api_keys WHERE id = $1"
    assert await pool.fetchval(used, key_id) is None
    await Keyring(pool, acquire_seconds=5, may_run_open=False).caller(key)
    first = await pool.fetchval(used, key_id)
    assert first is not None
    await Keyring(pool, acquire_seconds=5, may_run_open=False).caller(key)
    assert await pool.fetchval(used, key_id) == first
    await pool.execute("UPDATE installation SET clock_shift = interval '61 s'")
    await Keyring(pool, acquire_seconds=5, may_run_open=False).caller(new_key(id_in(key)))  # pyright: ignore[reportArgumentType]
    assert await pool.fetchval(used, key_id) == first, "somebody without its secret has not used it"
    await Keyring(pool, acquire_seconds=5, may_run_open=False).caller(key)
    assert await pool.fetchval(used, key_id) > first


async def test_nothing_of_a_key_is_kept_but_its_digest(pool: asyncpg.Pool) -> None:
    key, key_id = await key_for(pool, "acme")
    row = await pool.fetchval("SELECT to_jsonb(k)::text FROM api_keys AS k WHERE id = $1", key_id)
    assert key.rpartition("_")[2] not in row


async def test_addresses_that_tell_nothing_of_anybody_need_no_key(closed: httpx2.AsyncClient) -> None:
    for path in sorted(OPEN_PATHS - {"/metrics", "/"}):  # these come with parts that are not here
        assert (await closed.get(path)).status_code == 200, path
    assert (await closed.get("/problems/unauthenticated")).status_code == 200
    for path in ("/v1/none", "/openai/v1/models", "/api/metrics/image-generation", "/none"):
        assert (await closed.get(path)).status_code == 401, path


async def test_a_request_without_a_key_is_refused_before_its_body_is_read(closed: httpx2.AsyncClient) -> None:
    head = [("Content-Type", "application/json"), ("Content-Length", "1000000")]
    answer = await exchange(closed, request("POST", "/v1/jobs", head, b"{"))
    assert answer.status_code == 401, "without waiting for the rest"


async def test_a_route_refuses_a_request_of_which_nobody_has_said_whose_it_is(deps: ApiDependencies) -> None:
    app = FastAPI()
    failures.install(app)
    app.include_router(recipe_routes(deps))  # with nothing in front of it
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert (await client.get("/v1/recipes")).status_code == 401


async def test_each_scope_opens_its_own_routes(closed: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    reader, _ = await key_for(pool, "acme", KeyScope.READ)
    submitter, _ = await key_for(pool, "acme", KeyScope.SUBMIT)
    admin = await admin_key(pool)

    async def statuses(key: str) -> list[int]:
        head = bearer(key)
        return [
            (await closed.get("/v1/jobs", headers=head)).status_code,
            (await closed.post("/v1/jobs", headers=head, json=job())).status_code,
            (await closed.get("/v1/keys", headers=head)).status_code,
            (await closed.post("/v1/queue/pause", headers=head)).status_code,
        ]

    assert await statuses(reader) == [200, 403, 403, 403]
    assert await statuses(submitter) == [403, 202, 403, 403]
    assert await statuses(admin) == [200, 202, 200, 200]
    before = await pool.fetchval("SELECT count(*) FROM jobs")
    refusal(await closed.post("/v1/jobs", headers=bearer(reader), json=job()), 403, "insufficient-scope")
    refusal(await closed.get("/v1/keys", headers=bearer(reader)), 403, "insufficient-scope")
    assert await pool.fetchval("SELECT count(*) FROM jobs") == before


async def test_a_key_is_made_shown_once_listed_and_revoked(closed: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    async with as_caller(closed, await admin_key(pool)) as admin:
        later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
        wish = {"account": "user_42", "name": "the game's server", "scopes": ["submit", "read"], "expires_at": later}
        answer = await admin.post("/v1/keys", json=wish)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert answer.headers["cache-control"] == "no-store"
        assert (made["account"], made["scopes"]) == ("user_42", ["read", "submit"])
        assert await pool.fetchval("SELECT true FROM accounts WHERE id = 'user_42'")
        assert (await closed.get("/v1/jobs", headers=bearer(made["key"]))).status_code == 200

        listed = (await admin.get("/v1/keys", params={"account": "user_42"})).json()["keys"]
        assert [each["id"] for each in listed] == [made["id"]]
        assert listed[0]["last_used_at"] is not None
        assert "key" not in listed[0]
        first = (await admin.get("/v1/keys", params={"limit": 1})).json()
        rest = (await admin.get("/v1/keys", params={"limit": 1, "cursor": first["next_cursor"]})).json()
        assert len({each["id"] for each in first["keys"] + rest["keys"]}) == 2
        assert rest["next_cursor"] is None

        assert (await admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
        assert (await admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
        assert (await closed.get("/v1/jobs", headers=bearer(made["key"]))).status_code == 401
        assert (await admin.delete(f"/v1/keys/{new_key_id()}")).status_code == 404
        assert (await admin.delete("/v1/keys/none")).status_code == 404
        [kept] = (await admin.get("/v1/keys", params={"account": "user_42"})).json()["keys"]
        assert kept["revoked_at"] is not None


@pytest.mark.parametrize(
    ("wish", "pointers"),
    [
        ({"account": "a b"}, {"/account"}),
        ({"scopes": [], "name": ""}, {"/scopes", "/name"}),
        ({"scopes": ["write"]}, {"/scopes/0"}),
        ({"expires_at": "2020-01-01T00:00:00Z"}, {"/expires_at"}),
        ({"expires_at": "2099-01-01T00:00:00"}, {"/expires_at"}),
        ({"secret": "mine"}, {"/secret"}),
    ],
)
async def test_a_wrong_wish_for_a_key_is_refused_with_every_fault(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, wish: dict[str, Any], pointers: set[str]
) -> None:
    answer = await client.post("/v1/keys", json=wish)
    assert answer.status_code == 422
    assert {each["pointer"] for each in answer.json()["errors"]} == pointers
    assert await pool.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_a_service_on_loopback_runs_open_until_the_first_key(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/jobs")).status_code == 200
    assert (await client.get("/v1/jobs", headers=bearer("whatever"))).status_code == 200, "a key does no harm"
    made = (await client.post("/v1/keys", json={"scopes": ["admin"]})).json()
    assert (await client.get("/v1/jobs")).status_code == 401
    async with as_caller(client, made["key"]) as admin:
        assert (await admin.get("/v1/jobs")).status_code == 200
        await admin.delete(f"/v1/keys/{made['id']}")
        assert (await admin.get("/v1/jobs")).status_code == 401
    assert (await client.get("/v1/jobs")).status_code == 401, "without a key that is good it does not open again"


async def test_a_service_that_others_reach_is_closed_without_any_key(closed: httpx2.AsyncClient) -> None:
    assert (await closed.get("/v1/jobs")).status_code == 401


async def test_while_nobody_can_look_keys_up_nobody_is_let_in_and_it_may_be_tried_again(
    closed: httpx2.AsyncClient, client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        unknown = bearer(new_key(new_key_id()))
        for answer in await asyncio.gather(closed.get("/v1/jobs", headers=unknown), client.get("/v1/jobs")):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
            assert answer.headers["retry-after"]


async def test_a_submit_without_a_key_against_doing_it_twice_is_refused_where_one_is_required(
    serve_with: Serve, pool: asyncpg.Pool
) -> None:
    async with serve_with(require_idempotency_key=True) as client:
        refused = await client.post("/v1/jobs", json=job())
        refusal(refused, 400, "idempotency-key-required")
        assert await pool.fetchval("SELECT count(*) FROM jobs") == 0
        taken = await client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": "one"})
        assert taken.status_code == 202


async def test_the_document_says_which_routes_need_which_key(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needs = operation.get("security")
            assert (needs is None) == (path in OPEN_PATHS or path.startswith("/problems/")), (method, path)
            if needs is not None:
                assert needs[0]["key"][0] in [scope.value for scope in KeyScope]
                assert {"401", "403"} <= operation["responses"].keys()


class _Slow:
    """A pool whose answers come when the test lets them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.has_answered, self.may_go_on = asyncio.Event(), asyncio.Event()

    def acquire(self, *, timeout: float) -> _Slow:
        return self

    async def __aenter__(self) -> _Slow:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def fetchrow(self, *arguments: Any) -> Any:
        return await self._held_back(await self._pool.fetchrow(*arguments))

    async def fetchval(self, *arguments: Any) -> Any:
        return await self._held_back(await self._pool.fetchval(*arguments))

    async def _held_back(self, answer: Any) -> Any:
        self.has_answered.set()
        await self.may_go_on.wait()
        return answer


async def test_a_key_that_is_revoked_while_it_is_looked_up_is_refused_at_once(pool: asyncpg.Pool) -> None:
    key, key_id = await key_for(pool, "acme")
    slow = _Slow(pool)
    keyring = Keyring(slow, acquire_seconds=5, may_run_open=False)  # pyright: ignore[reportArgumentType]
    looking = asyncio.create_task(keyring.caller(key))
    await slow.has_answered.wait()
    await revoke_key(pool, key_id)
    keyring.forget(key_id)
    slow.may_go_on.set()
    assert await looking is not None, "it was good when it was asked for"
    assert await keyring.caller(key) is None


async def test_a_first_key_that_is_made_while_somebody_looks_for_one_closes_the_service_at_once(
    pool: asyncpg.Pool,
) -> None:
    slow = _Slow(pool)
    keyring = Keyring(slow, acquire_seconds=5, may_run_open=True)  # pyright: ignore[reportArgumentType]
    looking = asyncio.create_task(keyring.caller(None))
    await slow.has_answered.wait()
    await key_for(pool, "default")
    keyring.forget()
    slow.may_go_on.set()
    assert await looking is not None
    assert await keyring.caller(None) is None
