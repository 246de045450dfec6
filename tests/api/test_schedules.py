"""Schedules over HTTP: made, looked at, changed, run now, and refused with every fault at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.api.cursor import page_cursor
from safelight.api.ordering.order import place_order
from safelight.engine.schedules.due import Schedules
from tests.api.conftest import Serve, image, job
from tests.api.problems import pointers, refusal

JSON = dict[str, Any]


def body(**fields: Any) -> JSON:
    return {"name": "daily-case", "cron": "0 18 * * *", "timezone": "Europe/Berlin", "job": job(), **fields}


async def made(client: httpx2.AsyncClient, **fields: Any) -> JSON:
    response = await client.post("/v1/schedules", json=body(**fields))
    assert response.status_code == 201, response.text
    return response.json()


async def set_clock(pool: asyncpg.Pool, text: str) -> None:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    await pool.execute("UPDATE installation SET clock_shift = $1::timestamptz - clock_timestamp()", moment)


async def tick(deps: ApiDependencies) -> None:
    place = partial(place_order, catalog=deps.catalog, recipes=deps.recipes)
    await Schedules(deps.pool, place, run_limit_seconds=deps.run_limit_seconds).tick()


async def test_a_schedule_is_answered_as_it_was_made_with_its_next_time(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    await set_clock(pool, "2026-11-20T12:00:00")
    sent = body(unique_per="day", catch_up="all", ready_by="00:00", job=job(metadata={"case": "case-{date}"}))
    response = await client.post("/v1/schedules", json=sent)
    schedule = response.json()

    assert response.status_code == 201
    assert response.headers["location"] == schedule["urls"]["self"] == f"/v1/schedules/{schedule['id']}"
    assert {name: schedule[name] for name in sent} == sent
    assert (schedule["enabled"], schedule["last_run"]) == (True, None)
    assert schedule["next_run_at"] == "2026-11-20T17:00:00Z"
    assert list(schedule["job"]) == list(sent["job"]), "in the order of the request"
    assert (await client.get(schedule["urls"]["self"])).json() == schedule


async def test_the_job_of_a_run_is_found_from_its_schedule(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
) -> None:
    await set_clock(pool, "2026-11-20T12:00:00")
    schedule = await made(
        client,
        job=job(metadata={"case": "case-{date}"}, storage_prefix="cases/{datetime}"),
        ready_by="00:00",
    )
    await set_clock(pool, "2026-11-20T17:00:01")
    await tick(deps)

    schedule = (await client.get(schedule["urls"]["self"])).json()
    run = schedule["last_run"]
    assert (run["trigger"], run["status"], run["scheduled_at"]) == ("cron", "submitted", "2026-11-20T17:00:00Z")
    assert (run["ready_by"], run["at_risk_at"], run["faults"]) == ("2026-11-20T23:00:00Z", None, [])
    assert schedule["next_run_at"] == "2026-11-21T17:00:00Z"
    found = (await client.get(run["job"]["url"])).json()
    assert (found["id"], found["status"]) == (run["job"]["id"], run["job"]["status"])
    assert found["metadata"] == {"case": "case-2026-11-20"}
    assert await pool.fetchval("SELECT storage_prefix FROM jobs") == "cases/2026-11-20T18-00-00"


async def test_a_run_for_now_makes_a_job_and_under_one_key_only_one(client: httpx2.AsyncClient) -> None:
    schedule = await made(client, enabled=False)
    assert schedule["next_run_at"] is None
    first, again = [await client.post(schedule["urls"]["run"], headers={"Idempotency-Key": "mine"}) for _ in range(2)]
    other = await client.post(schedule["urls"]["run"])

    assert (first.status_code, first.json()["trigger"], first.json()["status"]) == (202, "manual", "submitted")
    assert first.headers["location"] == first.json()["job"]["url"]
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert other.json()["job"]["id"] != first.json()["job"]["id"]
    assert "idempotency-replayed" not in first.headers.keys() | other.headers.keys()
    jobs = (await client.get("/v1/jobs")).json()["jobs"]
    assert {each["id"] for each in jobs} == {first.json()["job"]["id"], other.json()["job"]["id"]}


async def test_the_second_run_of_a_day_is_given_the_first_ones_job(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, deps: ApiDependencies
) -> None:
    await set_clock(pool, "2026-11-20T12:00:00")
    schedule = await made(client, unique_per="day")
    first = (await client.post(schedule["urls"]["run"])).json()
    changed = await client.patch(schedule["urls"]["self"], json={"job": job(images=[image("other")])})
    assert changed.status_code == 200
    await set_clock(pool, "2026-11-20T17:00:01")
    await tick(deps)
    last = (await client.get(schedule["urls"]["self"])).json()["last_run"]
    assert (last["status"], last["job"]["id"]) == ("joined", first["job"]["id"])
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_history_comes_in_pages_newest_first(client: httpx2.AsyncClient) -> None:
    schedule = await made(client)
    ran = [(await client.post(schedule["urls"]["run"])).json()["id"] for _ in range(5)]
    seen: list[int] = []
    address: str | None = f"{schedule['urls']['runs']}?limit=2"
    while address:
        page = (await client.get(address)).json()
        seen += [run["id"] for run in page["runs"]]
        following = page["next_cursor"]
        address = f"{schedule['urls']['runs']}?limit=2&cursor={following}" if following else None
    assert seen == ran[::-1]
    other = await made(client, name="other")
    cursor = (await client.get(f"{schedule['urls']['runs']}?limit=2")).json()["next_cursor"]
    refusal(await client.get(f"{other['urls']['runs']}?cursor={cursor}"), 400, "invalid-cursor")


async def test_schedules_are_listed_by_name_and_found_by_it(client: httpx2.AsyncClient) -> None:
    for name in ("b", "ä", "a", "Z z"):
        await made(client, name=name, enabled=name != "b")
    everything = (await client.get("/v1/schedules")).json()
    names = [each["name"] for each in everything["schedules"]]
    assert (sorted(names), everything["next_cursor"]) == (sorted(["a", "b", "Z z", "ä"]), None)
    assert all("job" not in each for each in everything["schedules"])

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(f"/v1/schedules?limit=1{cursor}")).json()
        seen += [each["name"] for each in page["schedules"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == names

    found = (await client.get("/v1/schedules", params={"name": "ä"})).json()["schedules"]
    assert [each["name"] for each in found] == ["ä"]
    disabled = (await client.get("/v1/schedules?enabled=false")).json()["schedules"]
    assert [each["name"] for each in disabled] == ["b"]


async def test_what_a_change_leaves_out_stays(client: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    await set_clock(pool, "2026-11-20T12:00:00")
    schedule = await made(client, ready_by="00:00", unique_per="day", catch_up="skip")
    address = schedule["urls"]["self"]
    for change in (
        {},
        {"ready_by": None},
        {"enabled": False},
        {"name": "nightly", "enabled": True},
        {"catch_up": "all"},
    ):
        response = await client.patch(address, json=change)
        assert response.status_code == 200
        kept = {"next_run_at", "updated_at", *change}
        now = response.json()
        assert {name: now[name] for name in now.keys() - kept} == {
            name: schedule[name] for name in schedule.keys() - kept
        }
        schedule = now
    assert schedule["next_run_at"] == "2026-11-20T17:00:00Z"
    moved = (await client.patch(address, json={"timezone": "America/New_York"})).json()
    assert moved["next_run_at"] == "2026-11-20T23:00:00Z"


async def test_pages_go_on_after_any_name(client: httpx2.AsyncClient) -> None:
    names = {"夜\u3000の事件", "the \U0001f468\u200d\U0001f469\u200d\U0001f467 case", "a\u00a0b", "x\u0085y", "z"}
    for name in names:
        await made(client, name=name)
    seen: list[str] = []
    cursor = {}
    while cursor is not None:
        page = (await client.get("/v1/schedules", params={"limit": 1, **cursor})).json()
        seen += [each["name"] for each in page["schedules"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert sorted(seen) == sorted(names)
    forged = page_cursor("a\0", "schedules", "default", "None", "None")
    refusal(await client.get("/v1/schedules", params={"cursor": forged}), 400, "invalid-cursor")


async def test_a_name_belongs_to_one_schedule(client: httpx2.AsyncClient) -> None:
    await made(client, name="one")
    two = await made(client, name="two")
    refusal(await client.post("/v1/schedules", json=body(name="one")), 409, "schedule-exists")
    refusal(await client.patch(two["urls"]["self"], json={"name": "one"}), 409, "schedule-exists")
    assert (await client.delete(two["urls"]["self"])).status_code == 204
    refusal(await client.get(two["urls"]["self"]), 404, "not-found")
    refusal(await client.delete(two["urls"]["self"]), 404, "not-found")
    await made(client, name="two")


async def test_every_fault_of_a_schedule_and_of_its_job_is_named_at_once(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    bad = body(
        cron="0 25 * * *",
        timezone="Europe/Atlantis",
        ready_by="24:00",
        job=job(
            images=[image(prompt="")],
            defaults={"provider": "picky", "model": "picky-0"},
            storage_prefix="cases/{week}",
            metadata={"a": "{today}", "b": "{date}"},
            webhook={"url": "http://169.254.169.254/"},
        ),
    )
    problem = refusal(await client.post("/v1/schedules", json=bad), 422, "validation-error")
    assert sorted(pointers(problem)) == [
        "/cron",
        "/job/images/0/prompt",
        "/job/metadata/a",
        "/job/storage_prefix",
        "/job/storage_prefix",
        "/job/webhook/url",
        "/ready_by",
        "/timezone",
    ]
    assert await pool.fetchval("SELECT count(*) FROM schedules") == 0

    address = (await made(client))["urls"]["self"]
    change = {"cron": "@never", "name": None, "job": job(defaults={"provider": "picky", "model": "picky-0"}), "x": 1}
    problem = refusal(await client.patch(address, json=change), 422, "unknown-field")
    assert sorted(pointers(problem)) == ["/cron", "/job/defaults/model", "/name", "/x"]


async def test_a_template_that_has_become_invalid_is_told_with_its_faults(
    client: httpx2.AsyncClient, serve_with: Serve, pool: asyncpg.Pool, deps: ApiDependencies
) -> None:
    await set_clock(pool, "2026-11-20T12:00:00")
    schedule = await made(client, job=job(defaults={"provider": "picky", "model": "picky-1"}))
    later = replace(
        deps, catalog=replace(deps.catalog, providers={"placeholder": deps.catalog.providers["placeholder"]})
    )
    await set_clock(pool, "2026-11-20T17:00:01")
    await tick(later)

    async with serve_with(catalog=later.catalog) as changed:
        response = await changed.get(schedule["urls"]["self"])
        run = response.json()["last_run"]
        assert (response.status_code, run["status"], run["job"]) == (200, "failed", None)
        assert [fault["pointer"] for fault in run["faults"]] == ["/job/defaults/provider"]
        assert (run["at_risk_reason"], run["detail"]) == ("not_submitted", run["faults"][0]["detail"])
        problem = refusal(await changed.post(schedule["urls"]["run"]), 422, "unknown-model")
        assert pointers(problem) == ["/job/defaults/provider"]
        runs = (await changed.get(schedule["urls"]["runs"])).json()["runs"]
        assert len(runs) == 1, "whoever asks for a run is told; it is no run"


async def test_a_schedule_of_nobody_or_of_another_account_is_not_found(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
) -> None:
    theirs = (await made(client))["id"]
    await pool.execute("UPDATE schedules SET account = 'somebody'")
    for path in (theirs, "sch_01JD0000000000000000000000", "daily-case", "%00"):
        for method, action in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/run"), ("GET", "/runs")):
            with subtests.test(f"{method} {path[:40]}{action}"):
                document = {"enabled": False} if method == "PATCH" else None
                response = await client.request(method, f"/v1/schedules/{path}{action}", json=document)
                refusal(response, 404, "not-found")
    assert (await client.get("/v1/schedules")).json()["schedules"] == []


async def test_the_document_describes_schedules_as_they_are_read(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    change = document["components"]["schemas"]["ScheduleChange"]
    assert "required" not in change
    assert all("default" not in field for field in change["properties"].values())
    paths = [path for path in document["paths"] if path.startswith("/v1/schedules")]
    assert len(paths) == 4
