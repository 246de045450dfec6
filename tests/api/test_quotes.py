"""What a job would cost, what it would leave and how long it may take, told before it is ordered: nothing happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.domain.credits import Billing, CreditPrices
from safelight.engine.accounts.accounts import change, set_daily_budget
from safelight.engine.orders.depth import QueueDepth
from safelight.engine.pause import pause
from tests.api import wire
from tests.api.bad_requests import bad_requests
from tests.api.conftest import Serve, catalog, image, job, serving, submitted
from tests.api.doors import as_caller, key_for
from tests.api.problems import refusal
from tests.api.tenants import everything_of
from tests.api.test_queue_figures import past
from tests.engine.books import open_account
from tests.engine.test_claim import register

STUDIO = "studio"
PICKY = {"provider": "picky", "model": "picky-1"}
"""0.04 dollars a picture."""
NO_WORKER = "No worker serves `{}` at the moment: its images wait for one."
NO_HISTORY = "How long `{}` takes is not known: it has made no picture in the last 24 hours."


@pytest.fixture
async def client(deps: ApiDependencies) -> AsyncIterator[httpx2.AsyncClient]:
    """Looks anew at each request. Pictures of the placeholder cost 5 credits, others 3."""
    prices = CreditPrices(default=3, by_model={"placeholder": 5, "placeholder-1": 5})
    async with serving(replace(deps, credit_prices=prices, traffic_seconds=0.0, history_seconds=0.0)) as client:
        yield client


async def quoted(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/jobs?dry_run=true", json=job(**fields))
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    return response.json()


async def usd(client: httpx2.AsyncClient, *options: dict[str, Any], **fields: Any) -> tuple[str | None, ...]:
    """Low, likely and high, of an image for each set of options."""
    images = [image(f"i{n}", **each) for n, each in enumerate(options)]
    estimate = (await quoted(client, images=images, **fields))["estimate_usd"]
    return estimate["low"], estimate["likely"], estimate["high"]


async def test_a_quote_says_what_there_is_to_say_and_creates_nothing(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await open_account(pool, STUDIO, paid_in=20)
    await client.get("/v1/jobs")
    before = await everything_of(pool, STUDIO)

    quote = await quoted(client, account=STUDIO, images=[image("a", count=2), image("b", **PICKY)])

    assert quote == {
        "estimate_usd": {"low": "0.040", "likely": "0.040", "high": "0.160"},
        "credits_held": 13,
        "balance_after": 7,
        "affordable": True,
        "eta_seconds": None,
        "images": 3,
        "notes": [
            NO_WORKER.format("placeholder"),
            NO_WORKER.format("picky"),
            NO_HISTORY.format("placeholder/placeholder-1"),
            NO_HISTORY.format("picky/picky-1"),
        ],
    }
    assert await everything_of(pool, STUDIO) == before
    assert await pool.fetchval("SELECT count(*) FROM images") == 0
    assert await pool.fetchval("SELECT count(*) FROM events") == 0
    assert await pool.fetchval("SELECT count(*) FROM accounts WHERE id <> 'default' AND id <> $1", STUDIO) == 0


async def test_an_account_that_there_is_not_is_quoted_as_it_would_be_made(
    client: httpx2.AsyncClient, serve_with: Serve, pool: asyncpg.Pool
) -> None:
    assert (await quoted(client, account="new"))["balance_after"] is None
    async with serve_with(account_billing=Billing.CREDITS) as billing:
        quote = await quoted(billing, account="new")
    assert (quote["credits_held"], quote["balance_after"], quote["affordable"]) == (1, -1, False)
    assert await pool.fetchval("SELECT count(*) FROM accounts WHERE id = 'new'") == 0


async def test_the_range_goes_from_one_call_the_cheapest_way_to_every_call_the_dearest(
    client: httpx2.AsyncClient,
) -> None:
    spare = {"fallback": ["picky/picky-1"]}
    assert await usd(client, PICKY) == ("0.040", "0.040", "0.160"), "3 attempts and 1 call bought again"
    assert await usd(client, PICKY, PICKY) == ("0.080", "0.080", "0.320")
    assert await usd(client, {**PICKY, "max_attempts": 1, "max_rebuys": 0}) == ("0.040", "0.040", "0.040")
    assert await usd(client, {**PICKY, "max_attempts": 5, "max_rebuys": 2}) == ("0.040", "0.040", "0.280")
    assert await usd(client, {**PICKY, "max_rebuys": 2, "on_uncertain": "hold"}) == ("0.040", "0.040", "0.120")
    assert await usd(client, {"provider": "placeholder", **spare}) == ("0.000", "0.000", "0.160")
    assert await usd(client, {**PICKY, "fallback": ["placeholder"]}) == ("0.000", "0.040", "0.160")
    assert await usd(client, PICKY, max_cost_usd="0.10") == ("0.040", "0.040", "0.100")


async def test_a_price_that_nobody_knows_is_said_and_never_taken_for_nothing(client: httpx2.AsyncClient) -> None:
    unpriced = {"provider": "picky", "model": "unpriced"}
    quote = await quoted(client, images=[image("a", **unpriced), image("b", **PICKY)])
    assert quote["estimate_usd"] == {"low": None, "likely": None, "high": None}
    assert quote["notes"][0] == "What `picky/unpriced` costs is not known."
    assert await usd(client, {**PICKY, "fallback": ["picky/unpriced"]}) == (None, "0.040", None)
    for dry in ("", "?dry_run=true"):
        refused = await client.post(f"/v1/jobs{dry}", json=job(images=[image(**unpriced)], max_cost_usd="1"))
        assert "`picky/unpriced`" in refusal(refused, 422, "price-unknown")["detail"]


async def test_every_bad_request_is_refused_as_a_submit_refuses_it(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
) -> None:
    table = [bad for bad in bad_requests() if (bad.method, bad.target) == ("POST", "/v1/jobs")]
    assert len(table) > 200
    for bad in table:
        with subtests.test(bad.name):
            raw = wire.request("POST", "/v1/jobs?dry_run=true", bad.headers, bad.body)
            problem = refusal(await wire.exchange(client, raw), bad.status, bad.slug)
            if bad.at is not None:
                assert [each["pointer"] for each in problem["errors"]] == list(bad.at)
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0


@pytest.mark.parametrize(
    ("billing", "paid_in", "daily", "most", "why"),
    [
        (Billing.CREDITS, 6, None, None, None),
        (Billing.CREDITS, 5, None, None, "This costs 6 credits; the account has 5."),
        (Billing.USD, 80_000, None, None, None),
        (Billing.USD, 79_999, None, None, "This costs 0.080 USD; the account has 0.079999."),
        (Billing.NONE, 0, 80_000, "0.08", None),
        (Billing.NONE, 0, 79_000, None, "By its estimate this costs 0.080 USD; the budget of {} leaves 0.079."),
        (Billing.NONE, 0, None, "0.079", "By its estimate this costs 0.080 USD; `max_cost_usd` leaves 0.079."),
    ],
)
async def test_a_quote_is_affordable_exactly_when_a_submit_is_not_refused_and_holds_the_same(
    client: httpx2.AsyncClient,
    pool: asyncpg.Pool,
    billing: Billing,
    paid_in: int,
    daily: int | None,
    most: str | None,
    why: str | None,
) -> None:
    await open_account(pool, STUDIO, billing=billing, paid_in=paid_in, daily_budget_microusd=daily)
    order: dict[str, Any] = {"account": STUDIO, "images": [image("a", **PICKY), image("b", **PICKY)]}
    order |= {"max_cost_usd": most} if most is not None else {}

    quote = await quoted(client, **order)
    accepted = await client.post("/v1/jobs", json=job(**order))

    said = why.format(await pool.fetchval("SELECT today()")) if why is not None else None
    assert (quote["affordable"], accepted.status_code) == ((True, 202) if said is None else (False, 402))
    if said is not None:
        assert quote["notes"][0] == said == accepted.json()["detail"]
        return
    cost, held = accepted.json()["cost"], {"credits_held", "held_usd"}
    assert {name: quote[name] for name in held & quote.keys()} == {name: cost[name] for name in held & cost.keys()}
    balance = (await client.get(f"/v1/accounts/{STUDIO}")).json()["balance"]
    left = None if balance is None else balance.get("credits_available", balance.get("available_usd"))
    assert quote["balance_after"] == left


async def test_a_budget_is_that_of_the_day_on_which_the_job_begins(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await open_account(pool, STUDIO, billing=Billing.NONE, daily_budget_microusd=50_000)
    await submitted(client, account=STUDIO, images=[image(**PICKY)])
    later = str(await pool.fetchval("SELECT (safelight.now() + interval '2 days')::text")).replace(" ", "T")

    assert not (await quoted(client, account=STUDIO, images=[image(**PICKY)]))["affordable"]
    tomorrow = await quoted(client, account=STUDIO, images=[image(**PICKY)], not_before=later.replace("+00", "Z"))
    assert tomorrow["affordable"]


async def test_a_forecast_counts_what_is_ahead_and_the_jobs_own_images(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await register(pool, slots=2)
    await past(client, pool, waited=0.0, took=[10.0] * 10)

    assert (await quoted(client))["eta_seconds"] == {"p50": 10.0, "p90": 10.0}
    four = [image(f"i{n}") for n in range(4)]
    quote = await quoted(client, images=four)
    assert (quote["eta_seconds"]["p50"], quote["notes"]) == (20.0, [])
    waiting = await submitted(client, images=four)
    quote = await quoted(client, images=four)
    assert quote["eta_seconds"]["p50"] == 40.0
    accepted = await submitted(client, images=four)
    assert accepted["eta_seconds"] == 40.0, "what the job then says of itself"
    urgent = await quoted(client, images=four, priority="high")
    assert urgent["eta_seconds"]["p50"] == 20.0
    await client.post(waiting["urls"]["cancel"])
    assert (await quoted(client, images=four))["eta_seconds"]["p50"] == 40.0


async def test_a_deadline_that_is_too_short_is_told(client: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    await register(pool, slots=2)
    await past(client, pool, waited=0.0, took=[10.0] * 8 + [30.0] * 2)
    four = [image(f"i{n}") for n in range(4)]

    async def notes(**fields: Any) -> list[str]:
        return (await quoted(client, images=four, **fields))["notes"]

    assert await notes(deadline_seconds=60) == []
    [note] = await notes(deadline_seconds=15, on_deadline="fail")
    assert note == "It likely takes 20 seconds, and its deadline passes after 15: what is unfinished then fails."
    [note] = await notes(deadline_seconds=25)
    assert note == (
        "It perhaps takes 40 seconds, and its deadline passes after 25: the rest goes on behind everything else."
    )


async def test_whatever_is_in_the_way_is_told(serve_with: Serve, pool: asyncpg.Pool) -> None:
    await register(pool)
    known = catalog()
    limited = replace(known.providers["placeholder"], requests_per_minute=2)
    crowded = replace(known, providers={**known.providers, "placeholder": limited})
    now_and_here = {"traffic_seconds": 0.0, "history_seconds": 0.0}
    async with serve_with(catalog=crowded, depth=QueueDepth(4), **now_and_here) as client:
        await past(client, pool, waited=0.0, took=[10.0])
        five = [image(f"i{n}") for n in range(5)]

        async def notes(**fields: Any) -> list[str]:
            return (await quoted(client, **fields))["notes"]

        assert await notes(images=five[:2]) == []
        assert await notes(images=five) == [
            "At most 4 images may wait here, and these would be more.",
            "`placeholder` is called 2 times a minute at most: the last of 5 images is begun after 2 minutes.",
        ]
        await change(pool, "default", max_concurrency=1)
        assert await notes(images=five[:2]) == ["The account has at most 1 of its images made at a time."]
        await change(pool, "default", max_concurrency=None)

        await pool.execute(
            "INSERT INTO gates (provider, model, limits, limited_until) VALUES"
            " ('placeholder', '', 1, safelight.now() + interval '1 hour')"
        )
        [note, late] = await notes()
        assert note.startswith("`placeholder` is not called before 20")
        assert late.startswith("It likely takes 36"), "as that says"
        await pool.execute(
            "UPDATE gates SET limited_until = NULL, code = 'BALANCE', shut_at = safelight.now(),"
            " probe_at = safelight.now()"
        )
        assert await notes() == ["`placeholder` is paused (BALANCE): its images wait."]
        assert (await quoted(client))["eta_seconds"] is None
        spare = image("spare", fallback=["picky/picky-1"])
        assert await notes(images=[spare]) == ["`placeholder` is paused (BALANCE): its images go on to their fallback."]
        assert await notes(images=[spare, image()]) == [
            "`placeholder` is paused (BALANCE): its images wait, or go on to their fallback."
        ]
        await pool.execute("DELETE FROM gates")
        await pause(pool, reason="tests")
        assert await notes() == ["Buying is paused: nothing is begun until it is resumed."]


async def test_a_quote_uses_no_key_up_and_needs_none(serve_with: Serve) -> None:
    async with serve_with(require_idempotency_key=True) as client:
        assert (await client.post("/v1/jobs?dry_run=true", json=job())).status_code == 200
        head = {"Idempotency-Key": "mine"}
        assert (await client.post("/v1/jobs?dry_run=true", json=job(), headers=head)).status_code == 200
        other = await client.post("/v1/jobs?dry_run=false", json=job(images=[image("other")]), headers=head)
        assert (other.status_code, other.headers.get("idempotency-replayed")) == (202, None)
        for bad in ("1", "yes", "TRUE", ""):
            refusal(await client.post(f"/v1/jobs?dry_run={bad}", json=job(), headers=head), 422, "validation-error")
        refusal(await client.post("/v1/jobs?dryrun=true", json=job(), headers=head), 422, "unknown-field")


async def test_a_quote_is_of_the_callers_own_account_and_an_admins_of_any(
    deps: ApiDependencies, pool: asyncpg.Pool
) -> None:
    await open_account(pool, STUDIO, paid_in=20)
    await set_daily_budget(pool, "default", 0)
    reader, _ = await key_for(pool, STUDIO)
    other, _ = await key_for(pool, "game")
    async with serving(replace(deps, may_run_open=False)) as nobody:
        async with as_caller(nobody, reader) as studio, as_caller(nobody, other) as game:
            assert (await quoted(studio))["balance_after"] == 19
            refused = await game.post("/v1/jobs?dry_run=true", json=job(account=STUDIO))
            assert (refused.status_code, refused.json()["detail"]) == (404, "There is no such account.")
            assert (await quoted(game))["balance_after"] is None
        refusal(await nobody.post("/v1/jobs?dry_run=true", json=job()), 401, "unauthenticated")
