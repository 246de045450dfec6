"""The adapter against real sockets: what leaves, and what pictures and refusals become."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configs import config
from loopback_vendor import Vendor
from openai_wire import (
    INPUT_COST,
    INPUT_USAGE,
    JSON,
    KEY,
    MODEL,
    PNG,
    PROMPT,
    USAGE,
    USAGE_COST,
    answer,
    error,
    failure_of,
    fields_of,
    form_of,
    mask,
    picture,
    reference,
    request,
)

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE, Cost, CostBasis
from safelight.net.billable import CallNotSent, billable_call
from safelight.providers.openai import OpenAIProvider
from safelight.providers.provider import ImageResult, Refusal, UnknownModel
from safelight.providers.registry import InvalidConfiguration

# What leaves


async def test_one_request_carries_prompt_options_and_key_and_nothing_else(
    vendor: Vendor, openai: OpenAIProvider
) -> None:
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)

    await openai.submit(request(size="1536x864", quality="high"))

    (sent,) = vendor.requests
    assert (sent.method, sent.path) == ("POST", "/v1/images/generations")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json == {"model": MODEL, "prompt": PROMPT, "n": 1, "size": "1536x864", "quality": "high"}


async def test_what_was_not_asked_for_is_left_to_the_vendor(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)

    await openai.submit(request())

    assert vendor.requests[0].json == {"model": MODEL, "prompt": PROMPT, "n": 1}


@pytest.mark.parametrize(
    ("model", "ratio", "size"),
    [
        ("gpt-image-2.6-flare", "16:9", "1536x864"),
        ("gpt-image-2.5-sunburst", "21:9", "1568x672"),
        ("gpt-image-2", "1:1", "1024x1024"),
        ("gpt-image-1.5", "2:3", "1024x1536"),
        ("chatgpt-image-latest", "3:2", "1536x1024"),
    ],
)
async def test_a_ratio_is_asked_for_as_a_size(
    vendor: Vendor, openai: OpenAIProvider, model: str, ratio: str, size: str
) -> None:
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)

    await openai.submit(request(model=model, aspect_ratio=ratio))

    (sent,) = vendor.requests
    assert sent.json == {"model": model, "prompt": PROMPT, "n": 1, "size": size}


async def test_references_and_their_mask_make_it_an_edit(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)
    inputs = (mask(b"hole"), reference(b"one"), reference(b"two", "image/jpeg"))

    await openai.submit(request(aspect_ratio="1:1", quality="low", inputs=inputs))

    (sent,) = vendor.requests
    assert (sent.method, sent.path) == ("POST", "/v1/images/edits")
    assert fields_of(sent) == {
        "model": MODEL,
        "prompt": PROMPT,
        "n": "1",
        "size": "1024x1024",
        "quality": "low",
    }
    assert [part for part in form_of(sent) if part[1] is not None] == [
        ("image[]", "reference-1.png", "image/png", b"one"),
        ("image[]", "reference-2.jpeg", "image/jpeg", b"two"),
        ("mask", "mask.png", "image/png", b"hole"),
    ]


async def test_a_single_reference_is_sent_as_a_list_too(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)

    await openai.submit(request(inputs=(reference(),)))

    (sent,) = vendor.requests
    assert [part[0] for part in form_of(sent) if part[1] is not None] == ["image[]"]


def test_a_call_while_another_thread_imports_the_older_http_client_is_sent() -> None:
    """The SDK asks at every call whether `httpx` is loaded, and trips over one that is only half there."""
    program = """
import asyncio, importlib.abc, importlib.machinery, sys, threading
from configs import config
from loopback_vendor import Vendor
from openai_wire import JSON, KEY, USAGE, answer, picture, request
from safelight.net.billable import billable_call
from safelight.providers.openai import OpenAIProvider
half_way_or_done, go_on = threading.Event(), threading.Event()
class Halt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "httpx._client":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        whole = spec.loader.exec_module
        def half(module):
            half_way_or_done.set()
            assert go_on.wait(30)
            whole(module)
        spec.loader.exec_module = half
        return spec
def older():
    import httpx
    half_way_or_done.set()
async def main():
    vendor = Vendor()
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)
    async with await asyncio.start_server(vendor.serve, "127.0.0.1", 0) as server:
        url = "http://127.0.0.1:%d/v1" % server.sockets[0].getsockname()[1]
        provider = OpenAIProvider.from_config("mine", config(api_key=KEY, base_url=url))
        await provider.prepare()
        sys.meta_path.insert(0, Halt())
        loading = asyncio.create_task(asyncio.to_thread(older))
        assert await asyncio.to_thread(half_way_or_done.wait, 30)
        try:
            with billable_call(timeout_seconds=30):
                print(type(await provider.submit(request())).__name__)
        finally:
            go_on.set()
            await loading
        await provider.aclose()
        await asyncio.gather(*vendor.serving)
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.stdout.strip(), ran.returncode) == ("ImageResult", 0), ran.stderr


def test_the_first_call_imports_nothing_in_the_event_loop() -> None:
    """What the client imports is imported with it, in a thread."""
    program = """
import sys
import httpx2
from safelight.providers.openai_client import OpenAIClient
client = OpenAIClient(api_key="none", base_url="http://127.0.0.1:9/v1", http=httpx2.AsyncClient())
before = set(sys.modules)
client._sdk.images.generate
print(sorted(set(sys.modules) - before))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr


def test_the_environment_adds_and_redirects_nothing() -> None:
    """In a process of its own, so that the SDK is imported into that environment too."""
    program = """
import asyncio, json
from configs import config
from loopback_vendor import Vendor
from openai_wire import JSON, KEY, USAGE, answer, picture, request
from safelight.providers.openai import OpenAIProvider
async def main():
    vendor = Vendor()
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)
    async with await asyncio.start_server(vendor.serve, "127.0.0.1", 0) as server:
        url = "http://127.0.0.1:%d/v1" % server.sockets[0].getsockname()[1]
        for key in (KEY, None):
            provider = OpenAIProvider.from_config("mine", config(api_key=key, base_url=url))
            await provider.submit(request())
            await provider.aclose()
        await asyncio.gather(*vendor.serving)
    print(json.dumps([sent.headers for sent in vendor.requests]))
asyncio.run(main())
"""
    foreign = {
        "OPENAI_API_KEY": "leak-key",
        "OPENAI_ADMIN_KEY": "leak-admin",
        "OPENAI_ORG_ID": "leak-org",
        "OPENAI_PROJECT_ID": "leak-project",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/leak",
        "OPENAI_CUSTOM_HEADERS": "Authorization: leak-header\nX-Extra: leak-extra",
        "OPENAI_LOG": "debug",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    here = Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=here,
        env=foreign,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.stdout, ran.stderr
    assert "leak" not in ran.stdout
    assert KEY not in ran.stderr
    assert PROMPT not in ran.stderr
    with_key, without = (dict(headers) for headers in json.loads(ran.stdout))
    assert with_key["authorization"] == f"Bearer {KEY}"
    assert without["authorization"] == "Bearer none"
    assert not {name for name in with_key if name.startswith("openai-")}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "dall-e-3"}, "MODEL_RETIRED"),
        ({"model": "gpt-image-1"}, "MODEL_RETIRED"),
        ({"model": "gpt-image-99"}, "UNKNOWN_MODEL"),
        ({"aspect_ratio": "7:5"}, "UNSUPPORTED_OPTION"),
        ({"model": "gpt-image-1.5", "aspect_ratio": "16:9"}, "UNSUPPORTED_OPTION"),
        ({"model": "gpt-image-1.5", "size": "1536x864"}, "UNSUPPORTED_OPTION"),
        ({"size": "1000x1000"}, "UNSUPPORTED_OPTION"),
        ({"size": "512x512"}, "UNSUPPORTED_OPTION"),
        ({"size": "3840x3840"}, "UNSUPPORTED_OPTION"),
        ({"size": "3200x1024"}, "UNSUPPORTED_OPTION"),
        ({"size": "auto"}, "UNSUPPORTED_OPTION"),
        ({"size": "1024x1024", "aspect_ratio": "1:1"}, "UNSUPPORTED_OPTION"),
        ({"quality": "auto"}, "UNSUPPORTED_OPTION"),
        ({"quality": "max"}, "UNSUPPORTED_OPTION"),
        ({"seed": 7}, "UNSUPPORTED_OPTION"),
        ({"negative_prompt": "blur"}, "UNSUPPORTED_OPTION"),
        ({"prompt": "x" * 32_001}, "UNSUPPORTED_OPTION"),
        ({"inputs": (reference(),) * 17}, "UNSUPPORTED_OPTION"),
        ({"inputs": (mask(),)}, "UNSUPPORTED_OPTION"),
        ({"inputs": (reference(), mask(), mask())}, "UNSUPPORTED_OPTION"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_and_nothing_is_sent(
    vendor: Vendor, openai: OpenAIProvider, changes: dict[str, Any], code: str
) -> None:
    failure = await failure_of(openai, request(**changes))

    assert (failure.kind, failure.billed, failure.code, failure.cost) == (ErrorKind.PERMANENT, Billed.NO, code, FREE)
    assert vendor.requests == []


async def test_past_the_deadline_nothing_is_sent(vendor: Vendor, openai: OpenAIProvider) -> None:
    with billable_call(timeout_seconds=-1) as call, pytest.raises(CallNotSent):
        await openai.submit(request())

    assert not call.has_left
    assert vendor.requests == []


# Pictures


async def test_a_picture_comes_back_with_its_cost_and_id(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, answer(picture(), usage=USAGE), headers=JSON)

    assert await openai.submit(request()) == ImageResult(
        data=PNG, claimed_mime="image/png", cost=USAGE_COST, usage=USAGE, request_id="req_1"
    )
    assert len(vendor.requests) == 1


async def test_an_edit_brings_a_picture_and_pays_for_its_references(vendor: Vendor, openai: OpenAIProvider) -> None:
    usage = USAGE | {"input_tokens": 320, "input_tokens_details": {"text_tokens": 20, "image_tokens": 300}}
    vendor.says(200, answer(picture(), usage=usage), headers=JSON)

    result = await openai.submit(request(inputs=(reference(),)))

    assert isinstance(result, ImageResult)
    assert result.cost.microusd == 20 * 5 + 300 * 8 + 1056 * 30
    assert result.usage == usage


async def test_only_the_first_of_several_pictures_is_taken_and_all_are_paid(
    vendor: Vendor, openai: OpenAIProvider
) -> None:
    vendor.says(200, answer(picture(b"first"), picture(b"second"), usage=USAGE), headers=JSON)

    result = await openai.submit(request())

    assert isinstance(result, ImageResult)
    assert (result.data, result.cost) == (b"first", USAGE_COST)


async def test_a_picture_without_usage_costs_its_table_price(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, answer(picture()), headers=JSON)

    result = await openai.submit(request())

    assert result.cost == Cost(240_720, CostBasis.TABLE, "safelight openai 2026-11")
    assert result.usage == {}


async def test_output_without_a_split_is_priced_as_image(vendor: Vendor, openai: OpenAIProvider) -> None:
    unsplit = {name: value for name, value in USAGE.items() if name != "output_tokens_details"}
    vendor.says(200, answer(picture(), usage=unsplit), headers=JSON)

    result = await openai.submit(request(model="gpt-image-1.5"))

    assert result.cost.microusd == 20 * 5 + 1056 * 32


# Refusals


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "moderation_blocked"), (400, "content_policy_violation"), (403, "content_policy_violation")],
)
async def test_a_blocked_request_is_a_refusal_and_was_not_charged(
    vendor: Vendor, openai: OpenAIProvider, status: int, code: str
) -> None:
    message = f"Your request was rejected by the safety system: '{PROMPT}'."
    vendor.says(status, error(code, kind="image_generation_user_error", message=message), headers=JSON)

    refusal = await openai.submit(request())

    assert refusal == Refusal(
        code=code.upper(),
        message="Your request was rejected by the safety system: '[prompt]'.",
        billed=Billed.NO,
        cost=FREE,
        request_id="req_1",
    )
    assert len(vendor.requests) == 1


async def test_a_refusal_that_counts_tokens_was_charged(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(400, error("moderation_blocked", message="") | {"usage": INPUT_USAGE}, headers=JSON)

    refusal = await openai.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.billed, refusal.cost, refusal.usage) == (Billed.YES, INPUT_COST, INPUT_USAGE)
    assert refusal.message == "the vendor's safety policy refused this"


@pytest.mark.parametrize(("usage", "billed", "cost"), [(None, Billed.NO, FREE), (INPUT_USAGE, Billed.YES, INPUT_COST)])
async def test_an_empty_list_of_pictures_is_a_refusal(
    vendor: Vendor, openai: OpenAIProvider, usage: Any, billed: Billed, cost: Cost
) -> None:
    vendor.says(200, answer(usage=usage), headers=JSON)

    refusal = await openai.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == ("EMPTY_DATA", billed, cost)
    assert refusal.request_id == "req_1"
    assert len(vendor.requests) == 1


# Data


@pytest.mark.parametrize(
    ("changes", "microusd"),
    [
        ({}, 240_720),
        ({"model": "gpt-image-2.6-flare"}, 240_720),
        ({"quality": "high"}, 240_720),
        ({"quality": "low"}, 196 * 30 + 30_000),
        ({"model": "gpt-image-2.5-flare", "quality": "high"}, 1756 * 30 + 30_000),
        ({"quality": "low", "aspect_ratio": "16:9"}, 196 * 30 + 30_000),
        ({"quality": "low", "size": "3072x1024"}, 392 * 30 + 30_000),
        ({"quality": "low", "inputs": (reference(), mask())}, 196 * 30 + 30_000 + 56_000),
        ({"model": "gpt-image-1-mini"}, 53_920),
    ],
)
def test_an_estimate_goes_with_quality_size_and_references(changes: dict[str, Any], microusd: int) -> None:
    provider = OpenAIProvider.from_config("openai", config(api_key=KEY))

    estimate = provider.estimate(request(**{"prompt": ""} | changes))

    assert estimate == Cost(microusd, CostBasis.ESTIMATE, "safelight openai 2026-11")


def test_an_estimate_covers_the_prompt() -> None:
    provider = OpenAIProvider.from_config("openai", config(api_key=KEY))

    assert provider.estimate(request()).microusd == 240_720 + len(PROMPT.encode()) * 5


def test_capabilities_come_from_the_model_data() -> None:
    provider = OpenAIProvider.from_config("openai", config(api_key=KEY))

    can = provider.capabilities("gpt-image-2.5-flare")

    assert can.qualities == {"low", "medium", "high", "xhigh", "max"}
    assert can.takes_size("2160x3840")
    assert can.takes_size("1024x1024")
    assert (can.max_references, can.mask, can.seed, can.negative_prompt) == (16, True, False, False)
    assert (can.timeout_seconds, can.remote_job) == (180.0, False)
    assert provider.capabilities("dall-e-3").retired_on == "2026-05-12"
    with pytest.raises(UnknownModel):
        provider.capabilities("gpt-image-99")


@pytest.mark.parametrize(
    ("api_key", "base_url"),
    [
        (None, None),
        ("", None),
        (None, "https://api.openai.com/v1"),
        (None, "https://eu.api.openai.com/v1"),
        ("two words", None),
        ("schlüssel", "http://127.0.0.1:8000/v1"),
        (KEY, "ftp://host"),
        (KEY, "host:80"),
        (KEY, "http://[::1/v1"),
    ],
)
def test_an_account_that_cannot_work_is_refused_at_the_start(api_key: str | None, base_url: str | None) -> None:
    with pytest.raises(InvalidConfiguration, match="studio") as caught:
        OpenAIProvider.from_config("studio", config(api_key=api_key, base_url=base_url))
    assert not api_key or api_key not in str(caught.value)
