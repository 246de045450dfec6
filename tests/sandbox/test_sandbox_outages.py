"""Trouble that begins and ends while the sandbox runs, for one vendor or for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import UnknownDirective, parse_directive, parse_fault_rates
from safelight.sandbox.server import RunningSandbox, running_sandbox, vendor_urls

PROMPT = "a pier"


async def ask_gemini(http: httpx2.AsyncClient, prompt: str = PROMPT, scenario: str = "") -> httpx2.Response:
    return await http.post(
        f"{scenario}/gemini/v1/models/gemini-3-pro-image:generateContent",
        json={"contents": [{"parts": [{"text": prompt}]}]},
        headers={"x-goog-api-key": "k"},
    )


async def ask_openai(http: httpx2.AsyncClient, prompt: str = PROMPT, scenario: str = "") -> httpx2.Response:
    return await http.post(
        f"{scenario}/openai/v1/images/generations",
        json={"model": "gpt-image-2", "prompt": prompt, "quality": "low"},
        headers={"authorization": "Bearer k"},
    )


async def outage(http: httpx2.AsyncClient, vendor: str, fault: str | None) -> dict[str, Any]:
    response = await http.post("/control/outage", json={"vendor": vendor, "fault": fault})
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_outage_takes_every_call_of_one_vendor_until_it_is_over(http: httpx2.AsyncClient) -> None:
    assert await outage(http, "openai", "503") == {"outages": {"openai": "503"}}

    assert [(await ask_openai(http)).status_code for _ in range(3)] == [503] * 3
    assert (await ask_openai(http, "a pier [[sandbox: ok]]", "/slow=0")).status_code == 503
    assert (await ask_gemini(http)).status_code == 200

    assert await outage(http, "openai", None) == {"outages": {}}
    assert (await ask_openai(http)).status_code == 200


@pytest.mark.parametrize(
    ("fault", "gemini", "openai"),
    [("bad-key", 400, 401), ("forbidden", 403, 403), ("no-credit", 403, 429), ("model-gone", 404, 404)],
)
async def test_an_account_can_lose_its_key_its_rights_its_money_or_its_model(
    http: httpx2.AsyncClient, fault: str, gemini: int, openai: int
) -> None:
    for vendor in ("gemini", "openai"):
        await outage(http, vendor, fault)

    assert ((await ask_gemini(http)).status_code, (await ask_openai(http)).status_code) == (gemini, openai)
    bill = (await http.get("/bill")).json()
    assert [(line["outcome"], line["cost_microusd"]) for line in bill["calls"]] == [(fault, 0)] * 2


@pytest.mark.parametrize("fault", ["503", "bad-key", "html"])
async def test_a_vendor_that_is_out_answers_no_other_request_well_either(http: httpx2.AsyncClient, fault: str) -> None:
    headers = {"authorization": "Bearer k"}
    assert "data" in (await http.get("/openai/v1/models", headers=headers)).json()
    await outage(http, "openai", fault)

    response = await http.get("/openai/v1/models", headers=headers)

    assert response.status_code != 200 or response.text.startswith("<!DOCTYPE html>")
    seen = (await http.get("/requests?wait_visits=2")).json()
    assert [visit["status"] for visit in seen["visits"]] == [200, response.status_code]
    assert seen["requests"] == [], "a list of models is no call"


async def test_a_vendor_can_cut_and_hang_on_every_request(http: httpx2.AsyncClient) -> None:
    for fault in ("cut", "reset", "hang 0"):
        await outage(http, "openai", fault)
        with pytest.raises(httpx2.TransportError):
            await ask_openai(http)
        with pytest.raises(httpx2.TransportError):
            await http.get("/openai/v1/models", headers={"authorization": "Bearer k"})

    visits = (await http.get("/requests?wait_visits=3")).json()["visits"]
    assert [visit["status"] for visit in visits] == [None] * 3


async def test_an_outage_spares_calls_taken_before_it(http: httpx2.AsyncClient) -> None:
    await http.post("/control/hold")
    before = asyncio.create_task(ask_openai(http))
    await http.get("/bill?wait_in_flight=1")
    await outage(http, "openai", "500")
    after = asyncio.create_task(ask_openai(http))
    await http.get("/bill?wait_in_flight=2")

    await http.post("/control/release")

    assert ((await before).status_code, (await after).status_code) == (200, 500)


@pytest.mark.parametrize(
    "body",
    [
        {"vendor": "openai"},
        {"vendor": "nobody", "fault": "503"},
        {"vendor": "openai", "fault": "explode"},
        {"vendor": "openai", "fault": "thought"},
        {"vendor": "openai", "fault": "slow 1"},
        {"vendor": "openai", "fault": "503 x2"},
        {"vendor": "openai", "fault": 503},
        {"vendor": None, "fault": "503"},
        {"vendor": "openai", "fault": "503", "until": "noon"},
        ["openai"],
    ],
)
async def test_a_senseless_outage_is_a_400_and_changes_nothing(http: httpx2.AsyncClient, body: Any) -> None:
    response = await http.post("/control/outage", json=body)

    assert response.status_code == 400
    assert response.json()["error"]
    assert (await ask_openai(http)).status_code == 200


async def test_fault_rates_change_while_it_runs_and_may_differ_by_vendor(http: httpx2.AsyncClient) -> None:
    async def statuses() -> tuple[set[int], set[int]]:
        gemini = {(await ask_gemini(http)).status_code for _ in range(4)}
        return gemini, {(await ask_openai(http)).status_code for _ in range(4)}

    assert await statuses() == ({200}, {200})

    changed = await http.post("/control/faults", json={"rates": "500=1", "vendor": "openai"})
    assert changed.json()["rates"]["openai"] == "500=1"
    assert changed.json()["rates"]["gemini"] == ""
    assert await statuses() == ({200}, {500})

    await http.post("/control/faults", json={"rates": "429 7=1"})
    assert await statuses() == ({429}, {429})

    await http.post("/control/faults", json={"rates": "", "vendor": None})
    assert await statuses() == ({200}, {200})


async def test_a_vendor_is_spared_the_rate_of_a_fault_it_lacks(http: httpx2.AsyncClient) -> None:
    changed = await http.post("/control/faults", json={"rates": "429-per-day=1"})

    assert changed.json()["rates"]["gemini"] == "429-per-day 3600=1"
    assert changed.json()["rates"]["openai"] == ""
    assert ((await ask_gemini(http)).status_code, (await ask_openai(http)).status_code) == (429, 200)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}",
        b'{"rates": 0.1}',
        b'{"rates": "429"}',
        b'{"rates": "429=2"}',
        b'{"rates": "429=0.1", "vendor": "nobody"}',
        b'{"rates": "thought=0.1", "vendor": "openai"}',
        b'{"rates": "429=0.1", "for": "ever"}',
    ],
)
async def test_a_senseless_rate_is_a_400_and_changes_nothing(http: httpx2.AsyncClient, body: bytes) -> None:
    await http.post("/control/faults", json={"rates": "503=1"})

    assert (await http.post("/control/faults", content=body)).status_code == 400

    assert (await ask_openai(http)).status_code == 503


async def test_rates_of_one_vendor_can_be_given_at_the_start(tmp_path: Path) -> None:
    config = SandboxConfig(
        fault_rates=parse_fault_rates("503=1"), vendor_fault_rates={"openai": parse_fault_rates("504=1")}, pictures=1
    )
    async with (
        running_sandbox(config, bill_path=tmp_path / "bill.jsonl") as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, timeout=30, trust_env=False) as http,
    ):
        assert ((await ask_gemini(http)).status_code, (await ask_openai(http)).status_code) == (503, 504)


@pytest.mark.parametrize("rates", [{"nobody": "503=1"}, {"openai": "thought=1"}])
async def test_a_rate_at_the_start_that_no_vendor_can_have_is_refused(tmp_path: Path, rates: dict[str, str]) -> None:
    config = SandboxConfig(vendor_fault_rates={name: parse_fault_rates(text) for name, text in rates.items()})

    with pytest.raises(UnknownDirective, match="the sandbox"):
        async with running_sandbox(config, bill_path=tmp_path / "bill.jsonl"):
            pass


async def test_a_directive_can_be_for_one_vendor_alone(http: httpx2.AsyncClient) -> None:
    prompt = "a pier [[sandbox openai: refuse]] [[sandbox gemini: thought]]"

    assert ((await ask_gemini(http, prompt)).status_code, (await ask_openai(http, prompt)).status_code) == (200, 400)
    assert [line["outcome"] for line in (await http.get("/bill")).json()["calls"]] == [
        "thought",
        "refuse MODERATION_BLOCKED",
    ]


async def test_a_directive_for_a_vendor_that_is_not_there_is_a_400(http: httpx2.AsyncClient) -> None:
    response = await ask_openai(http, "a pier [[sandbox opneai: 503]]")

    assert response.status_code == 400
    assert "no vendor `opneai`" in response.json()["error"]["message"]


async def test_calls_with_the_same_prompt_are_counted_by_vendor(http: httpx2.AsyncClient) -> None:
    prompt = "a pier [[sandbox: 503 x1]]"
    first = [(await ask_gemini(http, prompt)).status_code, (await ask_openai(http, prompt)).status_code]
    second = [(await ask_gemini(http, prompt)).status_code, (await ask_openai(http, prompt)).status_code]

    assert (first, second) == ([503, 503], [200, 200])


async def test_the_bill_can_be_shown_for_one_vendor(http: httpx2.AsyncClient) -> None:
    await asyncio.gather(ask_gemini(http), ask_openai(http), ask_openai(http, "a quay"))
    whole = (await http.get("/bill")).json()

    parts = [(await http.get(f"/bill?vendor={name}&wait_charged=1")).json() for name in ("gemini", "openai")]

    assert Counter(line["vendor"] for line in whole["calls"]) == {"gemini": 1, "openai": 2}
    assert [part["charged_calls"] for part in parts] == [1, 2]
    assert [{line["vendor"] for line in part["calls"]} for part in parts] == [{"gemini"}, {"openai"}]
    assert sum(part["total_microusd"] for part in parts) == whole["total_microusd"] > 0
    assert (await http.get("/bill?vendor=gemini&wait_charged=2&timeout=0.01")).status_code == 504
    assert (await http.get("/bill?vendor=nobody")).status_code == 400


async def test_requests_and_calls_in_flight_can_be_shown_for_one_vendor(http: httpx2.AsyncClient) -> None:
    await http.post("/control/hold")
    callers = [asyncio.create_task(ask_gemini(http)), asyncio.create_task(ask_openai(http))]
    await http.get("/bill?wait_in_flight=2")

    assert (await http.get("/bill?vendor=openai&wait_in_flight=1")).json()["in_flight"] == 1
    seen = (await http.get("/requests?vendor=openai&wait_seen=1")).json()
    assert [(call["vendor"], call["model"]) for call in seen["requests"]] == [("openai", "gpt-image-2")]
    assert seen["in_flight"] == 1

    await http.post("/control/release")
    await asyncio.gather(*callers)
    assert (await http.get("/bill?vendor=openai&wait_idle=1")).json()["in_flight"] == 0


async def test_every_vendor_has_an_address_with_and_without_a_scenario(sandbox: RunningSandbox) -> None:
    base_url = sandbox.base_url

    assert sandbox.url("gemini") == sandbox.gemini_url() == f"{base_url}/gemini"
    assert sandbox.url("openai", "slow=2/cut") == f"{base_url}/slow=2/cut/openai/v1"
    assert vendor_urls(base_url) == {name: sandbox.url(name) for name in sandbox.vendor.wires}
    with pytest.raises(UnknownDirective):
        sandbox.url("nobody")


def test_a_vendors_own_directive_is_read_like_any_other() -> None:
    assert str(parse_directive("error-text 404")) == "error-text 404"
    for text in ("error-text 200", "error-detail x", "429-ms soon", "no-pictures 3"):
        with pytest.raises(UnknownDirective):
            parse_directive(text)
