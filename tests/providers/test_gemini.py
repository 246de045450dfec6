"""The adapter against real sockets: what leaves, and what every kind of answer becomes."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configs import config
from gemini_wire import (
    INPUT_COST,
    INPUT_USAGE,
    KEY,
    MODEL,
    PNG,
    PROMPT,
    USAGE,
    USAGE_COST,
    answer,
    failure_of,
    picture_part,
    request,
)
from loopback_vendor import Vendor

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE, UNKNOWN_COST, Cost, CostBasis
from safelight.net.billable import CallNotSent, billable_call
from safelight.providers.gemini import GeminiProvider
from safelight.providers.provider import ImageInput, ImageResult, InputRole, Refusal, UnknownModel
from safelight.providers.registry import InvalidConfiguration

REFERENCES = (("image/png", PNG), ("image/jpeg", b"\xff\xd8\xff\xfe another"))

# What leaves


async def test_one_request_carries_prompt_options_and_key(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, answer(picture_part(), usage=USAGE))

    await gemini.submit(request(aspect_ratio="16:9", seed=7))

    (sent,) = vendor.requests
    assert (sent.method, sent.path) == ("POST", f"/v1/models/{MODEL}:generateContent")
    assert sent.headers["x-goog-api-key"] == KEY
    assert sent.headers["x-server-timeout"] == "60"
    assert sent.json["contents"] == [{"parts": [{"text": PROMPT}], "role": "user"}]
    assert sent.json["generationConfig"] == {
        "seed": 7,
        "responseModalities": ["IMAGE"],
        "imageConfig": {"aspectRatio": "16:9"},
    }


async def test_pictures_go_along_behind_the_prompt_in_their_order(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, answer(picture_part(), usage=USAGE))
    inputs = tuple(ImageInput(role=InputRole.REFERENCE, mime=mime, data=data) for mime, data in REFERENCES)

    await gemini.submit(request(inputs=inputs))

    (sent,) = vendor.requests
    text, *pictures = sent.json["contents"][0]["parts"]
    assert text == {"text": PROMPT}
    files = [each["inlineData"] for each in pictures]
    assert [(file["mime_type"], base64.urlsafe_b64decode(file["data"])) for file in files] == list(REFERENCES)


async def test_the_environment_redirects_nothing(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_GENAI_API_VERSION": "v9",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9/elsewhere",
        "GOOGLE_API_KEY": "someone-else",
        "GEMINI_API_KEY": "someone-else",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "SSL_CERT_FILE": "/nowhere/authorities.pem",
    }.items():
        monkeypatch.setenv(name, value)
    vendor.says(200, answer(picture_part(), usage=USAGE))
    provider = GeminiProvider.from_config("gemini", config(api_key=KEY, base_url=vendor.url))

    await provider.submit(request())
    await provider.aclose()

    (sent,) = vendor.requests
    assert sent.path.startswith("/v1/models/")
    assert sent.headers["x-goog-api-key"] == KEY


def test_aiohttp_is_not_chosen_where_it_is_installed() -> None:
    """The SDK prefers aiohttp once that can be imported, and then sends a dropped request again."""
    program = """
import asyncio, sys, types
stand_in = types.ModuleType("aiohttp")
for name in ("ClientConnectorError", "ClientOSError", "ServerDisconnectedError", "ClientConnectorDNSError"):
    setattr(stand_in, name, type(name, (Exception,), {}))
stand_in.ClientResponse = type("ClientResponse", (), {})
stand_in.ClientSession = stand_in.TCPConnector = type("Chosen", (), {})
sys.modules["aiohttp"] = stand_in
from configs import config
from google.genai import _api_client
from safelight.providers.gemini import GeminiProvider
from safelight.providers.provider import ImageRequest, ProviderError
assert _api_client.has_aiohttp
received = 0
async def main():
    async def hang_up(reader, writer):
        global received
        received += (await reader.read(65536)).startswith(b"POST ")
        writer.close()
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    provider = GeminiProvider.from_config("gemini", config(api_key="k", base_url=url))
    try:
        asked = ImageRequest(model="gemini-3-pro-image", prompt="p", attempt_key="a", timeout_seconds=30)
        await provider.submit(asked)
    except ProviderError as failure:
        print(received, failure.code)
asyncio.run(main())
"""
    here = Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=here, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.strip() == "1 CONNECTION_LOST", ran.stderr


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "gemini-2.5-flash-image"}, "MODEL_RETIRED"),
        ({"model": "imagen-4.0-generate-001"}, "MODEL_RETIRED"),
        ({"model": "gemini-99"}, "UNKNOWN_MODEL"),
        ({"aspect_ratio": "7:5"}, "UNSUPPORTED_OPTION"),
        ({"model": "gemini-3-pro-image", "aspect_ratio": "8:1"}, "UNSUPPORTED_OPTION"),
        ({"size": "1024x1024"}, "UNSUPPORTED_OPTION"),
        ({"negative_prompt": "blur"}, "UNSUPPORTED_OPTION"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_and_nothing_is_sent(
    vendor: Vendor, gemini: GeminiProvider, changes: dict[str, Any], code: str
) -> None:
    failure = await failure_of(gemini, request(**changes))

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.PERMANENT, Billed.NO, code)
    assert vendor.requests == []


async def test_past_the_deadline_nothing_is_sent(vendor: Vendor, gemini: GeminiProvider) -> None:
    with billable_call(timeout_seconds=-1) as call, pytest.raises(CallNotSent):
        await gemini.submit(request())

    assert not call.has_left
    assert vendor.requests == []


# Pictures


async def test_a_picture_comes_back_with_its_cost_and_ids(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, answer({"text": "Here it is."}, picture_part(), usage=USAGE))

    assert await gemini.submit(request()) == ImageResult(
        data=PNG,
        claimed_mime="image/png",
        cost=USAGE_COST,
        usage=USAGE,
        request_id="r1",
        model_version="gemini-3.1-flash-image-007",
    )
    assert len(vendor.requests) == 1


async def test_drafts_among_the_thoughts_are_not_the_picture(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, answer(picture_part(b"draft", thought=True), picture_part(b"final"), usage=USAGE))

    result = await gemini.submit(request())

    assert isinstance(result, ImageResult)
    assert result.data == b"final"


async def test_a_picture_without_usage_costs_its_table_price(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, answer(picture_part()))

    result = await gemini.submit(request())

    assert result.cost == Cost(68_700, CostBasis.TABLE, "safelight gemini 2026-11")
    assert result.usage == {}


async def test_a_continuation_is_never_bought(vendor: Vendor, gemini: GeminiProvider) -> None:
    unfinished = answer(picture_part(), finish="CONTINUATION", usage=USAGE)
    unfinished["candidates"][0]["continuationToken"] = base64.b64encode(b"more").decode()
    vendor.says(200, unfinished)

    result = await gemini.submit(request())

    assert isinstance(result, ImageResult)
    assert result.cost == USAGE_COST
    assert len(vendor.requests) == 1


# Refusals


@pytest.mark.parametrize(
    "reason",
    ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "JAILBREAK", "MODEL_ARMOR"],
)
async def test_a_blocked_prompt_is_a_refusal(vendor: Vendor, gemini: GeminiProvider, reason: str) -> None:
    vendor.says(200, {"promptFeedback": {"blockReason": reason}, "usageMetadata": INPUT_USAGE, "responseId": "r1"})

    refusal = await gemini.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == (reason, Billed.YES, INPUT_COST)
    assert (refusal.usage, refusal.request_id) == (INPUT_USAGE, "r1")
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "reason",
    [
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
    ],
)
async def test_a_safety_finish_is_a_refusal(vendor: Vendor, gemini: GeminiProvider, reason: str) -> None:
    vendor.says(200, answer(finish=reason, usage=INPUT_USAGE))

    refusal = await gemini.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == (reason, Billed.YES, INPUT_COST)
    assert len(vendor.requests) == 1


async def test_a_blocked_prompt_that_counts_no_tokens_was_not_charged(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})

    refusal = await gemini.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.billed, refusal.cost) == (Billed.NO, FREE)


@pytest.mark.parametrize(
    ("ran", "code"),
    [
        (answer(finish="IMAGE_SAFETY"), "IMAGE_SAFETY"),
        (answer(picture_part(), finish="IMAGE_SAFETY"), "IMAGE_SAFETY"),
        (answer({"text": "I would rather not."}), "TEXT_ONLY"),
    ],
    ids=["stopped", "stopped with a picture", "words only"],
)
async def test_a_refusal_by_the_model_that_counts_no_tokens_may_have_been_charged(
    vendor: Vendor, gemini: GeminiProvider, ran: dict[str, Any], code: str
) -> None:
    vendor.says(200, ran)

    refusal = await gemini.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == (code, Billed.UNKNOWN, UNKNOWN_COST)


async def test_words_in_place_of_a_picture_are_a_refusal(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, answer({"text": f"I can't create this: {PROMPT}."}, usage=INPUT_USAGE))

    refusal = await gemini.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == ("TEXT_ONLY", Billed.YES, INPUT_COST)
    assert refusal.message == "I can't create this: [prompt]."
    assert len(vendor.requests) == 1


# Data


def test_an_estimate_covers_a_picture_with_its_prompt_and_thinking() -> None:
    provider = GeminiProvider.from_config("gemini", config(api_key=KEY, base_url=None))

    estimate = provider.estimate(request())

    assert estimate == Cost(68_727, CostBasis.ESTIMATE, "safelight gemini 2026-11")
    assert estimate.microusd is not None
    assert USAGE_COST.microusd is not None
    assert estimate.microusd > USAGE_COST.microusd
    picture = ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"")
    with_pictures = provider.estimate(request(inputs=(picture,) * 2))
    assert with_pictures.microusd == estimate.microusd + 2 * 1120 * 0.5


def test_capabilities_come_from_the_model_data() -> None:
    provider = GeminiProvider.from_config("gemini", config(api_key=KEY, base_url=None))

    can = provider.capabilities("gemini-3-pro-image")

    assert can.aspect_ratios is not None
    assert "16:9" in can.aspect_ratios
    assert "8:1" not in can.aspect_ratios
    assert (can.seed, can.negative_prompt, can.timeout_seconds, can.sizes) == (True, False, 180.0, None)
    assert provider.capabilities("gemini-2.5-flash-image").retired_on == "2026-10-02"
    with pytest.raises(UnknownModel):
        provider.capabilities("gemini-99")


@pytest.mark.parametrize(
    ("api_key", "base_url"),
    [
        (None, None),
        ("", None),
        ("two words", None),
        ("schlüssel", None),
        (KEY, "ftp://host"),
        (KEY, "host:80"),
    ],
)
def test_an_account_that_cannot_work_is_refused_at_the_start(api_key: str | None, base_url: str | None) -> None:
    with pytest.raises(InvalidConfiguration, match="studio") as caught:
        GeminiProvider.from_config("studio", config(api_key=api_key, base_url=base_url))
    assert not api_key or api_key not in str(caught.value)
