"""What an account has, is charged and may spend, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.dependencies import ApiDependencies
from safelight.domain.access import KeyScope
from safelight.domain.credits import Billing, CreditPrices
from safelight.engine.accounts.keys import create_key
from tests.api.conftest import serving
from tests.api.problems import refusal
from tests.engine.books import WAITS_FOR_A_LOCK, assert_books_balance
from tests.orders import until

ONE = {"images": [{"id": "one", "prompt": "A brass key"}]}


@pytest.fixture
async def api(deps: ApiDependencies) -> AsyncIterator[httpx2.AsyncClient]:
    prices = CreditPrices(default=1, by_model={"picky-1": 4})
    async with serving(replace(deps, credit_prices=prices)) as client:
        yield client


def picky(count: int = 1, **more: Any) -> dict[str, Any]:
    """Images at 0.04 dollars, or 4 credits, each."""
    image = {"id": "one", "prompt": "A brass key", "provider": "picky", "model": "picky-1", "count": count}
    return {"images": [image], **more}


async def bill(api: httpx2.AsyncClient, billing: str, account: str = "default", **paid_in: Any) -> None:
    answer = await api.patch(f"/v1/accounts/{account}", json={"billing": billing})
    assert answer.status_code == 200, answer.text
    if paid_in:
        answer = await api.post(f"/v1/accounts/{account}/credits", json=paid_in)
        assert answer.status_code == 201, answer.text


async def test_fifty_submits_race_for_the_last_ten_credits_and_ten_win(
    api: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await bill(api, "credits", credits=10)
    answers = await asyncio.gather(*(api.post("/v1/jobs", json=ONE) for _ in range(50)))
    assert sorted(each.status_code for each in answers) == [202] * 10 + [402] * 40
    refused = next(each for each in answers if each.status_code == 402)
    assert refusal(refused, 402, "budget-exceeded")["remaining_credits"] == 0
    for table in ("jobs", "images", "holds", "events"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 10
    balance = (await api.get("/v1/accounts/default")).json()["balance"]
    assert balance == {"credits_available": 0, "credits_held": 10, "credits_captured": 0}
    await assert_books_balance(pool)


async def test_racing_submits_never_pass_a_budget_of_the_day(api: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    assert (await api.put("/v1/accounts/default/budget", json={"daily_usd": "0.2"})).status_code == 200
    answers = await asyncio.gather(*(api.post("/v1/jobs", json=picky()) for _ in range(12)))
    assert sorted(each.status_code for each in answers) == [202] * 5 + [402] * 7
    refused = next(each for each in answers if each.status_code == 402)
    assert refusal(refused, 402, "budget-exceeded")["remaining_micros"] == 0
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 5
    budget = (await api.get("/v1/accounts/default")).json()["budget"]
    assert (budget["daily_usd"], budget["held_usd"], budget["left_usd"]) == ("0.200", "0.200", "0.000")
    await assert_books_balance(pool)


async def test_a_job_says_what_is_held_for_it(api: httpx2.AsyncClient) -> None:
    await bill(api, "credits", credits=10)
    job = (await api.post("/v1/jobs", json=picky(2))).json()
    assert (job["cost"]["credits_held"], job["cost"]["credits_captured"]) == (8, 0)
    listed = (await api.get("/v1/jobs")).json()["jobs"][0]
    assert listed["cost"] == job["cost"]
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await api.get(f"/v1/jobs/{job['id']}")).json()["cost"]["credits_held"] == 0


async def test_a_job_in_dollars_is_held_by_its_estimate(api: httpx2.AsyncClient) -> None:
    await bill(api, "usd", usd="1.00")
    job = (await api.post("/v1/jobs", json=picky(3))).json()
    assert (job["cost"]["held_usd"], job["cost"]["captured_usd"]) == ("0.120", "0.000")
    balance = (await api.get("/v1/accounts/default")).json()["balance"]
    assert balance == {"available_usd": "0.880", "held_usd": "0.120", "captured_usd": "0.000"}
    refused = await api.post("/v1/jobs", json=picky(10) | {"metadata": {"n": "1"}, "max_cost_usd": "0.3"})
    assert refusal(refused, 402, "budget-exceeded")["remaining_micros"] == 300_000


async def test_a_job_is_refused_beyond_what_it_may_cost(api: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    refused = await api.post("/v1/jobs", json=picky(3, max_cost_usd="0.11"), headers={"Idempotency-Key": "k"})
    assert refusal(refused, 402, "budget-exceeded")["remaining_micros"] == 110_000
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0
    accepted = await api.post("/v1/jobs", json=picky(3, max_cost_usd="0.12"), headers={"Idempotency-Key": "k"})
    assert accepted.status_code == 202


async def test_a_model_without_a_price_is_refused_where_its_price_matters(api: httpx2.AsyncClient) -> None:
    unpriced = {"images": [{"id": "one", "prompt": "A key", "provider": "picky", "model": "unpriced"}]}
    assert (await api.post("/v1/jobs", json=unpriced)).status_code == 202
    detail = refusal(await api.post("/v1/jobs", json=unpriced | {"max_cost_usd": "1"}), 422, "price-unknown")["detail"]
    assert "`picky/unpriced`" in detail
    assert (await api.post("/v1/jobs", json=ONE | {"max_cost_usd": "0"})).status_code == 202


async def test_a_retry_that_cannot_be_paid_changes_nothing(api: httpx2.AsyncClient) -> None:
    await bill(api, "credits", credits=1)
    job = (await api.post("/v1/jobs", json=ONE)).json()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    taken = {"kind": "adjustment", "credits": -1, "reason": "closed"}
    assert (await api.post("/v1/accounts/default/credits", json=taken)).status_code == 201
    refused = await api.post(f"/v1/jobs/{job['id']}/retry")
    assert refusal(refused, 402, "budget-exceeded")["remaining_credits"] == 0
    assert (await api.get(f"/v1/jobs/{job['id']}")).json()["status"] == "canceled"


async def test_a_top_up_under_one_key_is_entered_once(api: httpx2.AsyncClient) -> None:
    await bill(api, "credits", "user_42")
    paid, key = {"credits": 25, "reason": "invoice 7"}, {"Idempotency-Key": "invoice-7"}
    first = await api.post("/v1/accounts/user_42/credits", json=paid, headers=key)
    again = await api.post("/v1/accounts/user_42/credits", json=paid, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await api.post("/v1/accounts/user_42/credits", json=paid | {"credits": 26}, headers=key)
    refusal(other, 422, "idempotency-key-reused")
    assert (await api.get("/v1/accounts/user_42")).json()["balance"]["credits_available"] == 25


async def test_a_statement_is_read_page_by_page_with_the_balance_after_each_entry(api: httpx2.AsyncClient) -> None:
    await bill(api, "credits", credits=10)
    for _ in range(3):
        await api.post("/v1/jobs", json=ONE)
    entries: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/accounts/default/ledger", params=query)).json()
        entries += page["entries"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [each["credits_available"] for each in entries] == [7, 8, 9, 10]
    assert [each["kind"] for each in entries] == ["hold", "hold", "hold", "top_up"]
    assert (entries[0]["debit"], entries[0]["credit"], entries[0]["image"]) == ("available", "held", "one")


async def test_a_statement_may_be_of_one_job_alone(api: httpx2.AsyncClient) -> None:
    await bill(api, "credits", credits=10)
    first, second = [(await api.post("/v1/jobs", json=ONE)).json()["id"] for _ in range(2)]
    await api.post(f"/v1/jobs/{first}/cancel")
    entries = (await api.get("/v1/accounts/default/ledger", params={"job": first})).json()["entries"]
    assert [(each["kind"], each["job"], each["image"]) for each in entries] == [
        ("release", first, "one"),
        ("hold", first, "one"),
    ]
    page = (await api.get("/v1/accounts/default/ledger", params={"job": first, "limit": "1"})).json()
    query = {"job": first, "cursor": page["next_cursor"]}
    assert (await api.get("/v1/accounts/default/ledger", params=query)).json()["entries"] == entries[1:]
    other = await api.get("/v1/accounts/default/ledger", params=query | {"job": second})
    refusal(other, 400, "invalid-cursor")
    await api.patch("/v1/accounts/somebody", json={"billing": "credits"})
    assert (await api.get("/v1/accounts/somebody/ledger", params={"job": first})).json()["entries"] == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/credits"}),
        ({"usd": "1.00"}, {"/usd"}),
        ({"credits": 0}, {"/credits"}),
        ({"credits": -1}, {"/credits"}),
        ({"credits": 1.5}, {"/credits"}),
        ({"kind": "adjustment", "credits": 1}, {"/reason"}),
        ({"credits": 1, "reason": ""}, {"/reason"}),
        ({"kind": "gift", "credits": 10**12}, {"/kind", "/credits"}),
    ],
)
async def test_a_credit_that_cannot_be_entered_names_every_fault(
    api: httpx2.AsyncClient, body: dict[str, Any], pointers: set[str]
) -> None:
    await bill(api, "credits")
    problem = refusal(await api.post("/v1/accounts/default/credits", json=body), 422, "validation-error")
    assert {error["pointer"] for error in problem["errors"]} == pointers


async def test_nothing_is_paid_into_an_account_that_is_not_billed_nor_taken_that_is_not_there(
    api: httpx2.AsyncClient,
) -> None:
    refusal(await api.post("/v1/accounts/default/credits", json={"credits": 1}), 409, "account-not-billed")
    await bill(api, "credits", credits=5)
    taken = {"kind": "adjustment", "credits": -6, "reason": "mistake"}
    refusal(await api.post("/v1/accounts/default/credits", json=taken), 409, "insufficient-balance")


async def test_accounts_are_listed_and_changed(api: httpx2.AsyncClient) -> None:
    changed = await api.patch("/v1/accounts/user_42", json={"weight": 3, "max_concurrency": 2})
    assert (changed.json()["weight"], changed.json()["max_concurrency"]) == (3, 2)
    changed = await api.patch("/v1/accounts/user_42", json={"max_concurrency": None})
    assert (changed.json()["weight"], changed.json()["max_concurrency"]) == (3, None)
    first = (await api.get("/v1/accounts", params={"limit": 1})).json()
    assert [each["id"] for each in first["accounts"]] == ["default"]
    second = (await api.get("/v1/accounts", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert ([each["id"] for each in second["accounts"]], second["next_cursor"]) == (["user_42"], None)


async def test_a_key_sees_its_own_account_and_changes_none(api: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    made, key = await create_key(
        pool,
        account="user_1",
        scopes=[KeyScope.READ, KeyScope.SUBMIT],
        name=None,
        expires_at=None,
        billing=Billing.NONE,
    )
    assert made.account == "user_1"
    own = {"Authorization": f"Bearer {key}"}
    assert (await api.get("/v1/accounts/user_1", headers=own)).status_code == 200
    assert (await api.get("/v1/accounts/user_1/ledger", headers=own)).status_code == 200
    for path in ("/v1/accounts/default", "/v1/accounts/nobody", "/v1/accounts/a%20b", "/v1/accounts/default/ledger"):
        refusal(await api.get(path, headers=own), 404, "not-found")
    refusal(await api.get("/v1/accounts", headers=own), 403, "insufficient-scope")
    refusal(
        await api.put("/v1/accounts/user_1/budget", json={"daily_usd": None}, headers=own), 403, "insufficient-scope"
    )


async def test_an_amount_is_never_entered_in_another_currency_than_it_was_given_in(
    api: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await bill(api, "usd")
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT take_account('default')")
        paying = asyncio.create_task(api.post("/v1/accounts/default/credits", json={"usd": "25.00"}))
        await until(pool, WAITS_FOR_A_LOCK)
        await conn.execute("UPDATE accounts SET billing = 'credits' WHERE id = 'default'")
    refusal(await paying, 422, "validation-error")
    assert await pool.fetchval("SELECT count(*) FROM ledger") == 0
