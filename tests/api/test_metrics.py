"""What /metrics tells: the truth of the database, the same from every process, of nobody in particular, and soon."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from safelight.api.app import ApiDependencies
from safelight.db.pool import close_pool, open_pool
from safelight.db.statements import load
from safelight.domain.access import KeyScope
from safelight.engine.figures.scrape import DATABASE_UP, OF_INSTALLATION
from safelight.metrics import OF_PROCESS, POOL_WAITING, Kind, told_at
from safelight.settings import Settings
from safelight.wiring.parts import catalog_of
from tests.api.conftest import Serve, job, serving, submitted
from tests.api.doors import as_caller, bearer, key_for
from tests.api.tenants import CANARY, furnish
from tests.dashboard.conftest import looking
from tests.engine import conftest as engine
from tests.engine.by_hand import pass_time
from tests.engine.test_long_backlog import nodes
from tests.engine.test_statistics import DRAFT, fill, gemini, ordered
from tests.orders import ended

sandbox, settings = engine.sandbox, engine.settings

PATH = "/metrics"
HEALTH = "/api/metrics/image-generation"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def client(deps: ApiDependencies) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(replace(deps, scrape_fresh_seconds=0.0)) as client:
        yield client


async def scraped(client: httpx2.AsyncClient, **headers: str) -> Samples:
    answer = await client.get(PATH, headers=headers)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"safelight_{name}", frozenset(labels.items())))


def business(samples: Samples) -> Samples:
    names = {metric.series for metric in OF_INSTALLATION}
    whole = {f"{name}{end}" for name in names for end in ("", "_bucket", "_sum", "_count")}
    return {key: value for key, value in samples.items() if key[0] in whole}


async def test_counters_are_what_the_engine_did_whichever_process_is_asked(
    deps: ApiDependencies, settings: Settings, pool: asyncpg.Pool
) -> None:
    deps = replace(deps, catalog=catalog_of(settings), scrape_fresh_seconds=0.0)
    async with serving(deps) as one, serving(deps) as other:
        job_id = await ordered(one, "studio", gemini("a"), gemini("b", "refuse SAFETY"), DRAFT | {"id": "c"})
        waiting = await scraped(one)
        assert of(waiting, "images", provider="gemini", status="queued") == 2
        assert of(waiting, "jobs_open") == 1
        assert (of(waiting, "queue_oldest_seconds", provider="gemini") or 0) > 0
        place = f"127.0.0.1:{free_port()}"
        async with engine.running(settings.model_copy(update={"metrics_bind": place})):
            await ended(pool, job_id)  # pyright: ignore[reportArgumentType]
            assert of(await scraped(other), "workers", state="working") == 1
            async with httpx2.AsyncClient(base_url=f"http://{place}") as of_worker:
                own = await scraped(of_worker)
            assert of(own, "db_pool_connections", pool="worker") is not None
            assert business(own) == {}, "the API tells of the installation"
        found = await scraped(one)
        assert business(found) == business(await scraped(other)) != {}

    assert of(found, "images_ended_total", provider="gemini", status="completed", error="") == 1
    assert of(found, "images_ended_total", provider="gemini", status="refused", error="SAFETY") == 1
    assert of(found, "jobs_ended_total", status="partial") == 1
    spent = await pool.fetchval("SELECT sum(cost_microusd)::bigint FROM attempts WHERE provider = 'gemini'")
    assert of(found, "cost_usd_total", provider="gemini") == pytest.approx(spent / 1e6)
    assert of(found, "image_generation_seconds_count", provider="gemini") == 1
    assert of(found, "image_generation_seconds_bucket", provider="gemini", le="+Inf") == 1
    assert of(found, "images", provider="gemini", status="queued") == 0
    assert of(found, "provider_gate", provider="gemini", state="open") == 1
    assert of(found, "database_up") == 1


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


async def test_both_forms_are_valid_and_every_family_is_documented(client: httpx2.AsyncClient) -> None:
    await client.get("/v1/jobs")
    plain = await client.get(PATH)
    assert plain.headers["content-type"].startswith("text/plain; version=")
    openmetrics = await client.get(PATH, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    known = {metric.name: metric for metric in (*OF_PROCESS, *OF_INSTALLATION, DATABASE_UP)}
    families = [*parse_openmetrics(openmetrics.text)]
    assert {each.name for each in families if each.name.startswith("safelight")} == set(known)
    for each in families:
        if each.name in known:
            metric = known[each.name]
            assert (each.type, each.documentation) == (metric.kind.value, metric.text)
            own = {"le"} if metric.kind is Kind.HISTOGRAM else set()
            assert all(set(sample.labels) - own == set(metric.labels) for sample in each.samples), each.name
    assert {each.name for each in parse(plain.text)} >= {"process_cpu_seconds", "process_open_fds"}


@pytest.mark.parametrize("form", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize("version", ["banana", "1.x", "1.0.0rc1", "9" * 5000])
async def test_a_version_that_is_none_is_answered_in_the_plain_form(
    client: httpx2.AsyncClient, form: str, version: str
) -> None:
    answer = await client.get(PATH, headers={"Accept": f"{form}; version={version}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "safelight_database_up 1.0" in answer.text


async def test_nothing_of_a_tenant_is_in_the_text_and_no_key_is_needed(
    deps: ApiDependencies, pool: asyncpg.Pool
) -> None:
    async with serving(replace(deps, may_run_open=False, scrape_fresh_seconds=0.0)) as nobody:
        key, _ = await key_for(pool, f"{CANARY}-account")
        async with as_caller(nobody, key) as tenant:
            belongings = await furnish(tenant, pool, account=f"{CANARY}-account")
            await tenant.get(f"/v1/jobs/{belongings.ids['job_id']}?{CANARY}=1")
            await tenant.get(f"/no/such/{CANARY}")
        text = (await nobody.get(PATH)).text
    assert CANARY not in text
    assert not [each for each in belongings.ids.values() if len(each) > 8 and each in text]
    assert 'route="/v1/jobs/{job_id}"' in text


async def test_requests_are_counted_by_the_template_of_their_route(client: httpx2.AsyncClient) -> None:
    made = await submitted(client)
    labels = {"method": "GET", "route": "/v1/jobs/{job_id}", "status": "200"}
    nowhere = {"method": "GET", "route": "none", "status": "404"}
    before = await scraped(client)
    await client.get(made["urls"]["self"])
    await client.get("/no/such/place")
    after = await scraped(client)
    for each in (labels, nowhere):
        assert (of(after, "http_requests_total", **each) or 0) - (of(before, "http_requests_total", **each) or 0) == 1
    name = "http_request_duration_seconds_count"
    at = {"method": "GET", "route": "/v1/jobs/{job_id}"}
    assert (of(after, name, **at) or 0) - (of(before, name, **at) or 0) == 1


async def test_a_page_is_counted_with_what_it_is_mounted_under(deps: ApiDependencies) -> None:
    async with looking(deps) as browser:
        await browser.look("/history")
        await browser.look(f"/{CANARY}", status=404)
        text = (await browser.client.get(PATH)).text
    assert 'method="GET",route="/dashboard/history",status="200"' in text
    assert CANARY not in text


async def test_open_streams_and_held_requests_are_counted_while_they_last(client: httpx2.AsyncClient) -> None:
    made = await submitted(client)

    async def held() -> list[float]:
        found = await scraped(client)
        return [of(found, name) or 0 for name in ("sse_clients", "requests_waiting")]

    async def come_to(levels: list[float]) -> None:
        async with asyncio.timeout(20):
            while await held() != levels:
                pass  # asked again as soon as it is answered: the figures are all that tells of it

    before = await held()
    streaming = {"Accept": "text/event-stream"}
    async with client.stream("GET", made["urls"]["events"], headers=streaming) as stream:
        lines = stream.aiter_lines()  # one that nobody holds ends its stream
        await anext(lines)
        waiting = asyncio.create_task(client.get(made["urls"]["self"], params={"wait": 30}))
        await come_to([level + 1 for level in before])
        await client.post(f"{made['urls']['self']}/cancel")
        await waiting
    await come_to(before)


async def test_a_scrape_answers_without_the_database_and_says_so(
    deps: ApiDependencies, database: str, pool: asyncpg.Pool
) -> None:
    """Every connection is somebody's: nobody gets another one."""
    small = await open_pool(database, min_size=1, max_size=1, application_name="tests small")
    try:
        async with serving(replace(deps, pool=small, scrape_fresh_seconds=0.0)) as client:
            assert of(await scraped(client), "database_up") == 1
            async with small.acquire():
                waits = asyncio.create_task(small.fetchval("SELECT 1"))
                away = await scraped(client)
            await waits
            assert of(away, "database_up") == 0
            assert business(away) == {}
            assert of(away, "sse_clients") is not None
            assert away[POOL_WAITING.name, frozenset({("pool", "api")})] == 1
            back = await scraped(client)
            assert of(back, "database_up") == 1
            assert back[POOL_WAITING.name, frozenset({("pool", "api")})] == 0
    finally:
        await close_pool(small)


async def test_many_scrapes_at_once_cost_as_much_as_one(deps: ApiDependencies, database: str) -> None:
    counted = await open_pool(database, min_size=1, max_size=1, application_name="tests counted")
    asked: list[str] = []
    async with counted.acquire() as held:
        conn: Any = held._con
        conn.add_query_logger(lambda record: asked.append(record.query.partition("\n")[0]))
    try:
        async with serving(replace(deps, pool=counted, scrape_fresh_seconds=3600.0)) as client:
            await asyncio.gather(*(scraped(client) for _ in range(5)))
    finally:
        await close_pool(counted)
    assert asked.count("-- name: sums") == 1


async def test_metrics_can_be_turned_off(serve_with: Serve) -> None:
    async with serve_with(metrics=False) as client:
        assert (await client.get(PATH)).status_code == 404


async def test_a_scrape_of_many_images_walks_indexes_alone(pool: asyncpg.Pool) -> None:
    await fill_with_old_and_waiting(pool)
    tally, vitals = load("tally"), load("vitals")
    a_day = (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC), timedelta(hours=1))
    asked = [
        (tally.open_images, ()),
        (tally.installation, (15.0, 100)),
        *((vitals[name], (who, *a_day)) for name in ("images", "calls") for who in (None, "account-7")),
        *((vitals[name], ("account-7",)) for name in ("open_work", "cost_today", "webhooks")),
    ]
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(load("statistics").plan_anew)
        for statement, arguments in asked:
            [row] = await conn.fetch("EXPLAIN (FORMAT JSON) " + statement, *arguments)
            plan = [*nodes(orjson.loads(row[0])[0]["Plan"])]
            scanned = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
            assert not scanned & {"images", "jobs", "attempts", "deliveries", "webhook_endpoints"}, statement
            if statement == tally.open_images:
                assert "images_backlog" in {node.get("Index Name") for node in plan}


async def fill_with_old_and_waiting(pool: asyncpg.Pool) -> None:
    """9000 images that ended, and 1000 that wait, each job with a webhook of its own that has taken messages."""
    await fill(pool, jobs=2000, images=5)
    await pool.execute("UPDATE images SET status = 'queued', completed_at = NULL WHERE row_id % 10 = 0")
    await pool.execute(
        "INSERT INTO webhook_endpoints (id, account, job_id, url, created_at)"
        " SELECT 'whe_' || id, account, id, 'https://a.example', now() FROM jobs"
    )
    await pool.execute(
        "INSERT INTO deliveries (account, endpoint_id, lane, type, created_at, wanted_at, due_at, ended_at, status)"
        " SELECT account, 'whe_' || id, id, 'job.completed', now(), now(), now(), now(), 'delivered' FROM jobs"
    )
    await pool.execute("VACUUM ANALYZE")


async def test_a_worker_tells_its_own_figures_where_it_is_told_to() -> None:
    async with told_at("127.0.0.1:0", list) as port, httpx2.AsyncClient() as client:
        assert port is not None
        url = f"http://127.0.0.1:{port}"
        answer = await client.get(f"{url}/metrics")
        assert "safelight_build_info{" in answer.text
        assert "safelight_worker_images" in {family.name for family in parse(answer.text)}
        assert (await client.get(f"{url}/anything")).status_code == 404
        async with told_at(f"127.0.0.1:{port}", list) as none, told_at(f"127.0.0.1:{port}", list, ports=8) as next_one:
            assert none is None, "it is taken, and nobody works less for it"
            assert next_one is not None
            assert port < next_one < port + 8


async def test_health_figures_are_what_became_of_the_jobs_of_a_window(
    deps: ApiDependencies, settings: Settings, pool: asyncpg.Pool
) -> None:
    async with serving(replace(deps, catalog=catalog_of(settings))) as client:
        first = await ordered(client, "studio", gemini("a"), gemini("b", "refuse SAFETY"), gemini("c", "400"))
        second = await ordered(client, "game", {**DRAFT, "id": "d"})
        async with engine.running(settings):
            for each in (first, second):
                await ended(pool, each)  # pyright: ignore[reportArgumentType]
        await ordered(client, "studio", {**DRAFT, "id": "e"}, {**DRAFT, "id": "f"})
        day = (await client.get(HEALTH, params={"account": "studio"})).json()
        week = (await client.get(HEALTH, params={"window": "7d"})).json()
        unknown = await client.get(HEALTH, params={"window": "1y", "what": "1"})

    assert (day["account"], day["window"]) == ("studio", "24h")
    assert [day[name] for name in ("completed", "refused", "failed", "success_rate")] == [1, 1, 1, 0.5]
    assert [day[name] for name in ("active_jobs", "queued_images", "active_images", "stuck_jobs")] == [1, 2, 0, 0]
    spent = await pool.fetchval("SELECT sum(cost_microusd)::bigint FROM attempts WHERE provider = 'gemini'")
    assert float(day["cost_usd"]) == float(day["cost_today_usd"]) == spent / 1e6 > float(day["wasted_usd"])
    assert day["average_generation_seconds"] == day["p90_generation_seconds"] > 0
    by_name = {each["provider"]: each for each in day["by_provider"]}
    assert set(by_name) == {"gemini", "placeholder"}
    assert (by_name["gemini"]["completed"], by_name["gemini"]["state"]) == (1, "open")
    assert by_name["placeholder"]["completed"] == 0
    assert len(day["series"]) == 24
    assert sum(point["completed"] for point in day["series"]) == day["series"][-1]["completed"] == 1
    assert day["series"][0]["at"] == day["from"]
    assert (week["account"], week["completed"], len(week["series"])) == (None, 2, 28)
    assert week["series"][-1]["completed"] == 2
    assert unknown.status_code == 422
    assert len(unknown.json()["errors"]) == 2


async def test_what_stands_still_and_what_was_not_taken_is_told_of(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await submitted(client, account="other")
    await pool.execute(
        "INSERT INTO deliveries (account, endpoint_id, lane, type, created_at, wanted_at, due_at, ended_at, status)"
        " SELECT 'other', 'whe_1', 'l', 't', t, t, t, t - n * interval '20 hours', 'dead'"
        " FROM generate_series(0, 2) AS n, LATERAL (SELECT safelight.now() AS t) AS x"
    )
    await pass_time(pool, 700)
    found = (await client.get(HEALTH)).json()
    assert (found["stuck_jobs"], found["webhook_failures"]) == (1, 2)
    assert of(await scraped(client), "images_stuck") == 1
    own = (await client.get(HEALTH, params={"account": "default"})).json()
    assert (own["stuck_jobs"], own["webhook_failures"], own["active_jobs"]) == (0, 0, 0)


async def test_an_account_is_told_of_itself_and_an_admin_of_all(deps: ApiDependencies, pool: asyncpg.Pool) -> None:
    async with serving(replace(deps, may_run_open=False)) as nobody:
        key, _ = await key_for(pool, "studio")
        admin, _ = await key_for(pool, "default", KeyScope.ADMIN)
        writer, _ = await key_for(pool, "studio", KeyScope.SUBMIT)
        await nobody.post("/v1/jobs", json=job(), headers=bearer(key))
        told = {name: await nobody.get(HEALTH, headers=bearer(each)) for name, each in (("own", key), ("all", admin))}
        assert {name: each.json()["account"] for name, each in told.items()} == {"own": "studio", "all": None}
        assert told["all"].json()["active_jobs"] == 1
        foreign = await nobody.get(HEALTH, params={"account": "default"}, headers=bearer(key))
        assert foreign.status_code == 404
        assert (await nobody.get(HEALTH, headers=bearer(writer))).status_code == 403
        assert (await nobody.get(HEALTH)).status_code == 401
