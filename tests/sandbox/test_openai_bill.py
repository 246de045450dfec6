"""What a call of OpenAI's official client costs at the sandbox, and who pays for what never arrived."""

from __future__ import annotations

import asyncio
import json
from decimal import ROUND_CEILING

import httpx2
import openai
import pytest
from genai_prices import extract_usage
from openai.types import ImagesResponse
from openai_pictures import Client, pictures, reference

from safelight.sandbox.faults import CHARGES_PICTURE, FREE, Fault
from safelight.sandbox.openai import FAULTS
from safelight.sandbox.openai_models import MODELS
from safelight.sandbox.server import RunningSandbox

UNPRICED = {"gpt-image-2.6-sunburst", "gpt-image-2.6-flare"}  # not in genai-prices yet; they cost what 2.5 does


def independent_price_microusd(response: ImagesResponse, model: str) -> int:
    answer = response.model_dump(mode="json", exclude_none=True) | {"model": model}
    price = extract_usage(answer, provider_id="openai", api_flavor="images").calc_price().total_price
    return int((price * 1_000_000).to_integral_value(rounding=ROUND_CEILING))


async def test_several_pictures_are_different_and_billed_each(client: Client, sandbox: RunningSandbox) -> None:
    response = await client().images.generate(model="gpt-image-2", prompt="a pier", n=3, quality="low")

    assert len(set(pictures(response))) == 3
    assert response.usage is not None
    assert response.usage.output_tokens_details is not None
    assert response.usage.output_tokens_details.image_tokens == 3 * 272
    assert sandbox.vendor.bill.charged_calls == 1
    assert sandbox.vendor.bill.total_microusd == independent_price_microusd(response, "gpt-image-2")


@pytest.mark.parametrize("model", sorted(set(MODELS) - UNPRICED))
async def test_the_bill_is_what_genai_prices_computes_to_the_microdollar(
    client: Client, sandbox: RunningSandbox, model: str
) -> None:
    for prompt in ("a", "a pier at night " * 37, "ä"):
        generated = await client().images.generate(model=model, prompt=prompt, quality="high", n=2)
        edited = await client().images.edit(model=model, prompt=prompt, image=[reference(), reference()])

        lines = sandbox.vendor.bill.calls[-2:]
        assert [line["cost_microusd"] for line in lines] == [
            independent_price_microusd(generated, model),
            independent_price_microusd(edited, model),
        ]
        assert all(line["cost_microusd"] > 0 for line in lines)


@pytest.mark.parametrize("model", sorted(UNPRICED))
async def test_the_newest_models_cost_what_the_ones_before_them_do(
    client: Client, sandbox: RunningSandbox, model: str
) -> None:
    response = await client().images.generate(model=model, prompt="a pier", quality="xhigh")

    before = model.replace("2.6", "2.5")
    assert sandbox.vendor.bill.total_microusd == independent_price_microusd(response, before)


async def test_every_line_of_the_bill_says_which_vendor(client: Client, sandbox: RunningSandbox) -> None:
    await client().images.generate(model="gpt-image-2", prompt="a pier")

    [line] = [json.loads(line) for line in sandbox.bill_path.read_text().splitlines()]
    assert (line["vendor"], line["model"], line["outcome"]) == ("openai", "gpt-image-2", "ok")


async def test_usage_can_be_missing_and_so_can_its_split(client: Client, sandbox: RunningSandbox) -> None:
    without = await client("no-usage").images.generate(model="gpt-image-2", prompt="a pier")
    unsplit = await client("no-output-details").images.generate(model="gpt-image-2", prompt="a pier")

    assert without.usage is None
    assert unsplit.usage is not None
    assert unsplit.usage.output_tokens_details is None
    assert unsplit.usage.output_tokens > 1000
    first, second = sandbox.vendor.bill.calls
    assert first["cost_microusd"] == second["cost_microusd"] > 30_000


@pytest.mark.parametrize("fault", sorted((CHARGES_PICTURE & FAULTS) - {Fault.SLOW}))
async def test_a_generation_is_charged_in_full_whatever_arrives_of_it(
    client: Client, sandbox: RunningSandbox, fault: Fault
) -> None:
    calling = asyncio.create_task(client().images.generate(model="gpt-image-2", prompt=f"a pier [[sandbox: {fault}]]"))
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.bill.charged_calls == 1, timeout_seconds=30)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)

    [line] = sandbox.vendor.bill.calls
    assert line["outcome"].split()[0] == fault
    assert line["cost_microusd"] > 31_000


@pytest.mark.parametrize("fault", sorted((FREE | {Fault.REFUSE}) & FAULTS))
async def test_what_was_not_generated_is_on_the_bill_for_nothing(
    client: Client, sandbox: RunningSandbox, fault: Fault
) -> None:
    script = "hang 0" if fault is Fault.HANG else fault.value
    calling = client().images.generate(model="gpt-image-2", prompt=f"a pier [[sandbox: {script}]]")
    await asyncio.gather(calling, return_exceptions=True)

    [line] = sandbox.vendor.bill.calls
    assert line["outcome"].split()[0] == fault
    assert line["cost_microusd"] == 0


async def test_a_caller_who_leaves_is_charged_when_the_generation_ends(
    client: Client, http: httpx2.AsyncClient
) -> None:
    await http.post("/control/hold")
    with pytest.raises(openai.APITimeoutError):
        await client(timeout=0.2).images.generate(model="gpt-image-2", prompt="a pier")
    bill = (await http.get("/bill?wait_in_flight=1")).json()
    assert (bill["charged_calls"], bill["in_flight"]) == (0, 1)

    await http.post("/control/release")

    bill = (await http.get("/bill?wait_charged=1&wait_idle=1")).json()
    assert [line["outcome"] for line in bill["calls"]] == ["ok"]
    assert bill["total_microusd"] > 31_000


async def test_a_client_with_its_retries_left_on_pays_again(sandbox: RunningSandbox) -> None:
    """Which is why requests are counted: nothing else shows it."""
    async with httpx2.AsyncClient(trust_env=False) as http_client:
        eager = openai.AsyncOpenAI(api_key="k", base_url=sandbox.url("openai"), http_client=http_client)
        await eager.images.generate(model="gpt-image-2", prompt="a pier [[sandbox: cut x1]]")

    assert len(sandbox.vendor.calls) == 2
    assert sandbox.vendor.bill.charged_calls == 2
