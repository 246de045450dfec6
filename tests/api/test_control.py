from __future__ import annotations

import asyncpg
import httpx2

from tests.api.conftest import image, submitted
from tests.api.problems import pointers, refusal


def statuses(answer: dict) -> dict[str, str]:
    return {each["id"]: each["status"] for each in answer["images"]}


async def test_a_job_that_waits_is_canceled_at_once(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client, images=[image("a"), image("b")])

    response = await client.post(accepted["urls"]["cancel"])

    assert response.status_code == 202
    answer = response.json()
    assert answer["status"] == "canceled"
    assert statuses(answer) == {"a": "canceled", "b": "canceled"}
    assert answer["completed_at"] is not None
    assert "error" not in answer["images"][0]
    again = await client.post(accepted["urls"]["cancel"], json={"mode": "abort"})
    assert again.status_code == 200
    assert again.json() == answer
    types = [row["type"] for row in await pool.fetch("SELECT type FROM events ORDER BY seq")]
    assert types == ["job.created", "image.canceled", "image.canceled", "job.canceled"]


async def test_some_images_of_a_job_can_be_canceled(client: httpx2.AsyncClient):
    accepted = await submitted(client, images=[image("a"), image("b")])

    response = await client.post(accepted["urls"]["cancel"], json={"images": ["b"], "mode": "finish"})

    assert response.status_code == 202
    assert response.json()["status"] == "pending"
    assert statuses(response.json()) == {"a": "queued", "b": "canceled"}


async def test_an_image_that_the_job_does_not_have_cannot_be_canceled(client: httpx2.AsyncClient):
    accepted = await submitted(client)

    response = await client.post(accepted["urls"]["cancel"], json={"images": ["one", "two"]})

    assert pointers(refusal(response, 422, "validation-error")) == ["/images/1"]
    assert (await client.get(accepted["urls"]["self"])).json()["status"] == "pending"


async def test_a_job_that_has_ended_otherwise_cannot_be_canceled(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)
    await pool.execute("UPDATE images SET status = 'failed'")
    await pool.execute("UPDATE jobs SET status = 'failed', completed_at = now()")

    refusal(await client.post(accepted["urls"]["cancel"]), 409, "job-already-terminal")


async def test_a_canceled_job_can_be_retried_with_other_prompts(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client, images=[image("a"), image("b"), image("c")])
    await client.post(accepted["urls"]["cancel"])

    response = await client.post(
        accepted["urls"]["retry"],
        json={"only": ["canceled"], "images": ["a", "b"], "prompt_overrides": {"a": "A silver key"}},
    )

    assert response.status_code == 202
    answer = response.json()
    assert (answer["status"], answer["run"], answer["retry_count"]) == ("generating", 2, 1)
    assert statuses(answer) == {"a": "queued", "b": "queued", "c": "canceled"}
    assert [each["retry_count"] for each in answer["images"]] == [1, 1, 0]
    prompts = await pool.fetch("SELECT id, prompt FROM images ORDER BY position")
    assert dict(map(tuple, prompts))["a"] == "A silver key"
    assert dict(map(tuple, prompts))["b"] == image()["prompt"]


async def test_a_job_without_an_image_to_retry_is_left_as_it_is(client: httpx2.AsyncClient):
    accepted = await submitted(client)

    refusal(await client.post(accepted["urls"]["retry"]), 409, "nothing-to-retry")
    await client.post(accepted["urls"]["cancel"])
    refusal(await client.post(accepted["urls"]["retry"], json={"only": ["failed"]}), 409, "nothing-to-retry")

    assert (await client.get(accepted["urls"]["self"])).json()["run"] == 1


async def test_a_retry_needs_images_that_the_job_has(client: httpx2.AsyncClient):
    accepted = await submitted(client)
    await client.post(accepted["urls"]["cancel"])

    response = await client.post(accepted["urls"]["retry"], json={"images": ["one", "two"]})

    assert pointers(refusal(response, 422, "validation-error")) == ["/images/1"]


async def test_a_prompt_of_a_retry_is_as_short_as_its_image_s_model_takes(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    images = [
        image("picky", provider="picky", model="picky-1"),
        image("free"),
        image("also", provider="picky", model="picky-1"),
    ]
    accepted = await submitted(client, images=images)
    await client.post(accepted["urls"]["cancel"])
    retry = accepted["urls"]["retry"]

    response = await client.post(
        retry, json={"prompt_overrides": {"picky": "x" * 101, "free": "x" * 101, "also": "x" * 101}}
    )

    assert pointers(refusal(response, 422, "prompt-too-long")) == ["/prompt_overrides/picky", "/prompt_overrides/also"]
    assert await pool.fetchval("SELECT run FROM jobs") == 1
    fits = {"prompt_overrides": {"picky": "x" * 100, "free": "x" * 101}}
    assert (await client.post(retry, json=fits)).status_code == 202


async def test_a_prompt_for_a_model_that_is_gone_is_not_in_the_way(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client, images=[image("one"), image("two")])
    await client.post(accepted["urls"]["cancel"])
    await pool.execute("UPDATE images SET provider = 'gone' WHERE id = 'one'")
    await pool.execute("UPDATE images SET provider = 'picky', model = 'gone' WHERE id = 'two'")

    response = await client.post(
        accepted["urls"]["retry"], json={"prompt_overrides": {"one": "x" * 1000, "two": "x" * 1000}}
    )

    assert response.status_code == 202


async def test_buying_is_paused_and_resumed_for_the_whole_installation(client: httpx2.AsyncClient):
    assert (await client.get("/v1/queue")).json()["paused"] is False
    paused = (await client.post("/v1/queue/pause")).json()
    assert (paused["paused"], paused["pause_reason"]) == (True, "paused over the API")
    assert (await client.post("/v1/queue/pause")).json()["paused_since"] == paused["paused_since"]
    assert (await client.post("/v1/queue/resume")).json()["paused"] is False
    refused = await client.post("/v1/queue/resume?reason=x")
    assert refused.status_code == 422
