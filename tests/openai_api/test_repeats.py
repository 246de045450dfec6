"""A request that is sent again: by the client itself, by a person, by two at once. The vendor's bill tells."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx2
import openai
import pytest

from safelight.db.statements import load
from safelight.domain.ids import JobId
from safelight.engine.upkeep.erasure import remove
from tests.openai_api.conftest import OPENAI, World, front_door
from tests.orders import until

WISH: dict[str, Any] = {"prompt": "A brass key", "model": OPENAI, "size": "1024x1024", "output_format": "webp"}
TERMINAL = "SELECT count(*) = $1 FROM jobs WHERE status IN ('completed', 'partial', 'failed')"


async def jobs(world: World) -> int:
    return await world.pool.fetchval("SELECT count(*) FROM jobs")


async def test_a_client_that_times_out_and_repeats_by_itself_is_given_what_the_first_request_bought(world: World):
    sent: list[str] = []
    has_repeated = asyncio.Event()

    async def note(request: httpx2.Request) -> None:
        sent.append(request.headers["x-stainless-retry-count"])
        if len(sent) > 1:
            has_repeated.set()

    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    client = world.client(timeout=1.0, max_retries=12, http_client=http)
    world.sandbox.vendor.hold()
    async with world.working():
        asked = asyncio.create_task(client.images.generate(**WISH))
        async with asyncio.timeout(30):
            await has_repeated.wait()
        await world.in_flight(1)
        world.sandbox.vendor.release()
        answer = await asked

    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    assert sent[:2] == ["0", "1"]
    assert (world.bought, await jobs(world)) == (1, 1)


async def test_a_disconnect_cancels_nothing_and_whoever_asks_next_is_given_the_pictures_and_the_one_after_buys(
    world: World,
):
    client = world.client()
    world.sandbox.vendor.hold()
    async with world.working():
        asked = asyncio.create_task(client.images.generate(**WISH))
        await world.in_flight(1)
        asked.cancel()
        world.sandbox.vendor.release()
        await until(world.pool, TERMINAL, 1)

        again = await client.images.with_raw_response.generate(**WISH)
        assert again.headers["idempotency-replayed"] == "true"
        assert world.bought == 1

        new = await client.images.with_raw_response.generate(**WISH)
    assert "idempotency-replayed" not in new.headers
    assert new.headers["x-safelight-job"] != again.headers["x-safelight-job"]
    assert (world.bought, await jobs(world)) == (2, 2)


async def test_requests_of_one_moment_share_a_job_whichever_process_they_meet_and_other_words_do_not(world: World):
    world.sandbox.vendor.hold()
    async with front_door(world.settings) as elsewhere, world.working():
        doors = [world.client(), world.client(base_url=f"{elsewhere}/openai/v1")]
        asked = [asyncio.create_task(doors[n % 2].images.generate(**WISH)) for n in range(10)]
        asked.append(asyncio.create_task(doors[0].images.generate(**{**WISH, "prompt": "A rope"})))
        await world.in_flight(2)
        world.sandbox.vendor.release()
        answers = await asyncio.gather(*asked)

    made: list[Any] = [(answer.model_extra or {})["safelight"]["job_id"] for answer in answers]
    assert len(set(made[:10])) == 1
    assert made[10] not in made[:10]
    assert (world.bought, await jobs(world)) == (2, 2)


async def test_a_key_of_the_callers_own_stands_for_one_request_for_ever_and_for_no_other(world: World):
    client = world.client()
    key = {"Idempotency-Key": "mine"}
    async with world.working():
        first = await client.images.generate(**WISH, extra_headers=key)
        second = await client.images.generate(**WISH, extra_headers=key)
        with pytest.raises(openai.BadRequestError) as reused:
            await client.images.generate(**{**WISH, "prompt": "A rope"}, extra_headers=key)

    assert first.data == second.data
    assert reused.value.code == "idempotency_key_reused"
    assert (world.bought, await jobs(world)) == (1, 1)


async def test_a_wish_that_failed_is_tried_again_in_the_same_job_when_it_is_made_again(world: World):
    wish = {**WISH, "prompt": "A knife [[sandbox: refuse MODERATION_BLOCKED x1]]"}
    client = world.client()
    async with world.working():
        with pytest.raises(openai.BadRequestError) as refused:
            await client.images.generate(**wish)
        with pytest.raises(openai.BadRequestError):  # the client never heard of it, and repeats
            await client.images.generate(**wish, extra_headers={"x-stainless-retry-count": "1"})
        assert world.bought == 0
        answer = await client.images.with_raw_response.generate(**wish)

    assert answer.headers["x-safelight-job"] == refused.value.response.headers["x-safelight-job"]
    assert (world.bought, await jobs(world)) == (1, 1)


async def test_a_wish_that_failed_goes_to_the_model_that_its_name_means_now(world: World):
    wish = {**WISH, "model": "our-usual", "prompt": "A knife [[sandbox: refuse MODERATION_BLOCKED x1]]"}
    now = world.settings.model_copy(update={"openai_aliases": {"our-usual": "openai/gpt-image-2"}})
    async with world.working():
        with pytest.raises(openai.BadRequestError):
            await world.client().images.generate(**wish)
        async with front_door(now) as elsewhere:
            again = world.client(base_url=f"{elsewhere}/openai/v1")
            answer = await again.images.generate(**wish)

    assert answer.data is not None
    assert await world.pool.fetchval("SELECT count(*) FROM images WHERE model = 'gpt-image-2'") == 1
    assert await jobs(world) == 2


async def test_an_answer_that_takes_too_long_says_so_and_the_same_request_goes_on_waiting(world: World):
    hasty = world.settings.model_copy(update={"openai_wait_seconds": 1.0})
    world.sandbox.vendor.hold()
    async with front_door(hasty) as elsewhere, world.working():
        patient = asyncio.create_task(world.client().images.generate(**WISH))
        await world.in_flight(1)
        with pytest.raises(openai.InternalServerError) as waits:
            await world.client(base_url=f"{elsewhere}/openai/v1", max_retries=0).images.generate(**WISH)
        headers = waits.value.response.headers
        assert (waits.value.code, headers["retry-after"], headers["x-should-retry"]) == ("still_running", "2", "true")

        world.sandbox.vendor.release()
        await patient
    assert (world.bought, await jobs(world)) == (1, 1)


async def test_what_was_removed_is_given_to_nobody_and_the_wish_is_a_new_one(world: World):
    client = world.client()
    async with world.working():
        first = await client.images.with_raw_response.generate(**WISH)
        job_id = first.headers["x-safelight-job"]
        await world.pool.execute("UPDATE jobs SET handed_over_at = NULL")
        async with httpx2.AsyncClient(base_url=world.address) as http:
            assert (await http.delete(f"/v1/jobs/{job_id}")).is_success
        again = {"x-stainless-retry-count": "1"}
        new = await client.images.with_raw_response.generate(**WISH, extra_headers=again)

    assert new.headers["x-safelight-job"] != job_id
    assert world.bought == 2


async def test_the_newest_job_of_a_request_is_found_by_index(pool: asyncpg.Pool):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        rows = await conn.fetch(
            "EXPLAIN " + load("openai").latest_of_request, "default", "f", 600.0, 86_400.0, "openai", OPENAI
        )
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using jobs_of_request" in plan
    assert "Sort" not in plan


async def test_pictures_that_were_removed_and_are_still_stored_are_given_to_nobody(world: World):
    client = world.client()
    key = {"Idempotency-Key": "one"}
    async with world.working():
        first = await client.images.with_raw_response.generate(**WISH, extra_headers=key)
    await remove(world.pool, JobId(first.headers["x-safelight-job"]), account=None)
    with pytest.raises(openai.APIStatusError) as refused:
        await client.images.generate(**WISH, extra_headers=key)
    assert refused.value.status_code == 410
