from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from safelight.cli.children import free_port
from safelight.client import ApiProblem, SafelightClient, Unreachable
from safelight.domain.errors import Fault
from safelight.domain.lifecycle import JobStatus
from tests.cli.front_desk import JOB_ID, FrontDesk, jpeg, problem

BODY = {"images": [{"id": "ev-1", "prompt": "A brass key"}]}


async def test_a_job_is_submitted_watched_to_its_end_and_its_picture_fetched(desk: FrontDesk) -> None:
    async with SafelightClient(desk.base_url) as client:
        submitted = await client.submit(BODY, idempotency_key="k-1")
        assert not submitted.replayed
        seen = [job async for job in client.watch(submitted.job.id, interval_seconds=0)]
        assert [sum(image.has_ended for image in job.images) for job in seen] == [1, 2, 3]
        assert seen[-1].status is JobStatus.COMPLETED
        assert await client.picture(JOB_ID, "ev-1", "card") == jpeg("ev-1")
    assert desk.keys == {"k-1": BODY}


async def test_the_same_key_again_is_told_to_be_a_replay(desk: FrontDesk) -> None:
    async with SafelightClient(desk.base_url) as client:
        await client.submit(BODY, idempotency_key="k-1")
        assert (await client.submit(BODY, idempotency_key="k-1")).replayed


async def test_a_submit_is_repeated_under_one_key_until_the_service_takes_it(desk: FrontDesk) -> None:
    desk.failures = [
        PlainTextResponse("restarting", 502),
        problem(409, "idempotency-in-progress", "Send it again.", retryable=True),
    ]
    async with SafelightClient(desk.base_url) as client:
        await client.submit(BODY)
    assert desk.asked["submit"] == 3
    assert len(desk.keys) == 1


async def test_patience_with_a_service_that_keeps_failing_ends(desk: FrontDesk) -> None:
    desk.failures = [PlainTextResponse("restarting", 503) for _ in range(50)]
    async with SafelightClient(desk.base_url, patience_seconds=0.5) as client:
        with pytest.raises(ApiProblem) as raised:
            await client.job(JOB_ID)
    assert (raised.value.status, raised.value.slug) == (503, "http-503")


async def test_a_problem_says_which_fields_are_at_fault_and_is_not_repeated(desk: FrontDesk) -> None:
    faults = [{"pointer": f"/images/{n}/prompt", "detail": "too long"} for n in range(5)]
    desk.failures = [problem(422, "prompt-too-long", "Nothing was created.", errors=faults)]
    async with SafelightClient(desk.base_url) as client:
        with pytest.raises(ApiProblem) as raised:
            await client.submit(BODY)
    assert raised.value.slug == "prompt-too-long"
    assert raised.value.errors[4] == Fault("/images/4/prompt", "too long")
    assert str(raised.value).endswith("/images/2/prompt too long; and 2 more)")
    assert desk.asked["submit"] == 1


async def test_where_nothing_listens_the_answer_is_immediate() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with SafelightClient(url, patience_seconds=3600) as client:
        assert not await client.is_up()
        with pytest.raises(Unreachable, match="nothing answers at") as raised:
            await client.job(JOB_ID)
    assert raised.value.url == url


async def test_a_watch_asks_for_nothing_that_it_has_seen(desk: FrontDesk) -> None:
    desk.holds_after = 2
    async with SafelightClient(desk.base_url) as client:
        watch = client.watch(JOB_ID, interval_seconds=0)
        assert [len((await anext(watch)).completed) for _ in range(2)] == [1, 2]
        following = anext(watch)
        desk.holds_after = None
        assert len((await following).completed) == 3
        desk.holds_after = 3
        await client.wait(JOB_ID)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_what_is_not_an_api_of_ours_is_a_problem_too(desk: FrontDesk) -> None:
    async with SafelightClient(f"{desk.base_url}/elsewhere") as client:
        with pytest.raises(ApiProblem, match="HTTP 404 from"):
            await client.job(JOB_ID)


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_makes_something_else_of_a_request_is_told(desk: FrontDesk, status: int) -> None:
    desk.failures = [RedirectResponse(f"{desk.base_url}/v1/jobs", status)]
    async with SafelightClient(desk.base_url) as client:
        with pytest.raises(ApiProblem, match="a POST arrives as a GET") as raised:
            await client.submit(BODY)
    assert (raised.value.status, raised.value.is_retryable) == (status, False)
    assert desk.keys == {}


async def test_a_redirect_that_changes_nothing_is_followed(desk: FrontDesk) -> None:
    desk.failures = [RedirectResponse("/v1/jobs", 308)]
    async with SafelightClient(desk.base_url) as client:
        await client.submit(BODY, idempotency_key="k-1")
    assert desk.keys == {"k-1": BODY}


async def test_a_method_in_small_letters_is_the_same_one(desk: FrontDesk) -> None:
    async with SafelightClient(desk.base_url) as client:
        assert (await client.call("post", "/v1/jobs", json=BODY, headers={"idempotency-key": "k-1"})).is_success
    assert desk.keys == {"k-1": BODY}


@pytest.mark.parametrize("page", ["<html>", "[]", '{"message": "hello"}'])
async def test_a_success_of_something_else_is_a_problem_that_names_the_address(desk: FrontDesk, page: str) -> None:
    desk.failures = [Response(page, media_type="text/html") for _ in range(2)]
    async with SafelightClient(desk.base_url) as client:
        with pytest.raises(ApiProblem, match=f"{desk.base_url}.* answers with text/html"):
            await client.job(JOB_ID)
        with pytest.raises(ApiProblem, match="answers with text/html"):
            await client.submit(BODY)


async def test_an_address_that_leads_in_circles_or_is_none_is_unreachable_at_once(desk: FrontDesk) -> None:
    desk.failures = [RedirectResponse(f"/v1/jobs/{JOB_ID}") for _ in range(50)]
    for url in (desk.base_url, desk.base_url.removeprefix("http://")):
        async with asyncio.timeout(30), SafelightClient(url, patience_seconds=3600) as client:
            with pytest.raises(Unreachable):
                await client.job(JOB_ID)
