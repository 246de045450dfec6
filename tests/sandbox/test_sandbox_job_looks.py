"""What can happen to a look at a job, and to its result, at every vendor that has jobs."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from job_shop import ENDED, PICTURE_MICROUSD, Shop

from safelight.sandbox.faults import WITHIN, Directive, Fault, UnknownDirective, parse_fault_rates, path_directives

pytestmark = pytest.mark.slow  # as in test_sandbox_jobs.py


@pytest.mark.parametrize(
    ("script", "status"), [("500", 500), ("502", 502), ("503", 503), ("429 3", 429), ("404", 404), ("no-credit", None)]
)
async def test_the_first_polls_of_each_job_can_fail(shop: Shop, script: str, status: int | None) -> None:
    for _ in range(2):
        receipt = await shop.buy(f"a pier [[sandbox: poll {script} x2]]")
        answers = [await shop.look(receipt) for _ in range(3)]

        assert [answer.status_code for answer in answers[:2]] == [status or answers[0].status_code] * 2
        assert answers[0].status_code >= 400
        assert answers[2].json()["status"]
    assert await shop.bill() == [("ok", PICTURE_MICROUSD)] * 2


@pytest.mark.parametrize("script", ["cut", "reset", "short-body", "cut-chunk"])
async def test_a_poll_can_break_off(shop: Shop, script: str) -> None:
    receipt = await shop.buy(f"a pier [[sandbox: poll {script} x1]]")
    with pytest.raises(httpx2.TransportError):
        await shop.look(receipt)

    assert await shop.standing(receipt)


@pytest.mark.parametrize("script", ["html", "half-body", "no-body"])
async def test_a_poll_can_make_no_sense(shop: Shop, script: str) -> None:
    receipt = await shop.buy(f"a pier [[sandbox: poll {script} x1]]")
    answer = await shop.look(receipt)

    assert answer.status_code in (200, 202)
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert await shop.standing(receipt)


async def test_a_poll_can_hang_until_its_caller_leaves(shop: Shop) -> None:
    receipt = await shop.buy("a pier [[sandbox: poll hang x1]]")
    with pytest.raises(httpx2.ReadTimeout):
        await shop.http.get(receipt.look, headers=shop.headers, timeout=0.3)

    assert await shop.standing(receipt)
    visits = (await shop.requests("wait_visits=2"))["visits"]
    assert {visit["status"] for visit in visits} > {None}


async def test_a_result_can_fail_when_polls_do_not(shop: Shop) -> None:
    shop.sandbox.vendor.hold()
    receipt = await shop.buy("a pier [[sandbox: result 500 x1]]")
    assert await shop.standing(receipt) not in ENDED
    shop.sandbox.vendor.release()
    await shop.bill()

    assert (await shop.result(receipt)).status_code == 500
    assert len(await shop.made(receipt)) == 1


async def test_what_is_beside_a_job_goes_together(shop: Shop) -> None:
    receipt = await shop.buy("a pier", scenario="poll=503,x1/result=429,7,x1/failed=SOMETHING")
    await shop.bill("wait_ended=1")

    first, second, third = [await shop.result(receipt) if number else await shop.look(receipt) for number in range(3)]
    assert first.status_code == 503
    assert (second.status_code, second.headers["retry-after"]) == (429, "7")
    assert "omething" in third.text
    assert await shop.bill() == [("failed SOMETHING", 0)]


async def test_a_receipt_can_name_another_host_which_tells_who_sent_it_a_key(shop: Shop) -> None:
    receipt = await shop.buy("a pier [[sandbox: foreign-urls]]")
    assert {httpx2.URL(url).host for url in (receipt.look, receipt.result, receipt.cancel)} == {"localhost"}
    await shop.look(receipt)

    [visit] = (await shop.requests("wait_visits=1"))["visits"]
    assert (visit["host"], visit["had_key"], visit["status"] in (200, 202)) == ("localhost", True, True)


async def test_other_vendors_have_no_jobs(http: httpx2.AsyncClient) -> None:
    body = {"contents": [{"parts": [{"text": "a pier [[sandbox: poll 500]]"}]}]}
    response = await http.post(
        "/gemini/v1/models/gemini-3-pro-image:generateContent", json=body, headers={"x-goog-api-key": "k"}
    )

    assert response.status_code == 400
    assert "no fault `poll`" in response.text


def test_what_happens_to_looks_is_said_behind_them() -> None:
    assert path_directives("poll=429,5,x2/file=redirect") == (
        Directive(fault=Fault.POLL, within=Directive(fault=Fault.RATE_LIMIT, seconds=5.0), limit=2),
        Directive(fault=Fault.FILE, within=Directive(fault=Fault.REDIRECT)),
    )
    assert str(path_directives("poll=429,5,x2")[0]) == "poll 429 5"


@pytest.mark.parametrize("text", ["poll", "poll=x2", "poll=explode", "poll=slow,1", "file=429", "result=ok", "queued"])
def test_a_misspelt_look_is_refused(text: str) -> None:
    with pytest.raises(UnknownDirective):
        path_directives(text)


@pytest.mark.parametrize("text", ["poll 500=0.1", "queued 3=0.1"])
def test_nothing_beside_a_job_happens_by_rate(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        parse_fault_rates(text)


@pytest.mark.parametrize("kind", sorted(WITHIN))
async def test_every_trouble_behind_a_look_can_happen(shop: Shop, kind: Fault) -> None:
    """None is answered as if nothing had been scripted."""
    arguments = {Fault.GZIP_BOMB: "gzip-bomb 1", Fault.HANG: "hang 0"}
    for trouble in sorted(WITHIN[kind]):
        receipt = await shop.buy(f"a {trouble} [[sandbox: {kind} {arguments.get(trouble, trouble)} x1]]")
        url, headers = (receipt.look if kind is Fault.POLL else receipt.result), shop.headers
        addresses = await shop.made(receipt) if kind is Fault.FILE else await shop.bill()
        if kind is Fault.FILE:
            url, headers = str(addresses[0]), {}

        first = await read(shop.http, url, headers, timeout_seconds=0.2)
        second = await read(shop.http, url, headers, timeout_seconds=30)

        assert first != second, trouble
        assert second is not None


async def read(
    http: httpx2.AsyncClient, url: str, headers: dict[str, str], *, timeout_seconds: float
) -> tuple[int, str, str, bytes] | None:
    """What an answer is like; None for one that does not come to its end in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await http.get(url, headers=headers)
    except (httpx2.TransportError, TimeoutError):
        return None
    said = (answer.headers.get("content-type", ""), answer.headers.get("content-encoding", ""))
    return answer.status_code, *said, answer.content
