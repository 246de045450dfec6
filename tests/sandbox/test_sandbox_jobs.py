"""What holds for the jobs of every vendor that has jobs."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image, UnidentifiedImageError

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.fal import FalWire
from safelight.sandbox.faults import (
    WITHIN,
    Directive,
    Fault,
    UnknownDirective,
    parse_fault_rates,
    path_directives,
)
from safelight.sandbox.jobs import JOB_FAULTS
from safelight.sandbox.latency import parse_latency
from safelight.sandbox.replicate import ReplicateWire
from safelight.sandbox.server import RunningSandbox, running_sandbox

pytestmark = pytest.mark.slow  # every fault of every phase; the scenario matrix meets most of them through the adapters

VENDORS = ("replicate", "fal")
PICTURE_MICROUSD = 3_000
SCHNELL = {"replicate": "black-forest-labs/flux-schnell", "fal": "fal-ai/flux/schnell"}
SCHEMES = {"replicate": "Bearer", "fal": "Key"}
ENDED = ("succeeded", "failed", "canceled", "aborted", "COMPLETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    look: str
    result: str
    cancel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A client of one vendor, as simple as can be: every request is sent once."""

    name: str
    sandbox: RunningSandbox
    http: httpx2.AsyncClient

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"{SCHEMES[self.name]} sk-canary"}

    async def post(self, prompt: str, *, scenario: str = "", count: int = 1) -> httpx2.Response:
        base_url = self.sandbox.url(self.name, scenario)
        if self.name == "replicate":
            given = {"prompt": prompt, "num_outputs": count, "megapixels": "0.25", "output_format": "png"}
            url, body = f"{base_url}/v1/models/{SCHNELL[self.name]}/predictions", {"input": given}
        else:
            url = f"{base_url}/{SCHNELL[self.name]}"
            size = {"width": 512, "height": 512}
            body = {"prompt": prompt, "num_images": count, "output_format": "png", "image_size": size}
        return await self.http.post(url, json=body, headers=self.headers)

    async def buy(self, prompt: str, *, scenario: str = "", count: int = 1) -> Receipt:
        answer = (await self.post(prompt, scenario=scenario, count=count)).json()
        if self.name == "replicate":
            return Receipt(look=answer["urls"]["get"], result=answer["urls"]["get"], cancel=answer["urls"]["cancel"])
        return Receipt(look=answer["status_url"], result=answer["response_url"], cancel=answer["cancel_url"])

    async def look(self, receipt: Receipt) -> httpx2.Response:
        return await self.http.get(receipt.look, headers=self.headers)

    async def standing(self, receipt: Receipt) -> str:
        return (await self.look(receipt)).json()["status"]

    async def result(self, receipt: Receipt) -> httpx2.Response:
        return await self.http.get(receipt.result, headers=self.headers)

    async def cancel(self, receipt: Receipt) -> httpx2.Response:
        return await self.http.request(
            "POST" if self.name == "replicate" else "PUT", receipt.cancel, headers=self.headers
        )

    async def made(self, receipt: Receipt) -> list[str]:
        """Waits for the end of all jobs; the addresses of this one's pictures."""
        assert (await self.http.get("/bill?wait_idle=1&timeout=60")).status_code == 200
        answer = (await self.result(receipt)).json()
        return answer["output"] if self.name == "replicate" else [each["url"] for each in answer["images"]]

    async def bill(self, wait: str = "wait_idle=1") -> list[tuple[str, int]]:
        response = await self.http.get(f"/bill?{wait}&timeout=60")
        assert response.status_code == 200
        return [(line["outcome"], line["cost_microusd"]) for line in response.json()["calls"]]

    async def requests(self, wait: str = "") -> dict[str, Any]:
        return (await self.http.get(f"/requests?{wait}")).json()


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def shop(vendor: str, sandbox: RunningSandbox, http: httpx2.AsyncClient) -> Shop:
    return Shop(name=vendor, sandbox=sandbox, http=http)


@pytest.fixture
async def brief_shop(vendor: str, bill_path: Path) -> AsyncIterator[Shop]:
    """One that keeps nothing."""
    wires = [ReplicateWire(retention_seconds=0), FalWire(retention_seconds=0)]
    async with (
        running_sandbox(SandboxConfig(pictures=1), bill_path=bill_path, wires=wires) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, timeout=30, trust_env=False) as http,
    ):
        yield Shop(name=vendor, sandbox=sandbox, http=http)


def took_seconds(line: dict[str, Any]) -> float:
    return (datetime.fromisoformat(line["ended_at"]) - datetime.fromisoformat(line["started_at"])).total_seconds()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


async def test_a_job_runs_to_its_end_and_is_charged_once_though_nobody_asks(shop: Shop) -> None:
    await shop.buy("a pier", count=2)

    assert await shop.bill("wait_charged=1&wait_idle=1") == [("ok", 2 * PICTURE_MICROUSD)]
    assert (await shop.requests())["visits"] == []


async def test_a_job_is_charged_once_however_often_it_is_asked_after(shop: Shop) -> None:
    receipt = await shop.buy("a pier")
    addresses = await shop.made(receipt)
    for _ in range(3):
        await shop.look(receipt)
        assert (await shop.result(receipt)).json()["prompt" if shop.name == "fal" else "output"]
        assert decoded((await shop.http.get(addresses[0])).content).size == (512, 512)

    assert await shop.bill() == [("ok", PICTURE_MICROUSD)]


async def test_a_held_job_is_taken_and_looked_at_and_ends_after_the_release(shop: Shop) -> None:
    await shop.http.post("/control/hold")
    receipt = await shop.buy("a pier")
    running = [await shop.standing(receipt) for _ in range(3)]
    bill = (await shop.http.get("/bill?wait_in_flight=1")).json()
    assert (bill["in_flight"], bill["calls"]) == (1, [])

    await shop.http.post("/control/release")

    assert await shop.bill("wait_charged=1&wait_idle=1") == [("ok", PICTURE_MICROUSD)]
    assert set(running) <= {"processing", "IN_PROGRESS"}
    assert await shop.standing(receipt) in ("succeeded", "COMPLETED")
    assert len((await shop.requests("wait_visits=4"))["visits"]) == 4


async def test_a_job_outlives_the_caller_who_held_its_receipt(shop: Shop) -> None:
    await shop.http.post("/control/hold")
    async with httpx2.AsyncClient(base_url=shop.sandbox.base_url, trust_env=False) as leaving:
        receipt = await Shop(name=shop.name, sandbox=shop.sandbox, http=leaving).buy("a pier")
        await leaving.get(receipt.look, headers=shop.headers)
    await shop.http.post("/control/release")

    [address] = await shop.made(receipt)

    assert decoded((await shop.http.get(address)).content).size == (512, 512)
    assert await shop.bill() == [("ok", PICTURE_MICROUSD)]


async def test_jobs_have_names_that_nobody_can_guess(shop: Shop) -> None:
    names = {(await shop.buy("a pier")).look.split("/requests/")[-1].split("/predictions/")[-1] for _ in range(8)}

    assert len(names) == 8
    assert all(len(set(name)) > 6 and len(name) >= 26 for name in names)
    assert len({name[:6] for name in names}) == len({name[-16:-8] for name in names}) == 8


@pytest.mark.parametrize("script", ["cut", "reset", "short-body", "cut-chunk", "half-body", "html", "no-body", "no-id"])
async def test_a_job_whose_receipt_is_lost_runs_and_is_charged(shop: Shop, script: str) -> None:
    with suppress(httpx2.HTTPError, ValueError, KeyError):
        await shop.buy(f"a pier [[sandbox: {script}]]")

    assert await shop.bill("wait_charged=1&wait_idle=1") == [(script, PICTURE_MICROUSD)]


async def test_a_job_has_been_taken_while_its_receipt_still_drips(shop: Shop) -> None:
    buying = asyncio.create_task(shop.post("a pier [[sandbox: drip-headers 0.01]]"))

    assert await shop.bill("wait_charged=1") == [("drip-headers 0.01", PICTURE_MICROUSD)]

    assert not buying.done()
    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying


@pytest.mark.parametrize(
    "script",
    ["429 5", "429-date", "500", "502", "503", "504", "bad-key", "forbidden", "no-credit", "model-gone", "hang 0"],
)
async def test_what_was_not_taken_is_no_job_and_free(shop: Shop, script: str) -> None:
    with suppress(httpx2.RemoteProtocolError):
        assert (await shop.post(f"a pier [[sandbox: {script}]]")).status_code >= 400

    [(outcome, microusd)] = await shop.bill("wait_ended=1&wait_idle=1")
    assert outcome.startswith(script.split()[0])
    assert microusd == 0


async def test_a_hanging_submit_is_in_flight_until_its_caller_leaves(shop: Shop) -> None:
    buying = asyncio.create_task(shop.post("a pier [[sandbox: hang]]"))
    await shop.http.get("/bill?wait_in_flight=1")

    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying

    assert await shop.bill("wait_ended=1&wait_idle=1") == [("hang 600", 0)]


@pytest.mark.parametrize("script", ["failed", "refuse", "refuse-prompt", "canceled", "aborted", "no-pictures"])
async def test_a_job_without_a_picture_is_free(shop: Shop, script: str) -> None:
    receipt = await shop.buy(f"a pier [[sandbox: {script}]]")

    [(outcome, microusd)] = await shop.bill("wait_ended=1&wait_idle=1")
    assert (outcome.split()[0], microusd) == (script, 0)
    assert await shop.standing(receipt) in ENDED


async def test_a_job_that_runs_when_the_sandbox_stops_is_cut_and_not_charged(vendor: str, bill_path: Path) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
        async with running_sandbox(SandboxConfig(pictures=1), bill_path=bill_path) as sandbox:
            shop = Shop(name=vendor, sandbox=sandbox, http=http)
            done = await shop.buy("a pier")
            assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 0, timeout_seconds=30)
            sandbox.vendor.hold()
            await shop.buy("a pier")
            assert sandbox.vendor.in_flight == 1
        async with running_sandbox(SandboxConfig(), bill_path=bill_path) as sandbox:
            forgotten = await http.get(sandbox.base_url + httpx2.URL(done.look).path, headers=shop.headers)
            assert forgotten.status_code == 404
            [line] = sandbox.vendor.bill.calls

    assert (line["outcome"], line["cost_microusd"]) == ("ok", PICTURE_MICROUSD)


async def test_latency_is_the_time_a_job_runs(vendor: str, bill_path: Path) -> None:
    config = SandboxConfig(latency=parse_latency("0.15"), pictures=1)
    async with (
        running_sandbox(config, bill_path=bill_path) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, trust_env=False, timeout=30) as http,
    ):
        shop = Shop(name=vendor, sandbox=sandbox, http=http)
        await shop.buy("a pier")
        await shop.buy("a pier [[sandbox: slow 0.3]]")
        await shop.buy("a pier [[sandbox: queued 0.4]] [[sandbox: slow 0]]")
        await shop.bill("wait_charged=3")
        took = sorted(took_seconds(line) for line in sandbox.vendor.bill.calls)

    assert took[0] >= 0.15
    assert took[1] >= 0.3
    assert took[2] >= 0.4


async def test_faults_by_rate_meet_the_submit(vendor: str, bill_path: Path) -> None:
    config = SandboxConfig(fault_rates=parse_fault_rates("503=1"), pictures=1)
    async with (
        running_sandbox(config, bill_path=bill_path) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, trust_env=False, timeout=30) as http,
    ):
        shop = Shop(name=vendor, sandbox=sandbox, http=http)
        assert (await shop.post("a pier")).status_code == 503
        assert (await shop.post("a pier [[sandbox: ok]]")).status_code in (200, 201)
        assert (await shop.post("a pier [[sandbox: poll 500]]")).status_code in (200, 201)


async def test_an_outage_is_met_by_submits_and_looks_alike(shop: Shop) -> None:
    receipt = await shop.buy("a pier")
    shop.sandbox.vendor.set_outage(shop.name, Directive(fault=Fault.UNAVAILABLE))

    answers = [await shop.post("a pier"), await shop.look(receipt), await shop.result(receipt)]

    assert [answer.status_code for answer in answers] == [503] * 3
    shop.sandbox.vendor.set_outage(shop.name, None)
    assert (await shop.look(receipt)).status_code in (200, 202)


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


@pytest.mark.parametrize(("script", "status"), [("404", 404), ("500", 500), ("503", 503), ("forbidden", 403)])
async def test_the_first_downloads_of_each_file_can_fail(shop: Shop, script: str, status: int) -> None:
    addresses = await shop.made(await shop.buy(f"a pier [[sandbox: file {script} x1]]", count=2))

    for address in addresses:
        assert (await shop.http.get(address)).status_code == status
        assert decoded((await shop.http.get(address)).content).size == (512, 512)
    assert await shop.bill() == [("ok", 2 * PICTURE_MICROUSD)]


@pytest.mark.parametrize("script", ["cut", "reset", "short-body", "cut-chunk"])
async def test_a_download_can_break_off(shop: Shop, script: str) -> None:
    [address] = await shop.made(await shop.buy(f"a pier [[sandbox: file {script}]]"))

    with pytest.raises(httpx2.TransportError):
        await shop.http.get(address)


async def test_a_download_can_be_a_page(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: file html]]"))

    answer = await shop.http.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<html>" in answer.content


async def test_a_download_can_drip(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: file drip-body 0.01]]"))

    async with shop.http.stream("GET", address) as answer:
        arrived = answer.aiter_raw()
        pieces = [await anext(arrived) for _ in range(3)]
    assert int(answer.headers["content-length"]) > 10_000
    assert len(b"".join(pieces)) < 100


async def test_a_download_can_lead_into_the_vendors_own_network(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: file redirect]]"))

    answer = await shop.http.get(address)
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("http://169.254.169.254/")


async def test_an_address_can_be_in_the_vendors_own_network(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: internal-url]]"))

    assert address.startswith("http://169.254.169.254/")
    assert await shop.bill() == [("internal-url", PICTURE_MICROUSD)]


async def test_a_file_is_sent_without_a_key_and_tells_when_there_was_one(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier"))
    await shop.http.get(address)
    await shop.http.get(address, headers=shop.headers)

    seen = await shop.requests()
    assert [(fetch["status"], fetch["had_key"]) for fetch in seen["fetches"]] == [(200, False), (200, True)]
    assert all(visit["had_key"] for visit in seen["visits"])
    assert "canary" not in str(seen)


async def test_a_file_is_gone_after_its_time(brief_shop: Shop) -> None:
    shop = brief_shop
    await shop.buy("a pier [[sandbox: file 503]]")
    await shop.bill("wait_charged=1")
    [name] = shop.sandbox.vendor.files._answers

    assert (await shop.http.get(f"/files/{name}")).status_code == 404


async def test_what_comes_for_a_picture_may_be_none(shop: Shop) -> None:
    [garbage] = await shop.made(await shop.buy("a pier [[sandbox: garbage]]"))
    [half] = await shop.made(await shop.buy("a pier [[sandbox: truncated]]"))

    with pytest.raises(UnidentifiedImageError):
        decoded((await shop.http.get(garbage)).content)
    with pytest.raises(OSError, match="truncated"):
        decoded((await shop.http.get(half)).content)
    assert await shop.bill() == [("garbage", PICTURE_MICROUSD), ("truncated", PICTURE_MICROUSD)]


async def test_a_padded_file_is_as_long_as_asked(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: padded 3]]"))

    data = (await shop.http.get(address)).content
    assert len(data) == 3_000_000
    assert decoded(data).size == (512, 512)


async def test_more_pictures_than_asked_are_charged_and_the_same_one_twice_is_not(shop: Shop) -> None:
    extra = await shop.made(await shop.buy("a pier [[sandbox: extra-picture]]"))
    twice = await shop.made(await shop.buy("a pier [[sandbox: same-twice]]"))

    assert len(set(extra)) == 2
    assert len(twice) == 2 > len(set(twice))
    assert await shop.bill() == [("extra-picture", 2 * PICTURE_MICROUSD), ("same-twice", PICTURE_MICROUSD)]


async def test_a_picture_can_come_in_its_address(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: data-uri]]"))

    assert address.startswith("data:image/png;base64,")
    assert (await shop.requests())["fetches"] == []


async def test_a_receipt_can_name_another_host_which_tells_who_sent_it_a_key(shop: Shop) -> None:
    receipt = await shop.buy("a pier [[sandbox: foreign-urls]]")
    assert {httpx2.URL(url).host for url in (receipt.look, receipt.result, receipt.cancel)} == {"localhost"}
    await shop.look(receipt)

    [visit] = (await shop.requests("wait_visits=1"))["visits"]
    assert (visit["host"], visit["had_key"], visit["status"] in (200, 202)) == ("localhost", True, True)


async def test_a_queued_job_that_is_canceled_never_runs_and_is_free(shop: Shop) -> None:
    receipt = await shop.buy("a pier [[sandbox: queued 60]]")
    assert await shop.standing(receipt) in ("starting", "IN_QUEUE")

    assert (await shop.cancel(receipt)).status_code in (200, 202)

    assert await shop.bill() == [("canceled", 0)]
    assert await shop.standing(receipt) in ("canceled", "COMPLETED")


async def test_a_running_job_that_is_canceled_is_charged(shop: Shop) -> None:
    """Replicate stops it and charges for what it was doing; fal lets it finish."""
    shop.sandbox.vendor.hold()
    receipt = await shop.buy("a pier", count=2)
    assert await shop.standing(receipt) in ("processing", "IN_PROGRESS")

    assert (await shop.cancel(receipt)).status_code in (200, 202)
    shop.sandbox.vendor.release()

    outcome = "canceled" if shop.name == "replicate" else "ok"
    assert await shop.bill("wait_charged=1&wait_idle=1") == [(outcome, 2 * PICTURE_MICROUSD)]


async def test_a_job_canceled_in_the_moment_it_was_taken_ends_or_goes_on(shop: Shop) -> None:
    """Whichever it is, the caller is told at once, and the bill says the same."""
    shop.sandbox.vendor.hold()
    receipts = [await shop.buy(f"pier {number}") for number in range(5)]
    answers = await asyncio.gather(*(shop.cancel(receipt) for receipt in receipts))
    shop.sandbox.vendor.release()

    outcomes = [outcome for outcome, _ in await shop.bill("wait_ended=5&wait_idle=1")]
    assert [answer.is_success for answer in answers] == [True] * 5
    assert len(outcomes) == 5
    assert set(outcomes) <= ({"canceled"} if shop.name == "replicate" else {"canceled", "ok"})


async def test_scripts_follow_one_after_another_with_each_job(shop: Shop) -> None:
    prompt = "a pier [[sandbox: 503 x1]] [[sandbox: failed x1]] [[sandbox: cut x1]]"
    assert (await shop.post(prompt)).status_code == 503
    await shop.buy(prompt)
    with pytest.raises(httpx2.RemoteProtocolError):
        await shop.buy(prompt)
    await shop.buy(prompt)

    outcomes = [outcome.split()[0] for outcome, _ in await shop.bill("wait_ended=4")]
    assert sorted(outcomes) == ["503", "cut", "failed", "ok"]


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


def test_every_vendor_of_jobs_has_every_fault_of_jobs() -> None:
    for wire in (ReplicateWire(), FalWire()):
        assert wire.faults >= JOB_FAULTS
        assert not wire.faults & {Fault.NOT_FOUND, Fault.REDIRECT}, "these are of looks and downloads alone"


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
