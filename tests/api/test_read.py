from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.cursor import cursor_after
from safelight.api.history.filters import History
from safelight.api.schemas import EventPage, Job, JobPage
from safelight.domain.access import DEFAULT_ACCOUNT as ACCOUNT
from safelight.domain.ids import JobId
from safelight.settings import Settings
from tests.api.conftest import Serve, image, submitted
from tests.api.doors import as_caller, key_for
from tests.api.problems import refusal
from tests.engine.conftest import running
from tests.orders import ended

SMALL = [{"name": "card", "width": 64, "height": 48}, {"name": "thumb", "width": 16, "height": 16}]


@pytest.fixture
async def finished(client: httpx2.AsyncClient, pool: asyncpg.Pool, database: str, tmp_path: Path) -> dict[str, Any]:
    """A job of two images that a worker has completed, as its caller sees it."""
    accepted = await submitted(client, images=[image("a", size="64x64"), image("b", size="64x64")], outputs=SMALL)
    settings = Settings(home=tmp_path, database_url=database, admission_seconds=0.05, dequeue_seconds=0.1, slots=4)
    async with running(settings):
        assert await ended(pool, accepted["id"]) == "completed"
    return (await client.get(accepted["urls"]["self"])).json()


async def test_a_completed_job_shows_its_pictures_its_cost_and_its_times(finished: dict[str, Any]):
    Job.model_validate(finished)
    assert (finished["status"], finished["progress"]) == ("completed", 100)
    assert finished["counts"]["completed"] == 2
    assert finished["cost"] == {
        "estimate_usd": "0.000",
        "actual_usd": "0.000",
        "wasted_usd": "0.000",
        "uncertain_usd": "0.000",
    }
    assert finished["created_at"] <= finished["started_at"] <= finished["completed_at"]
    one = finished["images"][0]
    assert one["url"] == f"/v1/jobs/{finished['id']}/images/a"
    assert (one["attempt_count"], one["retry_count"], one["cost_usd"]) == (1, 0, "0.000")
    assert set(one["outputs"]) == {"card", "thumb"}
    card = one["outputs"]["card"]
    assert (card["width"], card["height"], card["format"]) == (64, 48, "jpeg")
    assert "error" not in one
    assert "failure_stage" not in one


async def test_a_picture_comes_byte_for_byte_and_may_be_kept_for_ever(
    client: httpx2.AsyncClient, finished: dict[str, Any]
):
    card = finished["images"][0]["outputs"]["card"]

    response = await client.get(card["url"])

    assert response.status_code == 200
    assert hashlib.sha256(response.content).hexdigest() == card["sha256"]
    assert len(response.content) == card["bytes"]
    assert response.content.startswith(b"\xff\xd8\xff")
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["etag"] == f'"{card["sha256"]}"'
    assert response.headers["cache-control"] == "private, immutable, max-age=31536000"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    first_output = await client.get(finished["images"][0]["url"])
    assert first_output.content == response.content


async def test_a_picture_that_the_caller_has_is_not_sent_again(client: httpx2.AsyncClient, finished: dict[str, Any]):
    card = finished["images"][0]["outputs"]["card"]
    tag = f'"{card["sha256"]}"'

    for known in (tag, f'"other", W/{tag}', "*"):
        response = await client.get(card["url"], headers={"If-None-Match": known})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", tag)
    changed = await client.get(card["url"], headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


async def test_pictures_can_come_inside_of_the_job(client: httpx2.AsyncClient, finished: dict[str, Any]):
    response = await client.get(f"{finished['urls']['self']}?inline=card")

    for one, plain in zip(response.json()["images"], finished["images"], strict=True):
        kind, _, data = one["outputs"]["card"]["url"].partition(",")
        assert kind == "data:image/jpeg;base64"
        assert hashlib.sha256(base64.b64decode(data)).hexdigest() == plain["outputs"]["card"]["sha256"]
        assert one["outputs"]["thumb"] == plain["outputs"]["thumb"]
        assert one["url"] == plain["url"]


async def test_an_output_that_the_job_does_not_have_is_refused(client: httpx2.AsyncClient, finished: dict[str, Any]):
    problem = refusal(await client.get(f"{finished['urls']['self']}?inline=poster"), 422, "validation-error")

    assert [each["parameter"] for each in problem["errors"]] == ["inline"]
    refusal(await client.get(f"{finished['images'][0]['url']}/poster"), 404, "not-found")


async def test_a_picture_that_the_store_has_lost_is_unavailable_and_never_half(
    client: httpx2.AsyncClient, finished: dict[str, Any], tmp_path: Path
):
    files = sorted(path for path in (tmp_path / "blobs" / finished["id"]).rglob("*") if path.is_file())
    files[0].write_bytes(files[0].read_bytes()[:-1])
    for path in files[1:]:
        path.unlink()

    for one in finished["images"]:
        for output in one["outputs"].values():
            refusal(await client.get(output["url"]), 503, "unavailable")
    inline = (await client.get(f"{finished['urls']['self']}?inline=thumb")).json()
    assert inline["images"][1] == finished["images"][1]


async def test_the_log_of_a_job_is_read_page_by_page_without_a_gap(
    client: httpx2.AsyncClient, finished: dict[str, Any]
):
    address = f"{finished['urls']['self']}/events"

    client.headers["Accept"] = "application/json"
    everything = (await client.get(address)).json()
    first = (await client.get(f"{address}?limit=3")).json()
    rest = (await client.get(f"{address}?after={first['next_after']}")).json()
    nothing = (await client.get(f"{address}?after={everything['next_after']}")).json()

    EventPage.model_validate(everything)
    assert first["events"] + rest["events"] == everything["events"]
    assert first["next_after"] == 3
    assert nothing == {"events": [], "next_after": everything["next_after"]}
    assert [event["data"]["seq"] for event in everything["events"]] == list(range(1, everything["next_after"] + 1))
    assert everything["events"][0]["type"] == "job.created"
    assert everything["events"][-1]["type"] == "job.completed"
    by_image = [event["data"]["image_id"] for event in everything["events"] if "image_id" in event["data"]]
    assert set(by_image) == {"a", "b"}


async def test_an_image_without_a_picture_says_where_it_stands(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)

    waiting = await client.get(f"{accepted['urls']['self']}/images/one")
    await client.post(accepted["urls"]["cancel"])
    canceled = await client.get(f"{accepted['urls']['self']}/images/one/card")

    assert "queued" in refusal(waiting, 409, "image-not-ready")["detail"]
    assert "canceled" in refusal(canceled, 409, "image-not-ready")["detail"]
    refusal(await client.get(f"{accepted['urls']['self']}/images/two"), 404, "not-found")
    refusal(await client.get(f"{accepted['urls']['self']}/images/one/poster"), 404, "not-found")


async def test_a_failed_image_says_why_and_whether_it_was_billed(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)
    error = {"kind": "SAFETY", "code": "IMAGE_SAFETY", "message": "No.", "retryable": False, "billed": "no"}
    await pool.execute(
        "UPDATE images SET status = 'refused', failure_stage = 'generating', error = $1, attempt_count = 1", error
    )

    one = (await client.get(accepted["urls"]["self"])).json()["images"][0]

    assert (one["status"], one["failure_stage"], one["error"]) == ("refused", "generating", error)
    assert "url" not in one
    assert "outputs" not in one


async def attempt(pool: asyncpg.Pool, number: int, status: str, cost: int | None, estimate: int | None) -> None:
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at, cost_microusd, cost_basis, estimate_microusd)"
        " SELECT 'att_' || $1::int, row_id, $1, 1, $2, provider, model, fingerprint, gen_random_uuid(),"
        " gen_random_uuid(), now(), now(), now(), $3, 'table', $4 FROM images",
        number,
        status,
        cost,
        estimate,
    )


async def test_the_cost_of_a_job_states_what_was_wasted_and_apart_from_it_what_is_uncertain(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    accepted = await submitted(client)
    await pool.execute("UPDATE images SET status = 'completed'")
    await attempt(pool, 1, "no_image", 10_000, 40_000)
    await attempt(pool, 2, "unbilled", 0, 40_000)
    await attempt(pool, 3, "settled", 39_000, 40_000)

    known = (await client.get(accepted["urls"]["self"])).json()
    await attempt(pool, 4, "unknown", None, 40_000)
    uncertain = (await client.get(accepted["urls"]["self"])).json()
    await attempt(pool, 5, "unknown", None, None)
    unbounded = (await client.get(accepted["urls"]["self"])).json()

    assert known["images"][0]["cost_usd"] == "0.049"
    assert known["cost"]["actual_usd"] == "0.049"
    assert known["cost"]["wasted_usd"] == "0.010"
    assert known["cost"]["uncertain_usd"] == "0.000"
    assert uncertain["images"][0]["cost_usd"] is None
    assert uncertain["cost"] == {**known["cost"], "uncertain_usd": "0.040"}
    assert unbounded["cost"] == {**known["cost"], "uncertain_usd": None}


async def test_a_delivered_picture_of_unknown_price_counts_as_uncertain(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)
    await attempt(pool, 1, "settled", None, 40_000)

    answer = (await client.get(accepted["urls"]["self"])).json()

    assert (answer["cost"]["actual_usd"], answer["cost"]["uncertain_usd"]) == ("0.000", "0.040")


async def test_history_is_read_newest_first_page_by_page(client: httpx2.AsyncClient):
    jobs = [await submitted(client, metadata={"n": str(n)}) for n in range(5)]
    newest_first = [each["id"] for each in reversed(jobs)]

    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        response = await client.get("/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        page = response.json()
        JobPage.model_validate(page)
        pages.append([each["id"] for each in page["jobs"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await submitted(client)

    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]


async def test_history_shows_jobs_without_their_images(client: httpx2.AsyncClient):
    accepted = await submitted(client, images=[image("a"), image("b")])

    page = (await client.get("/v1/jobs")).json()

    for only_of_one_job in ("images", "outputs", "queue_position", "eta_seconds", "eta_p90_seconds"):
        accepted.pop(only_of_one_job)
    accepted["current_step"] = "Waiting to start"
    assert page == {"jobs": [accepted], "next_cursor": None}


async def test_history_can_be_limited_to_one_state(client: httpx2.AsyncClient):
    waiting = await submitted(client)
    canceled = await submitted(client)
    await client.post(canceled["urls"]["cancel"])

    for status, expected in (("pending", [waiting["id"]]), ("canceled", [canceled["id"]]), ("failed", [])):
        page = (await client.get(f"/v1/jobs?status={status}")).json()
        assert [each["id"] for each in page["jobs"]] == expected


async def test_a_cursor_that_was_changed_or_belongs_to_another_list_is_refused(client: httpx2.AsyncClient):
    job_id = JobId((await submitted(client))["id"])
    good = cursor_after(job_id, History(account=ACCOUNT))
    others = (
        cursor_after(job_id, History(account="somebody")),
        cursor_after(job_id, History(account=ACCOUNT, statuses=("failed",))),
        cursor_after(job_id, History(account=ACCOUNT, metadata={"case": "1"})),
    )

    assert (await client.get("/v1/jobs", params={"cursor": good})).json()["jobs"] == []
    for bad in (good[:-1], good[:-4], good + "A", "A" + good, job_id, "", "%", "é", *others):
        refusal(await client.get("/v1/jobs", params={"cursor": bad}), 400, "invalid-cursor")


async def test_a_job_of_another_account_is_not_there(client: httpx2.AsyncClient, serve_with: Serve, pool: asyncpg.Pool):
    accepted = await submitted(client)
    await pool.execute("UPDATE jobs SET account = 'somebody'")
    address = accepted["urls"]["self"]

    key, _ = await key_for(pool, "default")
    async with serve_with(may_run_open=False) as closed, as_caller(closed, key) as other:
        for path in (address, f"{address}/events", f"{address}/images/one"):
            refusal(await other.get(path), 404, "not-found")
        for action in ("cancel", "retry"):
            refusal(await other.post(f"{address}/{action}"), 404, "not-found")
        assert (await other.get("/v1/jobs")).json()["jobs"] == []
    assert await pool.fetchval("SELECT status FROM images") == "queued"


async def test_a_job_that_the_caller_has_is_not_sent_again_until_any_of_it_has_changed(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    address = (await submitted(client))["urls"]["self"]
    first = await client.get(address)
    tag = first.headers["etag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await client.get(address, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        assert same.headers["cache-control"] == first.headers["cache-control"] == "private, no-cache"
    tags = {tag}
    for change in (
        "UPDATE images SET status = 'processing', claim_token = gen_random_uuid()",
        "UPDATE images SET attempt_count = 1",
        "UPDATE jobs SET seq = seq + 1",
        "UPDATE jobs SET deadline_passed = true",
    ):
        await pool.execute(change)
        changed = await client.get(address, headers={"If-None-Match": ", ".join(tags)})
        assert changed.status_code == 200, change
        tags.add(changed.headers["etag"])
    assert len(tags) == 5
