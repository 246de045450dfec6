from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from genai_prices import extract_usage
from google.genai import errors, types

from safelight.sandbox.bill import Bill
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import CHARGES_PICTURE, Fault
from safelight.sandbox.gemini import FAULTS
from safelight.sandbox.models import MODELS
from safelight.sandbox.server import RunningSandbox, running_sandbox
from tests.sandbox.test_gemini_contract import parts, picture

Ask = Callable[..., Coroutine[Any, Any, types.GenerateContentResponse]]

SERVE = """
import asyncio, sys
from pathlib import Path
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import serve
config = SandboxConfig(pictures=1)
asyncio.run(serve(config, bill_path=Path(sys.argv[1]), ready=lambda port: print(port, flush=True)))
"""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def independent_price_microusd(response: types.GenerateContentResponse) -> int:
    answer = response.model_dump(by_alias=True, mode="json", exclude_none=True)
    price = extract_usage(answer, provider_id="google").calc_price().total_price
    return int((price * 1_000_000).to_integral_value(rounding=ROUND_CEILING))


@pytest.mark.parametrize("model", sorted(MODELS))
async def test_the_bill_is_what_genai_prices_computes_to_the_microdollar(
    ask: Ask, sandbox: RunningSandbox, model: str
) -> None:
    reference = types.Part.from_bytes(data=b"any", mime_type="image/png")
    for prompt in ("a", "a pier at night " * 37):
        for script in ("ok", "thought", "refuse IMAGE_SAFETY", "no-image", "text-only", "continuation"):
            response = await ask(reference, f"{prompt} [[sandbox: {script}]]", model=model)

            line = lines(sandbox.bill_path)[-1]
            assert line["outcome"] == script
            assert line["cost_microusd"] == independent_price_microusd(response) > 0


async def test_a_picture_costs_what_the_price_list_says(ask: Ask, sandbox: RunningSandbox) -> None:
    response = await ask("a lighthouse", model="gemini-nano-banana-2.1")

    usage = response.usage_metadata
    assert usage is not None
    assert usage.prompt_token_count is not None
    assert usage.candidates_token_count is not None
    assert usage.thoughts_token_count is not None
    words = usage.candidates_token_count - 1120 + usage.thoughts_token_count
    exact = usage.prompt_token_count * Decimal("1.5") + words * Decimal("7.5") + 1120 * 30
    assert sandbox.vendor.bill.total_microusd == int(exact.to_integral_value(rounding=ROUND_CEILING))


async def test_every_line_says_who_asked_what_when_and_for_how_much(
    ask: Ask, http: httpx2.AsyncClient, sandbox: RunningSandbox
) -> None:
    response = await ask("a lighthouse")

    (line,) = lines(sandbox.bill_path)
    assert list(line) == [
        "call", "vendor", "model", "prompt_sha256", "started_at", "ended_at", "outcome", "cost_microusd",
        "pictures_sha256",
    ]  # fmt: skip
    assert (line["call"], line["vendor"], line["outcome"]) == (1, "gemini", "ok")
    assert line["prompt_sha256"] == hashlib.sha256(b"a lighthouse").hexdigest()
    assert line["pictures_sha256"] == [hashlib.sha256(picture(parts(response)[-1])).hexdigest()]
    assert line["started_at"] < line["ended_at"]
    shown = (await http.get("/bill")).json()
    assert shown["calls"] == [line]
    assert (shown["charged_calls"], shown["total_microusd"]) == (1, line["cost_microusd"])


@pytest.mark.parametrize(
    "script",
    ["429", "429-per-day", "500", "502", "503", "504", "hang 0", "refuse-prompt SAFETY", "empty"],
)
async def test_what_was_not_generated_is_on_the_bill_for_nothing(
    ask: Ask, sandbox: RunningSandbox, script: str
) -> None:
    with suppress(errors.APIError, httpx2.RemoteProtocolError):
        await ask(f"a pier [[sandbox: {script}]]")

    (line,) = lines(sandbox.bill_path)
    assert line["cost_microusd"] == 0
    assert line["outcome"].startswith(script.split()[0])
    assert sandbox.vendor.bill.charged_calls == 0


async def test_a_rejected_request_is_on_the_bill_for_nothing(ask: Ask, sandbox: RunningSandbox) -> None:
    with pytest.raises(errors.ClientError):
        await ask("a pier", key="bad-key")

    (line,) = lines(sandbox.bill_path)
    assert (line["outcome"], line["cost_microusd"]) == ("rejected API_KEY_INVALID", 0)


@pytest.mark.parametrize("fault", sorted((CHARGES_PICTURE & FAULTS) - {Fault.SLOW}))
async def test_a_generation_is_charged_in_full_whatever_arrives_of_it(
    ask: Ask, sandbox: RunningSandbox, fault: Fault
) -> None:
    calling = asyncio.create_task(ask(f"a pier [[sandbox: {fault}]]"))
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.bill.charged_calls == 1, timeout_seconds=30)
    calling.cancel()
    with suppress(asyncio.CancelledError, httpx2.HTTPError, ValueError):
        await calling

    (line,) = lines(sandbox.bill_path)
    assert line["outcome"].split()[0] == fault
    assert line["cost_microusd"] > 33_600


async def test_a_caller_who_leaves_is_charged_when_the_generation_ends(ask: Ask, http: httpx2.AsyncClient) -> None:
    await http.post("/control/hold")
    caller = asyncio.create_task(ask("a lighthouse"))
    assert (await http.get("/bill?wait_in_flight=1")).json()["in_flight"] == 1
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await http.get("/bill")).json()["charged_calls"] == 0

    await http.post("/control/release")

    bill = (await http.get("/bill?wait_charged=1&wait_idle=1")).json()
    assert (bill["charged_calls"], bill["in_flight"]) == (1, 0)
    assert bill["calls"][0]["outcome"] == "ok"


async def test_a_call_in_flight_when_the_sandbox_stops_is_cut_and_not_charged(bill_path: Path) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        async with running_sandbox(SandboxConfig(pictures=1), bill_path=bill_path) as sandbox:
            sandbox.vendor.hold()
            caller = asyncio.create_task(
                client.post(
                    f"{sandbox.gemini_url()}/v1/models/gemini-3-pro-image:generateContent",
                    json={"contents": [{"parts": [{"text": "a pier"}]}]},
                    headers={"x-goog-api-key": "k"},
                )
            )
            assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 1, timeout_seconds=10)
        with pytest.raises(httpx2.RemoteProtocolError):
            await caller

    assert lines(bill_path) == []


async def test_the_bill_survives_a_killed_sandbox_and_its_numbers_continue(bill_path: Path) -> None:
    totals = []
    for stop in (signal.SIGKILL, signal.SIGTERM, signal.SIGTERM):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, str(bill_path), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        base_url = f"http://127.0.0.1:{int(await process.stdout.readline())}"
        async with httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=30) as client:
            response = await client.post(
                "/gemini/v1/models/gemini-3-pro-image:generateContent",
                json={"contents": [{"parts": [{"text": "a pier"}]}]},
                headers={"x-goog-api-key": "k"},
            )
            assert response.status_code == 200
            totals.append((await client.get("/bill")).json()["total_microusd"])
        process.send_signal(stop)
        assert await asyncio.wait_for(process.wait(), 20) == (-stop if stop is signal.SIGKILL else 0)

    assert [line["call"] for line in lines(bill_path)] == [1, 2, 3]
    assert totals == [totals[0], 2 * totals[0], 3 * totals[0]]


def test_half_a_line_at_the_end_is_dropped(bill_path: Path) -> None:
    bill_path.write_text('{"call": 7, "cost_microusd": 40}\n{"call": 8, "cost_mi')

    bill = Bill(bill_path)

    assert (bill.total_microusd, bill.charged_calls, bill.next_call()) == (40, 1, 8)
    assert bill_path.read_text() == '{"call": 7, "cost_microusd": 40}\n'
    bill.close()


@pytest.mark.parametrize(
    "content",
    [
        "my poem\n",
        "my poem",
        '{"providers": {"gemini": {}}}',
        '{"providers": {"gemini": {}}}\n',
        "7\n",
        '{"call": 1, "cost_microusd": "5"}\n',
        '{"call": 7, "cost_microusd": 40}\nand a line of my own',
        'a line of my own\n{"call": 8, "cost_mi',
    ],
)
def test_a_file_that_is_no_bill_is_not_touched(bill_path: Path, content: str) -> None:
    bill_path.write_text(content)

    with pytest.raises(ValueError, match="not a bill"):
        Bill(bill_path)

    assert bill_path.read_text() == content


def test_a_folder_cannot_be_the_bill(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be the sandbox's bill"):
        Bill(tmp_path)
