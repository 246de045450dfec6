"""What holds for the jobs of every vendor that has jobs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from job_shop import ENDED, PICTURE_MICROUSD, Shop, decoded

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.fal import FalWire
from safelight.sandbox.faults import Directive, Fault, parse_fault_rates
from safelight.sandbox.jobs import JOB_FAULTS
from safelight.sandbox.latency import parse_latency
from safelight.sandbox.replicate import ReplicateWire
from safelight.sandbox.server import running_sandbox

pytestmark = pytest.mark.slow  # every fault of every phase; the scenario matrix meets most of them through the adapters


def took_seconds(line: dict[str, Any]) -> float:
    return (datetime.fromisoformat(line["ended_at"]) - datetime.fromisoformat(line["started_at"])).total_seconds()


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


def test_every_vendor_of_jobs_has_every_fault_of_jobs() -> None:
    for wire in (ReplicateWire(), FalWire()):
        assert wire.faults >= JOB_FAULTS
        assert not wire.faults & {Fault.NOT_FOUND, Fault.REDIRECT}, "these are of looks and downloads alone"
