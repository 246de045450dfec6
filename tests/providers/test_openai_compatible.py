"""Servers of the operator's that speak the protocol in their own way: what is sent to them, and what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from configs import config
from loopback_vendor import Vendor
from openai_wire import (
    INPUT_USAGE,
    JSON,
    KEY,
    PNG,
    PROMPT,
    USAGE,
    answer,
    b64,
    error,
    failure_of,
    fields_of,
    picture,
    plain_fetch,
    reference,
    request,
    serve,
)

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import UNKNOWN_COST, Cost, CostBasis
from safelight.net.fetch import Fetched, FetchFailed
from safelight.providers.openai import OpenAIProvider
from safelight.providers.provider import ImageResult, Refusal
from safelight.providers.registry import InvalidConfiguration

MODELS: dict[str, dict[str, Any]] = {
    "house-diffusion": {
        "timeout_seconds": 60,
        "seed": True,
        "negative_prompt": True,
        "max_references": 1,
        "sizes_by_ratio": {"1:1": "512x512", "16:9": "768x432"},
        "qualities": ["draft"],
        "image_usd": "0",
        "fields": {
            "output_format": "jpeg",
            "negative_prompt": "negative",
            "body": {"num_inference_steps": 4, "response_format": "b64_json"},
        },
    },
    "ratio-model": {
        "timeout_seconds": 60,
        "aspect_ratios": ["4:3"],
        "negative_prompt": True,
        "megapixel_usd": "0.01",
        "fields": {"aspect_ratio": "ratio"},
    },
    "unpriced": {"timeout_seconds": 60, "sizes": ["512x512"]},
    "gpt-image-2": {"timeout_seconds": 60, "image_usd": 0.07},
}


@pytest.fixture
async def house(vendor: Vendor) -> AsyncIterator[OpenAIProvider]:
    settings = replace(config(base_url=f"{vendor.url}/v1", models=MODELS), fetch=plain_fetch)
    provider = OpenAIProvider.from_config("house", settings)
    yield provider
    await provider.aclose()


# What leaves


async def test_the_servers_own_options_travel_under_its_own_names(vendor: Vendor, house: OpenAIProvider) -> None:
    vendor.says(200, answer(picture()), headers=JSON)

    await house.submit(
        request(model="house-diffusion", aspect_ratio="16:9", seed=0, negative_prompt="blur", quality="draft")
    )

    (sent,) = vendor.requests
    assert sent.headers["authorization"] == "Bearer none"
    assert sent.json == {
        "model": "house-diffusion",
        "prompt": PROMPT,
        "n": 1,
        "size": "768x432",
        "quality": "draft",
        "output_format": "jpeg",
        "seed": 0,
        "negative": "blur",
        "num_inference_steps": 4,
        "response_format": "b64_json",
    }


async def test_an_edit_carries_them_as_form_fields(vendor: Vendor, house: OpenAIProvider) -> None:
    vendor.says(200, answer(picture()), headers=JSON)

    await house.submit(request(model="house-diffusion", seed=7, negative_prompt="blur", inputs=(reference(),)))

    (sent,) = vendor.requests
    assert fields_of(sent) == {
        "model": "house-diffusion",
        "prompt": PROMPT,
        "n": "1",
        "output_format": "jpeg",
        "seed": "7",
        "negative": "blur",
        "num_inference_steps": "4",
        "response_format": "b64_json",
    }


async def test_a_ratio_goes_as_a_ratio_to_a_server_that_takes_ratios(vendor: Vendor, house: OpenAIProvider) -> None:
    vendor.says(200, answer(picture()), headers=JSON)

    await house.submit(request(model="ratio-model", aspect_ratio="4:3", negative_prompt="blur"))

    (sent,) = vendor.requests
    assert sent.json == {
        "model": "ratio-model",
        "prompt": PROMPT,
        "n": 1,
        "ratio": "4:3",
        "negative_prompt": "blur",
    }


# Pictures


async def test_bytes_count_more_than_an_empty_url_beside_them(vendor: Vendor, house: OpenAIProvider) -> None:
    body = {"created": 1, "data": [{"b64_json": b64(), "url": ""}]}
    vendor.says(200, body, headers={"content-type": "text/plain"})

    result = await house.submit(request(model="house-diffusion"))

    assert result == ImageResult(
        data=PNG, claimed_mime="image/jpeg", cost=Cost(0, CostBasis.TABLE, "settings"), usage={}
    )


async def test_odd_fields_beside_a_picture_do_not_lose_it(vendor: Vendor, house: OpenAIProvider) -> None:
    odd = {
        "created": "now",
        "size": 512,
        "output_format": None,
        "model": ["house-diffusion"],
        "usage": {"input_tokens": "many", "input_tokens_details": "x", "output_tokens": None},
    }
    vendor.says(200, answer(picture()) | odd, headers=JSON)

    result = await house.submit(request(model="house-diffusion", aspect_ratio="1:1"))

    assert isinstance(result, ImageResult)
    assert (result.data, result.claimed_mime) == (PNG, "image/jpeg")
    assert result.cost == Cost(0, CostBasis.TABLE, "settings")


@pytest.mark.parametrize(
    "entry", [{"url": f"data:image/png;base64,{b64()}"}, {"b64_json": f"data:image/webp;base64,{b64()}", "url": "x"}]
)
async def test_a_data_uri_is_the_picture_itself(vendor: Vendor, house: OpenAIProvider, entry: dict[str, str]) -> None:
    vendor.says(200, {"data": [entry]}, headers=JSON)

    result = await house.submit(request(model="house-diffusion"))

    assert isinstance(result, ImageResult)
    assert result.data == PNG


@pytest.mark.parametrize(
    ("written", "data"),
    [
        ("QUJD", b"ABC"),
        ("QUI=", b"AB"),
        ("QUI", b"AB"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("QUJD=", b"ABC"),
        ("QR==", b"A"),
        ("QUJD\r\nQUI=\r\n", b"ABCAB"),
        (" QUJD\n-_-_\nQUI", b"ABC\xfb\xff\xbfAB"),
        ("data:image/png;base64,QUJD\nQUI=\n", b"ABCAB"),
    ],
    ids=[
        "as it should be",
        "padded",
        "unpadded",
        "URL-safe",
        "padded too much",
        "with bits to spare",
        "in lines",
        "in lines, URL-safe and unpadded",
        "in lines behind what it is",
    ],
)
async def test_base64_is_read_however_it_is_written(
    vendor: Vendor, house: OpenAIProvider, written: str, data: bytes
) -> None:
    vendor.says(200, {"data": [{"b64_json": written}]}, headers=JSON)

    result = await house.submit(request(model="house-diffusion"))

    assert isinstance(result, ImageResult)
    assert result.data == data


async def test_a_picture_behind_a_url_is_fetched_once_and_without_the_key(vendor: Vendor) -> None:
    settings = replace(config(api_key=KEY, base_url=f"{vendor.url}/v1", models=MODELS), fetch=plain_fetch)
    provider = OpenAIProvider.from_config("house", settings)
    body = b'{"data": [{"url": "%s/files/1.jpg"}]}' % vendor.url.encode()
    serve(
        vendor,
        {
            "/v1/images/generations": (200, "application/json", body),
            "/files/1.jpg": (200, "image/jpeg", PNG),
        },
    )

    result = await provider.submit(request(model="unpriced"))
    await provider.aclose()

    assert result == ImageResult(data=PNG, claimed_mime="image/jpeg", cost=UNKNOWN_COST, usage={})
    asked, fetched = vendor.requests
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (fetched.method, fetched.path) == ("GET", "/files/1.jpg")
    assert "authorization" not in fetched.headers


async def test_a_picture_whose_server_stumbles_is_asked_for_again_and_bought_once(
    vendor: Vendor, house: OpenAIProvider
) -> None:
    house.fetch_pauses_seconds = (0.0, 0.0)
    body = b'{"data": [{"url": "%s/files/1.png"}]}' % vendor.url.encode()
    files = {"/v1/images/generations": (200, "application/json", body), "/files/1.png": (503, "text/plain", b"")}
    serve(vendor, files)
    stumble = vendor.answer
    assert stumble is not None

    async def recover(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(vendor.requests) == 4:
            files["/files/1.png"] = (200, "image/png", PNG)
        await stumble(reader, writer)

    vendor.answer = recover

    result = await house.submit(request(model="gpt-image-2"))

    assert isinstance(result, ImageResult)
    assert result.data == PNG
    assert [sent.method for sent in vendor.requests] == ["POST", "GET", "GET", "GET"]


@pytest.mark.parametrize(
    ("url", "kind", "what"),
    [
        ("/files/1.png", ErrorKind.INVALID_OUTPUT, "FetchRefused"),
        ("ftp://host/1.png?signature=canary", ErrorKind.INVALID_OUTPUT, "FetchRefused"),
        ("{here}/gone?signature=canary", ErrorKind.INVALID_OUTPUT, "FetchFailed"),
        ("{here}/busy?signature=canary", ErrorKind.TEMPORARY, "FetchFailed"),
    ],
)
async def test_a_picture_that_cannot_be_fetched_was_paid_for(
    vendor: Vendor, house: OpenAIProvider, url: str, kind: ErrorKind, what: str
) -> None:
    house.fetch_pauses_seconds = (0.0,)
    body = b'{"data": [{"url": "%s"}]}' % url.format(here=vendor.url).encode()
    serve(
        vendor,
        {
            "/v1/images/generations": (200, "application/json", body),
            "/gone?signature=canary": (404, "text/plain", b""),
            "/busy?signature=canary": (503, "text/plain", b""),
        },
    )

    failure = await failure_of(house, request(model="gpt-image-2"))

    assert (failure.kind, failure.billed, failure.code) == (kind, Billed.YES, "PICTURE_NOT_FETCHED")
    assert failure.cost == Cost(70_000, CostBasis.TABLE, "settings")
    assert failure.message == f"the picture was not fetched: {what}"
    assert sum(sent.method == "POST" for sent in vendor.requests) == 1


async def test_a_picture_that_does_not_come_is_given_up_before_the_call_is_so_that_its_cost_is_told(
    vendor: Vendor,
) -> None:
    allowed_seconds: list[float] = []

    async def silent(url: str, *, max_bytes: int, timeout_seconds: float) -> Fetched:
        allowed_seconds.append(timeout_seconds)
        raise FetchFailed("no answer", is_final=False)

    settings = replace(config(base_url=f"{vendor.url}/v1", models=MODELS), fetch=silent)
    provider = OpenAIProvider.from_config("house", settings)
    provider.fetch_pauses_seconds = (0.0, 3600.0)
    vendor.says(200, answer({"url": "https://files.example/1.png"}), headers=JSON)

    async with asyncio.timeout(30):
        failure = await failure_of(provider, request(model="gpt-image-2", timeout_seconds=600.0))
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.YES, "PICTURE_NOT_FETCHED")
    assert failure.cost == Cost(70_000, CostBasis.TABLE, "settings")
    assert len(allowed_seconds) == 2, "the next pause would outlast the call"
    assert max(allowed_seconds) < 60, "the call's deadline counts, of which some is left"


# Prices


@pytest.mark.parametrize(
    ("model", "usage", "cost"),
    [
        ("house-diffusion", None, Cost(0, CostBasis.TABLE, "settings")),
        ("ratio-model", None, Cost(20_000, CostBasis.TABLE, "settings")),
        ("unpriced", USAGE, UNKNOWN_COST),
        ("unpriced", None, UNKNOWN_COST),
        ("gpt-image-2", USAGE, Cost(70_000, CostBasis.TABLE, "settings")),
    ],
    ids=["free", "by the pixels", "counted, unpriced", "unpriced", "a vendor's name, the operator's price"],
)
async def test_only_the_operators_prices_count_for_his_models(
    vendor: Vendor, house: OpenAIProvider, model: str, usage: Any, cost: Cost
) -> None:
    vendor.says(200, answer(picture(), usage=usage), headers=JSON)

    result = await house.submit(request(model=model))

    assert result.cost == cost


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("house-diffusion", Cost(0, CostBasis.ESTIMATE, "settings")),
        ("unpriced", UNKNOWN_COST),
        ("gpt-image-2", Cost(70_000, CostBasis.ESTIMATE, "settings")),
        ("gpt-image-1-mini", Cost(53_920 + 2 * len(PROMPT), CostBasis.ESTIMATE, "safelight openai 2026-11")),
    ],
)
async def test_an_estimate_is_what_the_operator_says_or_unknown(house: OpenAIProvider, model: str, cost: Cost) -> None:
    assert house.estimate(request(model=model)) == cost


# Failures


async def test_an_answer_does_not_lose_the_word_that_stands_for_no_key(vendor: Vendor, house: OpenAIProvider) -> None:
    vendor.says(400, {"detail": "there is none of that"})

    failure = await failure_of(house, request(model="unpriced"))

    assert failure.message == "there is none of that"


async def test_no_message_repeats_the_negative_prompt(vendor: Vendor, house: OpenAIProvider) -> None:
    unwanted = "blurred hands, a watermark of Ada Vane"
    asked = request(model="house-diffusion", negative_prompt=unwanted)
    vendor.says(400, {"detail": f"cannot avoid '{unwanted}' in '{PROMPT}'"})

    failure = await failure_of(house, asked)

    assert failure.message == "cannot avoid '[prompt]' in '[prompt]'"
    vendor.says(400, error("moderation_blocked", message=f"'{unwanted}' is not allowed"))
    refusal = await house.submit(asked)
    assert isinstance(refusal, Refusal)
    assert refusal.message == "'[prompt]' is not allowed"


async def test_a_moderated_prompt_may_come_as_no_picture_at_all(vendor: Vendor, house: OpenAIProvider) -> None:
    vendor.says(200, {"created": 1, "data": [], "usage": INPUT_USAGE}, headers=JSON)

    refusal = await house.submit(request(model="unpriced"))

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == ("EMPTY_DATA", Billed.YES, UNKNOWN_COST)


# Settings


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({}, "`timeout_seconds` is missing"),
        ({"timeout_seconds": 60, "aspect_ratios": ["4:3"]}, "every aspect ratio needs its size"),
        ({"timeout_seconds": 60, "fields": {"body": {"n": 4}}}, "`fields.body` must be a table without"),
        ({"timeout_seconds": 60, "fields": {"body": "steps=4"}}, "`fields.body` must be a table without"),
        ({"timeout_seconds": 60, "image_usd": "cheap"}, "`image_usd` is no amount"),
    ],
)
def test_a_model_that_is_described_wrongly_is_refused_at_the_start(entry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidConfiguration, match=complaint) as caught:
        OpenAIProvider.from_config("house", config(base_url="http://127.0.0.1:8000/v1", models={"mine": entry}))
    assert "`house`" in str(caught.value)
    assert "`mine`" in str(caught.value)
