"""Every call that was made for a job: listed, priced, and nobody else's to see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg
import httpx2

from safelight.api.app import ApiDependencies
from safelight.api.cursor import page_cursor
from safelight.api.schemas import AttemptPage
from safelight.domain.ids import new_job_id
from tests.api.conftest import image, serving, submitted
from tests.api.doors import as_caller, key_for

_CALL = """
INSERT INTO attempts (id, image_row_id, number, run, provider, model, status, fingerprint, claim_token, worker_id,
                      sent_at, deadline_at, resolve_at, ended_at, cost_microusd, cost_basis, error_kind, error_code,
                      remote)
SELECT 'att_' || gen_random_uuid(), row_id, $3, 1, provider, model, $4, fingerprint, gen_random_uuid(),
       gen_random_uuid(), safelight.now(), safelight.now(), safelight.now(),
       CASE WHEN $4 NOT IN ('sent', 'submitted') THEN safelight.now() END, $5, $6, $7, $8,
       CASE $4 WHEN 'submitted' THEN '{}'::jsonb END
FROM images WHERE job_id = $1 AND id = $2
"""


async def called(
    pool: asyncpg.Pool,
    job_id: str,
    image_id: str,
    number: int,
    status: str,
    microusd: int | None = None,
    basis: str | None = None,
    error: tuple[str, str] | None = None,
) -> None:
    kind, code = error or (None, None)
    await pool.execute(_CALL, job_id, image_id, number, status, microusd, basis, kind, code)


async def attempts(client: httpx2.AsyncClient, job_id: str, **query: Any) -> dict[str, Any]:
    response = await client.get(f"/v1/jobs/{job_id}/attempts", params=query)
    assert response.status_code == 200, response.text
    AttemptPage.model_validate_json(response.content)
    return response.json()


async def test_every_call_is_listed_in_the_order_of_the_images_with_what_it_cost(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    job = await submitted(client, images=[image("z"), image("a"), image("never-called")])
    await called(pool, job["id"], "a", 1, "unbilled", 0, "table", ("RATE_LIMIT", "429"))
    await called(pool, job["id"], "a", 2, "settled", 39_000, "usage")
    await called(pool, job["id"], "z", 1, "refused", 0, "table", ("SAFETY", "IMAGE_SAFETY"))

    page = await attempts(client, job["id"])

    shown = [
        (each["image"], each["number"], each["status"], each["cost_usd"], each["billed"]) for each in page["attempts"]
    ]
    assert shown == [
        ("z", 1, "refused", "0.000", "no"),
        ("a", 1, "unbilled", "0.000", "no"),
        ("a", 2, "settled", "0.039", "yes"),
    ]
    first, _, last = page["attempts"]
    assert (first["error_kind"], first["error_code"], last["error_kind"]) == ("SAFETY", "IMAGE_SAFETY", None)
    assert (last["provider"], last["model"], last["run"], last["basis"]) == ("placeholder", "placeholder-1", 1, "usage")
    assert last["started_at"] <= last["ended_at"]
    assert page["next_cursor"] is None


async def test_whether_a_call_was_billed_is_yes_no_unknown_or_not_yet_to_be_said(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    cases = [
        ("sent", None, None, None),
        ("submitted", None, None, None),
        ("unknown", 39_000, "estimate", "unknown"),
        ("unknown", None, "unknown", "unknown"),
        ("refused", None, "unknown", "unknown"),
        ("no_image", None, "unknown", "yes"),
        ("received", None, "unknown", "yes"),
        ("settled", 0, "table", "no"),
        ("unbilled", None, None, "no"),
    ]
    job = await submitted(client, images=[image(f"i-{n}") for n in range(len(cases))])
    for n, (status, microusd, basis, _) in enumerate(cases):
        await called(pool, job["id"], f"i-{n}", 1, status, microusd, basis)

    page = await attempts(client, job["id"])

    assert [each["billed"] for each in page["attempts"]] == [billed for *_, billed in cases]


async def test_the_list_is_read_page_by_page_and_for_one_image(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job = await submitted(client, images=[image("a"), image("b")])
    for image_id in ("a", "b"):
        for number in (1, 2, 3):
            await called(pool, job["id"], image_id, number, "unbilled", 0, "table")
    seen: list[tuple[str, int]] = []
    cursor: str | None = None
    while True:
        page = await attempts(client, job["id"], limit=2, **({"cursor": cursor} if cursor else {}))
        assert len(page["attempts"]) == 2
        seen += [(each["image"], each["number"]) for each in page["attempts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [(image_id, number) for image_id in ("a", "b") for number in (1, 2, 3)]

    only = await attempts(client, job["id"], image="b", limit=2)
    assert [(each["image"], each["number"]) for each in only["attempts"]] == [("b", 1), ("b", 2)]
    rest = await attempts(client, job["id"], image="b", cursor=only["next_cursor"])
    assert [(each["image"], each["number"]) for each in rest["attempts"]] == [("b", 3)]
    assert (await attempts(client, job["id"], image="nobody"))["attempts"] == []
    wrong = await client.get(f"/v1/jobs/{job['id']}/attempts", params={"cursor": only["next_cursor"]})
    assert (wrong.status_code, wrong.json()["type"]) == (400, "/problems/invalid-cursor")


async def test_calls_of_another_account_are_not_there(deps: ApiDependencies, pool: asyncpg.Pool):
    first, _ = await key_for(pool, "first-account")
    second, _ = await key_for(pool, "second-account")
    async with (
        serving(replace(deps, may_run_open=False)) as nobody,
        as_caller(nobody, first) as one,
        as_caller(nobody, second) as other,
    ):
        job = await submitted(one)
        await called(pool, job["id"], "one", 1, "settled", 39_000, "usage")
        assert len((await attempts(one, job["id"]))["attempts"]) == 1
        for job_id in (job["id"], new_job_id(), "nonsense"):
            assert (await other.get(f"/v1/jobs/{job_id}/attempts")).status_code == 404
        assert (await nobody.get(f"/v1/jobs/{job['id']}/attempts")).status_code == 401


async def test_a_cursor_that_somebody_made_up_is_no_fault_of_the_service(client: httpx2.AsyncClient):
    job = await submitted(client)
    for position in ("9" * 18, str(2**31 * 1_000_000)):
        cursor = page_cursor(position, "attempts", job["id"], "")
        response = await client.get(f"/v1/jobs/{job['id']}/attempts", params={"cursor": cursor})
        assert response.status_code == 200, response.text
        assert response.json() == {"attempts": [], "next_cursor": None}
