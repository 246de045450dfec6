"""`GET /v1/providers`, with our own adapters over no network and gates that were shut by real reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api import schemas
from safelight.api.schemas import ProviderModel
from safelight.db.statements import load
from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.ids import ImageRowId
from safelight.engine.figures.health import MAX_CALLS
from safelight.engine.gates import report_failure
from safelight.engine.orders.catalog import Catalog, ConfiguredProvider
from safelight.engine.timing import Timing
from safelight.net.egress import EgressGuard
from safelight.providers.gemini import GeminiProvider
from safelight.providers.openai import OpenAIProvider
from safelight.providers.provider import Capabilities, ProviderError, SizeRule
from safelight.providers.registry import ProviderConfig
from tests.api.conftest import PickyProvider, Serve, submitted
from tests.api.problems import refusal

MODEL = "gemini-3.1-flash-image"
CONFIG = ProviderConfig(api_key="canary-key", base_url="http://127.0.0.1:9", fetch=EgressGuard(()).fetch)


@pytest.fixture
async def known(tmp_path: Path) -> AsyncIterator[Catalog]:
    catalog = Catalog(
        providers={
            "gemini": ConfiguredProvider(
                provider=GeminiProvider.from_config("gemini", CONFIG),
                kind="gemini",
                model=MODEL,
                max_concurrency=8,
                requests_per_minute=60,
            ),
            "drawing": ConfiguredProvider(
                provider=OpenAIProvider.from_config("drawing", CONFIG), kind="openai", model=None, max_concurrency=2
            ),
            "picky": ConfiguredProvider(provider=PickyProvider(), kind="picky", model="unpriced", max_concurrency=1),
        },
        default="gemini",
    )
    yield catalog
    for each in catalog.providers.values():
        await each.provider.aclose()


@pytest.fixture
async def client(serve_with: Serve, known: Catalog) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve_with(catalog=known) as client:
        yield client


async def shown(client: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    response = await client.get("/v1/providers")
    assert response.status_code == 200, response.text
    assert "canary-key" not in response.text
    return {each["name"]: each for each in response.json()["providers"]}


async def test_each_provider_tells_what_can_be_asked_of_it(client: httpx2.AsyncClient):
    providers = await shown(client)

    assert list(providers) == ["gemini", "drawing", "picky"]
    gemini = providers["gemini"]
    assert (gemini["kind"], gemini["default_model"]) == ("gemini", MODEL)
    assert (gemini["max_concurrency"], gemini["requests_per_minute"]) == (8, 60)
    assert (providers["drawing"]["kind"], providers["drawing"]["default_model"]) == ("openai", None)
    assert (await client.get("/v1/providers")).json()["default"] == "gemini"


async def test_a_model_tells_what_it_can_do_and_costs(client: httpx2.AsyncClient):
    providers = await shown(client)

    [flash] = [model for model in providers["gemini"]["models"] if model["id"] == MODEL]
    assert flash["estimate_usd"] == "0.0687"
    assert "16:9" in flash["aspect_ratios"]
    assert flash["aspect_ratios"] == sorted(flash["aspect_ratios"])
    assert (flash["sizes"], flash["size_rule"], flash["qualities"]) == (None, None, None)
    assert (flash["seed"], flash["negative_prompt"], flash["remote_job"], flash["mask"]) == (True, False, False, False)
    assert (flash["retired_on"], flash["timeout_seconds"]) == (None, 180.0)
    [sized] = [model for model in providers["drawing"]["models"] if model["id"] == "gpt-image-2"]
    assert sized["size_rule"]["step_px"] == 16
    assert "high" in sized["qualities"]


def test_nothing_that_a_model_can_do_is_left_out():
    assert {each.name for each in fields(Capabilities)} <= set(ProviderModel.model_fields)
    assert {each.name for each in fields(SizeRule)} == set(schemas.SizeRule.model_fields)


async def test_a_retired_model_is_shown_with_its_day_and_without_a_price(client: httpx2.AsyncClient):
    [old] = [each for each in (await shown(client))["gemini"]["models"] if each["id"] == "gemini-2.5-flash-image"]

    assert (old["retired_on"], old["estimate_usd"]) == ("2026-10-02", None)


async def test_a_default_model_that_is_not_listed_is_shown_and_without_a_price_its_estimate_is_null(
    client: httpx2.AsyncClient,
):
    [unpriced] = (await shown(client))["picky"]["models"]

    assert (unpriced["id"], unpriced["estimate_usd"]) == ("unpriced", None)


async def test_where_nothing_failed_every_gate_is_open_and_none_is_shown(client: httpx2.AsyncClient):
    assert [each["gates"] for each in (await shown(client)).values()] == [[], [], []]


async def test_a_shut_gate_and_a_limited_one_are_shown_at_their_provider(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await submitted(client, images=[{"id": "one", "prompt": "A brass key"}])
    row_id = ImageRowId(await pool.fetchval("SELECT row_id FROM images"))
    for _ in range(5):
        await failed(pool, row_id, ErrorKind.TEMPORARY, Billed.UNKNOWN)
    await failed(pool, row_id, ErrorKind.RATE_LIMIT, Billed.NO, scope=Scope.ACCOUNT, retry_after_seconds=600)

    providers = await shown(client)

    account, model = providers["gemini"]["gates"]
    assert (account["model"], account["state"], account["since"]) == (None, "limited", None)
    assert datetime.fromisoformat(account["limited_until"])
    assert (model["model"], model["state"], model["code"]) == (MODEL, "shut", "OVERLOADED")
    assert datetime.fromisoformat(model["since"]) < datetime.fromisoformat(model["probe_at"])
    assert model["probing"] is False
    assert providers["drawing"]["gates"] == []


async def failed(
    pool: asyncpg.Pool,
    row_id: ImageRowId,
    kind: ErrorKind,
    billed: Billed,
    *,
    scope: Scope = Scope.REQUEST,
    retry_after_seconds: float | None = None,
) -> None:
    error = ProviderError(
        "no", kind=kind, billed=billed, code="OVERLOADED", scope=scope, retry_after_seconds=retry_after_seconds
    )
    await report_failure(pool, provider="gemini", model=MODEL, row_id=row_id, error=error, timing=Timing())


async def test_without_its_database_the_list_is_unavailable(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await pool.close()

    refusal(await client.get("/v1/providers"), 503, "unavailable")


async def test_a_parameter_that_does_not_exist_is_refused(client: httpx2.AsyncClient):
    refusal(await client.get("/v1/providers?kind=gemini"), 422, "unknown-field")


async def test_a_provider_that_nobody_has_asked_has_no_health_to_speak_of(client: httpx2.AsyncClient):
    assert [each["health"] for each in (await shown(client)).values()] == 3 * [
        {
            "last_success_at": None,
            "last_failure_at": None,
            "calls_last_hour": 0,
            "success_rate": None,
            "median_seconds": None,
        }
    ]


async def test_a_provider_tells_how_its_latest_calls_went(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await submitted(client, images=[{"id": "one", "prompt": "A brass key"}])
    calls = [
        # minutes ago, status, seconds, provider
        (90, "settled", 100, "gemini"),
        (50, "settled", 2, "gemini"),
        (40, "received", 4, "gemini"),
        (30, "settled", 9, "gemini"),
        (20, "unbilled", 1, "gemini"),
        (15, "refused", 1, "gemini"),
        (10, "sent", None, "gemini"),
        (70, "unknown", 60, "picky"),
    ]
    for number, (minutes, status, seconds, provider) in enumerate(calls, start=1):
        await made(pool, number, minutes=minutes, status=status, seconds=seconds, provider=provider)
    never_sent = ("NOT_SENT", "REFERENCE_NOT_READ", "REFERENCE_GONE")
    for number, code in enumerate(never_sent, start=len(calls) + 1):
        await made(pool, number, minutes=5, status="unbilled", seconds=1, provider="gemini", error_code=code)

    providers = await shown(client)

    of_gemini, of_picky = providers["gemini"]["health"], providers["picky"]["health"]
    assert (of_gemini["calls_last_hour"], of_gemini["success_rate"], of_gemini["median_seconds"]) == (4, 0.75, 4.0)
    assert of_gemini["last_success_at"] < of_gemini["last_failure_at"]
    assert (of_picky["calls_last_hour"], of_picky["success_rate"], of_picky["median_seconds"]) == (0, None, None)
    assert (of_picky["last_success_at"], of_picky["last_failure_at"] is None) == (None, False)


async def test_the_health_of_a_busy_provider_is_read_from_an_index_and_no_further_than_its_latest_calls(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await submitted(client, images=[{"id": "one", "prompt": "A brass key"}])
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        "                      worker_id, sent_at, deadline_at, resolve_at, ended_at)"
        " SELECT 'att_' || n, i.row_id, n, 1, 'settled', 'gemini', 'm', 'f', gen_random_uuid(), gen_random_uuid(),"
        "        t.at, t.at, t.at, t.at FROM images AS i, generate_series(1, 5000) AS n,"
        "        LATERAL (SELECT safelight.now() - n * interval '0.1 second' AS at) AS t"
    )
    await pool.execute("ANALYZE attempts")

    assert (await shown(client))["gemini"]["health"]["calls_last_hour"] == MAX_CALLS
    plan = await pool.fetch(f"EXPLAIN {load('health').health_of_providers}", ["gemini", "picky"], MAX_CALLS, None)
    assert "attempts_by_provider" in str(plan)
    assert "Seq Scan" not in str(plan)


async def made(
    pool: asyncpg.Pool,
    number: int,
    *,
    minutes: int,
    status: str,
    seconds: int | None,
    provider: str,
    error_code: str | None = None,
) -> None:
    """A call of so long ago is in the book."""
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        "                      worker_id, sent_at, deadline_at, resolve_at, ended_at, error_code)"
        " SELECT 'att_' || $1::int, row_id, $1::int, 1, $2, $3, 'm', 'f', gen_random_uuid(), gen_random_uuid(),"
        "        t.at, t.at, t.at, t.at + make_interval(secs => $4), $6"
        " FROM images, (SELECT safelight.now() - make_interval(mins => $5) AS at) AS t",
        number,
        status,
        provider,
        seconds,
        minutes,
        error_code,
    )
