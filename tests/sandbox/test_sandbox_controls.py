from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.genai import errors, types

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import parse_fault_rates
from safelight.sandbox.server import RunningSandbox, running_sandbox

Ask = Callable[..., Coroutine[Any, Any, types.GenerateContentResponse]]


async def test_a_held_sandbox_takes_calls_and_ends_none_before_release(ask: Ask, http: httpx2.AsyncClient) -> None:
    assert (await http.post("/control/hold")).json() == {"in_flight": 0, "held": True}
    callers = [asyncio.create_task(ask(f"pier {number}")) for number in range(3)]
    callers.append(asyncio.create_task(ask("pier [[sandbox: 500]]")))

    held = (await http.get("/bill?wait_in_flight=4")).json()
    assert (held["in_flight"], held["calls"]) == (4, [])
    assert (await http.post("/control/release")).json()["held"] is False

    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(outcomes.pop(), errors.ServerError)
    assert all(isinstance(outcome, types.GenerateContentResponse) for outcome in outcomes)
    bill = (await http.get("/bill?wait_idle=1")).json()
    assert (bill["in_flight"], bill["charged_calls"], len(bill["calls"])) == (0, 3, 4)


async def test_a_wait_that_is_over_answers_504_with_the_present_state(http: httpx2.AsyncClient) -> None:
    response = await http.get("/bill?wait_in_flight=1&timeout=0.01")

    assert response.status_code == 504
    assert response.json() == {
        "calls": [],
        "charged_calls": 0,
        "total_microusd": 0,
        "in_flight": 0,
        "held": False,
    }


@pytest.mark.parametrize("query", ["wait_inflight=1", "wait_charged=many", "wait_charged=1&timeout=soon"])
async def test_a_misspelt_wait_is_a_400(http: httpx2.AsyncClient, query: str) -> None:
    assert (await http.get(f"/bill?{query}")).status_code == 400


async def test_requests_are_listed_while_in_flight_without_key_or_prompt(ask: Ask, http: httpx2.AsyncClient) -> None:
    await http.post("/control/hold")
    caller = asyncio.create_task(ask("a secret pier", key="sk-canary", scenario="slow=0"))
    await http.get("/bill?wait_in_flight=1")
    with pytest.raises(errors.ClientError):
        await ask("a pier", model="no-such-model")

    response = await http.get("/requests?wait_seen=2")
    first, second = response.json()["requests"]
    assert (first["ordinal"], first["call"], first["outcome"]) == (1, 1, None)
    assert first["path"] == "/slow=0/gemini/v1/models/gemini-3.1-flash-lite-image:generateContent"
    assert first["prompt_sha256"] == hashlib.sha256(b"a secret pier").hexdigest()
    assert first["key_sha256"] == hashlib.sha256(b"sk-canary").hexdigest()
    assert (second["model"], second["outcome"]) == ("no-such-model", "rejected NOT_FOUND")
    assert "secret" not in response.text
    assert "canary" not in response.text

    await http.post("/control/release")
    await caller
    assert (await http.get("/requests")).json()["requests"][0]["outcome"] == "ok"


async def test_a_hanging_call_is_in_flight_until_its_caller_leaves(ask: Ask, http: httpx2.AsyncClient) -> None:
    caller = asyncio.create_task(ask("a pier [[sandbox: hang]]"))
    await http.get("/bill?wait_in_flight=1")

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    bill = (await http.get("/bill?wait_ended=1&wait_idle=1")).json()
    assert [(line["outcome"], line["cost_microusd"]) for line in bill["calls"]] == [("hang 600", 0)]


async def outcomes(bill_path: Path, *, seed: int) -> list[str]:
    config = SandboxConfig(fault_rates=parse_fault_rates("429=0.3, refuse IMAGE_SAFETY=0.3"), seed=seed, pictures=1)
    async with (
        running_sandbox(config, bill_path=bill_path) as sandbox,
        httpx2.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        for _ in range(40):
            await post(client, sandbox, "a pier")
        scripted = [await post(client, sandbox, "a pier [[sandbox: ok]]") for _ in range(10)]
        assert {response.status_code for response in scripted} == {200}
        return [line["outcome"] for line in sandbox.vendor.bill.calls[:40]]


async def test_faults_by_rate_follow_the_seed_and_spare_scripted_calls(tmp_path: Path) -> None:
    first = await outcomes(tmp_path / "first.jsonl", seed=1)
    again = await outcomes(tmp_path / "again.jsonl", seed=1)
    other = await outcomes(tmp_path / "other.jsonl", seed=2)

    assert first == again != other
    assert set(first) == {"ok", "429 2", "refuse IMAGE_SAFETY"}


async def post(client: httpx2.AsyncClient, sandbox: RunningSandbox, prompt: str) -> httpx2.Response:
    body: dict[str, Any] = {"contents": [{"parts": [{"text": prompt}]}]}
    return await client.post(
        f"{sandbox.gemini_url()}/v1/models/gemini-3.1-flash-image:generateContent",
        json=body,
        headers={"x-goog-api-key": "k"},
    )
