"""Statistics of what a real engine has done, with every figure worked out once more from the rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.db.statements import load
from safelight.domain.credits import Billing
from safelight.domain.money import format_usd
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from safelight.wiring.parts import catalog_of
from tests.api import conftest as api
from tests.api.doors import as_caller, key_for
from tests.engine.books import open_account
from tests.engine.conftest import running
from tests.engine.test_long_backlog import nodes
from tests.orders import GEMINI, ended, until

deps, renderer = api.deps, api.renderer

STUDIO, GAME = "studio", "game"
DRAFT: dict[str, Any] = {"id": "a", "prompt": "A draft", "provider": "placeholder", "model": "placeholder-1"}


@pytest.fixture
async def client(deps: ApiDependencies, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with api.serving(replace(deps, catalog=catalog_of(settings))) as client:
        yield client


async def ordered(client: httpx2.AsyncClient, account: str, *images: dict[str, Any], **more: Any) -> str:
    order = {"account": account, "images": list(images), "outputs": [], **more}
    response = await client.post("/v1/jobs", json=order)
    assert response.status_code == 202, response.text
    return response.json()["id"]


def gemini(image_id: str, script: str = "", **fields: Any) -> dict[str, Any]:
    directive = f" [[sandbox: {script}]]" if script else ""
    return {"id": image_id, "prompt": f"Picture {image_id}{directive}", "provider": "gemini", "model": GEMINI, **fields}


async def stats(client: httpx2.AsyncClient, **asked: Any) -> dict[str, Any]:
    response = await client.get("/v1/stats", params=asked)
    assert response.status_code == 200, response.text
    return response.json()


async def worked(client: httpx2.AsyncClient, settings: Settings, pool: asyncpg.Pool) -> None:
    """Two accounts' jobs, made to their end."""
    await open_account(pool, STUDIO, billing=Billing.CREDITS, paid_in=100)
    first = await ordered(
        client,
        STUDIO,
        gemini("a", group="cover", style="noir"),
        gemini("b", group="cover"),
        gemini("c", "refuse IMAGE_SAFETY", group="back"),
        gemini("d", "400", group="back"),
    )
    second = await ordered(client, STUDIO, gemini("e", group="cover"), gemini("f"))
    await client.post(f"/v1/jobs/{second}/cancel", json={"images": ["f"]})
    draft = {**DRAFT, "id": "g", "group": "cover"}
    other = await ordered(client, GAME, draft, gemini("h"), gemini("i"))
    async with running(settings):
        for job_id in (first, second, other):
            await ended(pool, job_id)  # pyright: ignore[reportArgumentType]


def cut(seconds: Sequence[float]) -> dict[str, float] | None:
    """p50, p90 and p99, by another way than the database's."""
    if not seconds:
        return None
    ranked = sorted(seconds)

    def at(share: float) -> float:
        below = (len(ranked) - 1) * share
        low = int(below)
        high = min(low + 1, len(ranked) - 1)
        return ranked[low] + (ranked[high] - ranked[low]) * (below - low)

    return {"p50": round(at(0.5), 3), "p90": round(at(0.9), 3), "p99": round(at(0.99), 3)}


def table(answer: httpx2.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


async def worked_out(pool: asyncpg.Pool, account: str) -> dict[str, Any]:
    """The figures of an account, from its rows and without any aggregate of the database's."""
    images = await pool.fetch("SELECT i.* FROM images i JOIN jobs j ON j.id = i.job_id WHERE j.account = $1", account)
    calls = await pool.fetch(
        "SELECT a.* FROM attempts a JOIN images i ON i.row_id = a.image_row_id JOIN jobs j ON j.id = i.job_id"
        " WHERE j.account = $1",
        account,
    )
    usage = [call["usage"] or {} for call in calls]
    waited = [(i["started_at"] - i["created_at"]).total_seconds() for i in images if i["started_at"] is not None]
    took = [(i["completed_at"] - i["created_at"]).total_seconds() for i in images if i["status"] == "completed"]
    made = [(c["ended_at"] - c["sent_at"]).total_seconds() for c in calls if c["status"] == "settled"]
    return {
        "queue_wait_seconds": cut(waited),
        "generation_seconds": cut(made),
        "total_seconds": cut(took),
        "calls": len(calls),
        "actual_usd": format_usd(sum(c["cost_microusd"] or 0 for c in calls)),
        "wasted_usd": format_usd(sum(c["cost_microusd"] or 0 for c in calls if c["status"] != "settled")),
        "usage": {
            "input_tokens": sum(u["promptTokenCount"] for u in usage if "promptTokenCount" in u) or None,
            "output_tokens": sum(
                u["candidatesTokenCount"] + u.get("thoughtsTokenCount", 0) for u in usage if "candidatesTokenCount" in u
            )
            or None,
        },
    }


async def test_every_figure_is_what_the_engine_did(
    client: httpx2.AsyncClient,
    deps: ApiDependencies,
    settings: Settings,
    pool: asyncpg.Pool,
    sandbox: RunningSandbox,
    subtests: pytest.Subtests,
) -> None:
    await worked(client, settings, pool)
    mine = await stats(client, account=STUDIO)
    total, expected = mine["total"], await worked_out(pool, STUDIO)

    with subtests.test("jobs and images by state"):
        assert {name: n for name, n in total["jobs"].items() if n} == {"total": 2, "partial": 1, "canceled": 1}
        counted = {name: n for name, n in total["images"].items() if n}
        assert counted == {"total": 6, "completed": 3, "refused": 1, "failed": 1, "canceled": 1}
        assert total["success_rate"] == 0.75, "3 of 4: neither what was refused nor what was canceled"
        assert total["refusal_rate"] == 0.2

    with subtests.test("seconds"):
        for name in ("queue_wait_seconds", "generation_seconds", "total_seconds"):
            assert total[name] == pytest.approx(expected[name], abs=0.001)

    with subtests.test("money and tokens"):
        assert total["calls"] == expected["calls"] == 5
        cost = total["cost"]
        assert (cost["actual_usd"], cost["wasted_usd"]) == (expected["actual_usd"], expected["wasted_usd"])
        assert cost["wasted_usd"] > "0.000", "the refusal was charged for"
        assert (cost["uncertain_usd"], cost["credits_captured"]) == ("0.000", 3)
        assert "captured_usd" not in cost
        assert total["usage"] == expected["usage"]
        assert None not in total["usage"].values()
        everything = (await stats(client, account="*"))["total"]["cost"]["actual_usd"]
        assert everything == format_usd(sandbox.vendor.bill.total_microusd), "and the vendor's own bill says the same"

    with subtests.test("popular"):
        popular = mine["popular"]
        assert popular["models"] == [{"provider": "gemini", "model": GEMINI, "images": 6, "completed": 3}]
        assert popular["providers"] == [{"name": "gemini", "images": 6, "completed": 3}]
        assert popular["groups"] == [
            {"name": "cover", "images": 3, "completed": 3},
            {"name": "back", "images": 2, "completed": 0},
        ]
        assert popular["styles"] == [{"name": "noir", "images": 1, "completed": 1}]

    with subtests.test("told apart"):
        by_group = {each["key"]: each for each in (await stats(client, account=STUDIO, group_by="group"))["groups"]}
        assert {key: each["images"]["total"] for key, each in by_group.items()} == {"cover": 3, "back": 2, "": 1}
        assert {key: each["jobs"]["total"] for key, each in by_group.items()} == {"cover": 2, "back": 1, "": 1}
        assert by_group["back"]["success_rate"] == 0.0
        assert by_group["cover"]["cost"]["credits_captured"] == 3
        assert by_group["cover"]["cost"]["wasted_usd"] == "0.000"
        by_style = (await stats(client, account=STUDIO, group_by="style"))["groups"]
        assert [(each["key"], each["images"]["total"]) for each in by_style] == [(None, 5), ("noir", 1)]
        by_model = (await stats(client, account="*", group_by="model"))["groups"]
        assert [(each["key"], each["images"]["total"], each["calls"]) for each in by_model] == [
            (f"gemini/{GEMINI}", 8, 7),
            ("placeholder/placeholder-1", 1, 1),
        ]
        [today] = (await stats(client, account=STUDIO, group_by="day"))["groups"]
        assert {name: today[name] for name in total} == total

    with subtests.test("the same as a table, a row for each group"):
        groups = (await stats(client, account=STUDIO, group_by="group"))["groups"]
        asked = {"account": STUDIO, "group_by": "group"}
        shown = await client.get("/v1/stats", params=asked, headers={"Accept": "text/csv"})
        assert shown.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        rows = table(shown)
        assert [row["key"] for row in rows] == [group["key"] for group in groups] == ["cover", "back", ""]
        assert [row["images_total"] for row in rows] == ["3", "2", "1"]
        assert [row["credits_captured"] for row in rows] == ["3", "", ""]
        assert [row["actual_usd"] for row in rows] == [group["cost"]["actual_usd"] for group in groups]
        assert float(rows[0]["generation_p90_seconds"]) == groups[0]["generation_seconds"]["p90"]
        [all_of_it] = table(await client.get("/v1/stats", params={"account": STUDIO, "format": "csv"}))
        assert (all_of_it["key"], all_of_it["images_total"], all_of_it["success_rate"]) == ("", "6", "0.75")

    with subtests.test("what is another account's is in no figure"):
        theirs = await stats(client, account=GAME)
        assert theirs["total"]["images"]["completed"] == theirs["total"]["images"]["total"] == 3
        assert theirs["total"]["generation_seconds"] == pytest.approx(
            (await worked_out(pool, GAME))["generation_seconds"], abs=0.001
        )
        assert {each["provider"] for each in theirs["popular"]["models"]} == {"gemini", "placeholder"}
        apart = (await stats(client, account="*", group_by="account"))["groups"]
        assert [(each["key"], each["images"]["total"]) for each in apart] == [(STUDIO, 6), (GAME, 3)]
        assert (await stats(client))["total"]["images"]["total"] == 0, "the caller's own, when nobody else is named"
        key, _ = await key_for(pool, GAME)
        async with api.serving(replace(deps, may_run_open=False)) as closed, as_caller(closed, key) as game:
            assert (await stats(game))["total"] == theirs["total"]
            assert [each["key"] for each in (await stats(game, group_by="account"))["groups"]] == [GAME]
            for account in (STUDIO, "*", "nobody"):
                refused = await game.get("/v1/stats", params={"account": account})
                assert (refused.status_code, refused.json()["detail"]) == (404, "There is no such account.")


async def test_a_call_that_another_provider_made_up_for_is_told_with_the_one_that_was_called(
    client: httpx2.AsyncClient, settings: Settings, pool: asyncpg.Pool
) -> None:
    image = gemini("a", "refuse IMAGE_SAFETY", fallback=["placeholder/placeholder-1"], on_refusal="next_provider")
    job_id = await ordered(client, GAME, image)
    async with running(settings):
        await ended(pool, job_id)  # pyright: ignore[reportArgumentType]

    groups = {each["key"]: each for each in (await stats(client, account=GAME, group_by="provider"))["groups"]}

    assert {key: (each["images"]["completed"], each["calls"]) for key, each in groups.items()} == {
        "placeholder": (1, 1),
        "gemini": (0, 1),
    }
    assert groups["gemini"]["cost"]["wasted_usd"] > "0.000"
    assert groups["placeholder"]["cost"]["actual_usd"] == "0.000"


async def created_at(pool: asyncpg.Pool, job_id: str, moment: str) -> None:
    at = datetime.fromisoformat(moment)
    await pool.execute("UPDATE jobs SET created_at = $2 WHERE id = $1", job_id, at)


async def test_days_and_hours_are_those_of_the_zone_that_is_named(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    moments = (
        "2026-10-24T21:30:00+00:00",  # 23:30 in Berlin
        "2026-10-24T22:30:00+00:00",  # 00:30 of the next day
        "2026-10-25T00:30:00+00:00",  # 02:30, for the first time
        "2026-10-25T01:30:00+00:00",  # 02:30, for the second time: clocks went back
        "2026-10-25T23:30:00+00:00",  # 00:30 of the day after
    )
    for moment in moments:
        await created_at(pool, await ordered(client, GAME, DRAFT), moment)
    span = {"account": GAME, "from": "2026-10-20T00:00:00Z", "to": "2026-11-01T00:00:00Z"}

    async def told(group_by: str, zone: str) -> dict[str, int]:
        groups = (await stats(client, **span, group_by=group_by, time_zone=zone))["groups"]
        return {each["key"]: each["jobs"]["total"] for each in groups}

    assert await told("day", "UTC") == {"2026-10-24": 2, "2026-10-25": 3}
    assert await told("day", "Europe/Berlin") == {"2026-10-24": 1, "2026-10-25": 3, "2026-10-26": 1}
    assert await told("hour", "Europe/Berlin") == {
        "2026-10-24T23:00:00+02:00": 1,
        "2026-10-25T00:00:00+02:00": 1,
        "2026-10-25T02:00:00+02:00": 1,
        "2026-10-25T02:00:00+01:00": 1,
        "2026-10-26T00:00:00+01:00": 1,
    }
    assert await told("hour", "Asia/Kolkata") == {
        "2026-10-25T03:00:00+05:30": 1,
        "2026-10-25T04:00:00+05:30": 1,
        "2026-10-25T06:00:00+05:30": 1,
        "2026-10-25T07:00:00+05:30": 1,
        "2026-10-26T05:00:00+05:30": 1,
    }


async def test_summers_are_those_of_a_zone_whose_name_stands_for_a_time_without_any(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await created_at(pool, await ordered(client, GAME, DRAFT), "2026-07-14T23:30:00+00:00")
    span = {"account": GAME, "from": "2026-07-01T00:00:00Z", "to": "2026-08-01T00:00:00Z"}
    for zone in ("CET", "EET", "MET", "WET", "EST", "MST", "HST"):
        hour = datetime(2026, 7, 14, 23, tzinfo=UTC).astimezone(ZoneInfo(zone))
        for group_by, key in (("day", f"{hour:%Y-%m-%d}"), ("hour", hour.isoformat())):
            told = await stats(client, **span, group_by=group_by, time_zone=zone)
            assert [group["key"] for group in told["groups"]] == [key], zone


async def test_a_time_begins_with_its_first_moment_and_ends_before_its_last(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    for moment in ("2026-10-01T00:00:00+00:00", "2026-10-02T00:00:00+00:00"):
        await created_at(pool, await ordered(client, GAME, DRAFT), moment)

    async def jobs(since: str, until: str) -> int:
        return (await stats(client, account=GAME, **{"from": since, "to": until}))["total"]["jobs"]["total"]

    assert await jobs("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z") == 1
    assert await jobs("2026-10-01T00:00:01Z", "2026-10-02T00:00:01Z") == 1
    assert await jobs("2026-10-01T00:00:01Z", "2026-10-02T00:00:00Z") == 0
    now = await pool.fetchval("SELECT safelight.now()")
    usual = await stats(client, account=GAME)
    since, until_ = (datetime.fromisoformat(usual[name]) for name in ("from", "to"))
    assert until_ - since == timedelta(days=30)
    assert abs(until_ - now) < timedelta(minutes=5)


async def test_figures_of_nothing_are_there(client: httpx2.AsyncClient) -> None:
    nothing = await stats(client, group_by="model")
    assert nothing["groups"] == []
    assert nothing["total"]["images"]["total"] == nothing["total"]["jobs"]["total"] == 0
    assert nothing["total"]["success_rate"] is nothing["total"]["total_seconds"] is None
    assert nothing["total"]["cost"] == {"actual_usd": "0.000", "wasted_usd": "0.000", "uncertain_usd": "0.000"}


async def test_a_retried_image_is_left_out_of_how_long_images_took(
    client: httpx2.AsyncClient, settings: Settings, pool: asyncpg.Pool
) -> None:
    job_id = await ordered(client, GAME, DRAFT)
    await client.post(f"/v1/jobs/{job_id}/cancel")
    assert (await client.post(f"/v1/jobs/{job_id}/retry")).status_code == 202
    async with running(settings):
        await until(pool, "SELECT status = 'completed' FROM jobs WHERE id = $1", job_id)

    total = (await stats(client, account=GAME))["total"]

    assert total["images"]["completed"] == 1
    assert (total["queue_wait_seconds"], total["total_seconds"]) == (None, None)
    assert total["generation_seconds"] is not None


async def test_of_many_groups_those_with_most_images_are_told(client: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    small = [{**DRAFT, "id": f"i{n}", "group": f"g{n}"} for n in range(500)]
    for part in range(3):
        each = [{**image, "group": f"{image['group']}-{part}"} for image in small]
        await ordered(client, GAME, *each)
    await ordered(client, GAME, *({**small[0], "id": f"j{n}", "group": "large"} for n in range(2)))

    told = await stats(client, account=GAME, group_by="group")

    assert (len(told["groups"]), told["is_cut"]) == (1000, True)
    assert told["groups"][0]["key"] == "large"
    assert told["total"]["images"]["total"] == 1502
    assert [each["images"] for each in told["popular"]["groups"]] == [2, *[1] * 9]


async def fill(pool: asyncpg.Pool, *, jobs: int, images: int) -> None:
    """A hundred accounts, over a hundred days, each image with its call."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL statement_timeout = 0")
        await conn.execute(
            "INSERT INTO jobs (id, account, request_fingerprint, status, outputs, metadata, deadline_seconds,"
            " on_deadline, run_started_at, deadline_at, run_ends_at, created_at)"
            " SELECT 'job_' || lpad(n::text, 26, '0'), 'account-' || n % 100, '', 'completed', '[]', '{}', 1, 'fail',"
            " t, t, t, t FROM generate_series(1, $1::int) AS n,"
            " LATERAL (SELECT timestamptz '2026-01-01Z' + n * interval '100 days' / $1 AS t) AS x",
            jobs,
            timeout=120,
        )
        await conn.execute(
            "INSERT INTO images (job_id, position, id, image_group, status, provider, model, prompt, options,"
            " fingerprint, timeout_seconds, max_attempts, max_rebuys, on_uncertain, not_before, created_at, changed_at,"
            " started_at, completed_at, account)"
            " SELECT j.id, k, k::text, 'g' || k, 'completed', 'p', 'm', '', '{}', '', 1, 1, 1, 'fail', j.created_at,"
            " j.created_at, j.created_at, j.created_at, j.created_at + k * interval '1 second', j.account"
            " FROM jobs AS j, generate_series(0, $1::int - 1) AS k ORDER BY 1, 2",
            images,
            timeout=120,
        )
        await conn.execute(
            "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
            " worker_id, sent_at, deadline_at, resolve_at, ended_at, cost_microusd, cost_basis, usage)"
            " SELECT 'att_' || row_id, row_id, 1, 1, 'settled', 'p', 'm', '', gen_random_uuid(), gen_random_uuid(),"
            " created_at, created_at, created_at, completed_at, 1000, 'usage',"
            ' \'{"promptTokenCount": 10, "candidatesTokenCount": 1290}\' FROM images',
            timeout=120,
        )
    for table in ("jobs", "images", "attempts"):
        await pool.execute(f"VACUUM ANALYZE {table}")


async def plans(pool: asyncpg.Pool, *, account: str | None, days: int) -> dict[str, list[dict[str, Any]]]:
    """How the server would find each of the figures, as the service asks for them: every node of each plan."""
    sql = load("statistics")
    since = datetime(2026, 2, 1, tzinfo=UTC)
    span = (account, since, since + timedelta(days=days))
    asked = {
        "pictures": (*span, "day", "UTC", 1001),
        "jobs": (*span, "day", "UTC", ["2026-02-01"]),
        "calls": (*span, "day", "UTC", ["2026-02-01"]),
        "charges": (*span, "day", "UTC", ["2026-02-01"]),
        "popular": (*span, 10),
    }
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(sql.plan_anew)
        return {
            name: list(
                nodes(json.loads(await conn.fetchval("EXPLAIN (FORMAT JSON) " + sql[name], *arguments))[0]["Plan"])
            )
            for name, arguments in asked.items()
        }


async def test_figures_are_found_by_index(pool: asyncpg.Pool) -> None:
    await fill(pool, jobs=4000, images=5)
    for account, days, index in (("account-7", 30, "jobs_by_time"), (None, 1, "jobs_by_day")):
        for name, plan in (await plans(pool, account=account, days=days)).items():
            scanned = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
            assert not scanned & {"jobs", "images", "attempts"}, f"{name} of {account}"
            names = {node.get("Index Name") for node in plan}
            assert index in names or name == "charges", f"{name} of {account}"  # of which there are none here


async def test_a_vendor_that_counts_what_nobody_can_have_used_is_left_out_of_the_tokens(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await fill(pool, jobs=1, images=4)
    counts = [
        {"input_tokens": float(2**70), "output_tokens": 1e300},
        {"promptTokenCount": -7, "candidatesTokenCount": 2**62, "thoughtsTokenCount": 2**62},
        {"input_tokens": 10, "output_tokens": 20},
    ]
    await pool.executemany(
        "UPDATE attempts SET usage = $2 WHERE id = 'att_' || $1::bigint",
        [
            (row["row_id"], usage)
            for row, usage in zip(await pool.fetch("SELECT row_id FROM images"), counts, strict=False)
        ],
    )

    answer = await stats(client, account="*", **{"from": "2026-01-01T00:00:00Z", "to": "2026-05-01T00:00:00Z"})

    assert answer["total"]["calls"] == 4
    assert answer["total"]["usage"] == {"input_tokens": 20, "output_tokens": 1310}


@pytest.mark.slow
async def test_figures_of_100_000_images_take_less_than_a_statement_may(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await fill(pool, jobs=10_000, images=10)
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-05-01T00:00:00Z"}

    everything = await stats(client, account="*", group_by="day", **span)
    one = await stats(client, account="account-7", group_by="model", **span)

    assert everything["total"]["images"]["completed"] == 100_000
    assert everything["total"]["cost"]["actual_usd"] == "100.000"
    assert everything["total"]["usage"] == {"input_tokens": 1_000_000, "output_tokens": 129_000_000}
    assert everything["total"]["total_seconds"] == cut([float(n) for n in range(10)] * 10)
    assert one["total"]["images"]["completed"] == 1000
