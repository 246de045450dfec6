"""What OpenAI's official client, unchanged, makes of the sandbox's wire."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from decimal import ROUND_CEILING
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from genai_prices import extract_usage
from openai.types import ImagesResponse
from PIL import Image, UnidentifiedImageError

from safelight.sandbox.faults import CHARGES_PICTURE, FREE, Fault
from safelight.sandbox.openai import FAULTS
from safelight.sandbox.openai_models import MODELS
from safelight.sandbox.server import RunningSandbox

Client = Callable[..., openai.AsyncOpenAI]

UNPRICED = {"gpt-image-2.6-sunburst", "gpt-image-2.6-flare"}  # not in genai-prices yet; they cost what 2.5 does
MEGABYTE = 1_000_000


@pytest.fixture
async def client(sandbox: RunningSandbox) -> AsyncIterator[Client]:
    """The vendor's official client, told to send each request once."""
    async with httpx2.AsyncClient(trust_env=False) as http_client:

        def client(scenario: str = "", *, key: str = "sk-test", timeout: float = 30) -> openai.AsyncOpenAI:
            return openai.AsyncOpenAI(
                api_key=key,
                base_url=sandbox.url("openai", scenario),
                max_retries=0,
                timeout=timeout,
                http_client=http_client,
            )

        yield client


def pictures(response: ImagesResponse) -> list[bytes]:
    assert response.data is not None
    assert all(entry.b64_json is not None for entry in response.data)
    return [base64.b64decode(entry.b64_json or "") for entry in response.data]


def decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def as_file(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def reference(side_px: int = 64, form: str = "PNG") -> bytes:
    return as_file(Image.new("RGB", (side_px, side_px), "navy"), form)


def mask(side_px: int = 64) -> bytes:
    return as_file(Image.new("RGBA", (side_px, side_px), (0, 0, 0, 0)))


def independent_price_microusd(response: ImagesResponse, model: str) -> int:
    answer = response.model_dump(mode="json", exclude_none=True) | {"model": model}
    price = extract_usage(answer, provider_id="openai", api_flavor="images").calc_price().total_price
    return int((price * 1_000_000).to_integral_value(rounding=ROUND_CEILING))


async def test_a_prompt_gets_a_png_with_usage_and_an_id(client: Client) -> None:
    response = await client().images.generate(model="gpt-image-2", prompt="a lighthouse at dusk")

    [png] = pictures(response)
    image = decoded(png)
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (1024, 1024))
    assert (response.size, response.quality, response.background, response.output_format) == (
        "1024x1024", "medium", "opaque", "png",
    )  # fmt: skip
    assert response.usage is not None
    assert response.usage.output_tokens_details is not None
    details = response.usage.output_tokens_details
    assert (response.usage.input_tokens, details.image_tokens) == (5, 1056)
    assert response.usage.output_tokens == 1056 + details.text_tokens
    assert response.usage.total_tokens == 5 + response.usage.output_tokens
    assert response._request_id is not None
    assert abs(response.created - time.time()) < 60


@pytest.mark.parametrize(
    ("size", "quality", "tokens"),
    [
        ("1024x1024", "low", 272),
        ("1024x1024", "high", 4160),
        ("1536x1024", "medium", 1584),
        pytest.param("1024x1536", "high", 6240, marks=pytest.mark.slow),
        pytest.param("2048x1152", "low", 612, marks=pytest.mark.slow),
        pytest.param("1536x512", "low", 204, marks=pytest.mark.slow),
        pytest.param("2160x3840", "low", 2152, marks=pytest.mark.slow),
    ],
)
async def test_the_picture_has_the_asked_size_and_its_tokens(
    client: Client, size: str, quality: Any, tokens: int
) -> None:
    response = await client().images.generate(model="gpt-image-2", prompt="a pier", size=size, quality=quality)

    assert decoded(pictures(response)[0]).size == tuple(int(side) for side in size.split("x"))
    assert (response.size, response.quality) == (size, quality)
    assert response.usage is not None
    assert response.usage.output_tokens_details is not None
    assert response.usage.output_tokens_details.image_tokens == tokens


@pytest.mark.parametrize(("form", "name"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_the_picture_has_the_asked_format(client: Client, form: Any, name: str) -> None:
    response = await client().images.generate(model="gpt-image-1-mini", prompt="a pier", output_format=form)

    assert decoded(pictures(response)[0]).format == name
    assert response.output_format == form


@pytest.mark.parametrize("form", ["png", "webp"])
async def test_a_transparent_background_can_be_seen_through(client: Client, form: Any) -> None:
    response = await client().images.generate(
        model="gpt-image-2.5-flare", prompt="a pier", background="transparent", output_format=form
    )

    image = decoded(pictures(response)[0])
    assert response.background == "transparent"
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0))[3] == 0  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]


async def test_a_lower_compression_makes_a_smaller_file(client: Client) -> None:
    sizes = [
        len(
            pictures(
                await client().images.generate(
                    model="gpt-image-2", prompt="a pier", output_format="jpeg", output_compression=percent
                )
            )[0]
        )
        for percent in (20, 90)
    ]

    assert sizes[0] < sizes[1] / 2


@pytest.mark.parametrize("model", sorted(MODELS))
async def test_every_model_draws(client: Client, model: str) -> None:
    assert len(pictures(await client().images.generate(model=model, prompt="a pier"))) == 1


async def test_the_models_are_listed(client: Client) -> None:
    listed = await client().models.list()

    assert {model.id for model in listed.data} == set(MODELS)
    assert (await client().models.retrieve("gpt-image-2")).id == "gpt-image-2"
    with pytest.raises(openai.NotFoundError):
        await client().models.retrieve("dall-e-3")


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


async def test_two_references_and_a_mask_are_accepted_and_counted(client: Client) -> None:
    response = await client().images.edit(
        model="gpt-image-2",
        prompt="put it in snow",
        image=[("a.png", reference(), "image/png"), ("b.jpg", reference(form="JPEG"), "image/jpeg")],
        mask=("m.png", mask(), "image/png"),
        size="1536x1024",
        n=2,
        output_format="webp",
    )

    assert [(decoded(each).format, decoded(each).size) for each in pictures(response)] == [("WEBP", (1536, 1024))] * 2
    assert response.usage is not None
    assert response.usage.input_tokens_details.text_tokens == 4
    assert response.usage.input_tokens_details.image_tokens == 2 * 323


async def test_a_single_reference_is_a_part_of_another_name(client: Client) -> None:
    response = await client().images.edit(
        model="gpt-image-1.5", prompt="snow", image=reference(), input_fidelity="high"
    )

    assert response.usage is not None
    assert response.usage.input_tokens_details.image_tokens == 323


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"image": [reference()] * 17}, "image"),
        ({"image": b"no picture"}, "image"),
        ({"image": [reference(), as_file(Image.new("P", (8, 8)), "GIF")]}, "image"),
        ({"mask": mask(32)}, "mask"),
        ({"mask": reference()}, "mask"),
        ({"mask": reference(form="JPEG")}, "mask"),
        ({"input_fidelity": "high"}, "input_fidelity"),
        ({"n": 11}, "n"),
        ({"extra_body": {"seed": 7}}, "seed"),
    ],
    ids=[
        "17 images", "no image", "a GIF", "mask of another size", "mask without alpha", "JPEG mask", "fidelity of 2",
        "n", "seed",
    ],
)  # fmt: skip
async def test_an_edit_that_makes_no_sense_is_a_400_with_its_param(
    client: Client, sandbox: RunningSandbox, wrong: dict[str, Any], param: str
) -> None:
    options: dict[str, Any] = {"model": "gpt-image-2", "prompt": "snow", "image": reference()} | wrong
    with pytest.raises(openai.BadRequestError) as caught:
        await client().images.edit(**options)

    assert caught.value.param == param
    assert sandbox.vendor.bill.charged_calls == 0


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"size": "1000x1000"}, "invalid_value", "size"),
        ({"size": "2048x512"}, "invalid_value", "size"),
        ({"size": "3856x2160"}, "invalid_value", "size"),
        ({"size": "3840x2176"}, "invalid_value", "size"),
        ({"size": "512x512"}, "invalid_value", "size"),
        ({"size": "large"}, "invalid_value", "size"),
        ({"size": "1536x864", "model": "gpt-image-1.5"}, "invalid_value", "size"),
        ({"quality": "xhigh"}, "invalid_value", "quality"),
        ({"quality": "hd"}, "invalid_value", "quality"),
        ({"background": "blue"}, "invalid_value", "background"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
        ({"output_format": "gif"}, "invalid_value", "output_format"),
        ({"output_compression": 50}, "invalid_value", "output_compression"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": 11}, "integer_above_max_value", "n"),
        ({"n": "2"}, "invalid_type", "n"),
        ({"prompt": ""}, "missing_required_parameter", "prompt"),
        ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
        ({"model": openai.omit}, "missing_required_parameter", "model"),
        ({"complexity": "low"}, "unknown_parameter", "complexity"),
        ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        ({"style": "vivid"}, "unknown_parameter", "style"),
        ({"extra_body": {"seed": 7}}, "unknown_parameter", "seed"),
        ({"extra_body": {"negative_prompt": "blur"}}, "unknown_parameter", "negative_prompt"),
    ],
)
async def test_an_option_the_model_lacks_is_a_400_with_its_param(
    client: Client, sandbox: RunningSandbox, wrong: dict[str, Any], code: str, param: str
) -> None:
    options: dict[str, Any] = {"model": "gpt-image-2", "prompt": "a pier"} | wrong
    with pytest.raises(openai.BadRequestError) as caught:
        await client().images.generate(**options)

    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    [line] = sandbox.vendor.bill.calls
    assert (line["outcome"], line["cost_microusd"]) == (f"rejected {code}", 0)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"model": "gpt-image-2", "prompt": 3}', "application/json"),
        (b'{"model": "gpt-image-2", "prompt": "a", "stream": true}', "application/json"),
    ],
)
async def test_a_malformed_generation_is_a_400(http: httpx2.AsyncClient, content: bytes, media_type: str) -> None:
    headers = {"authorization": "Bearer k", "content-type": media_type}
    response = await http.post("/openai/v1/images/generations", content=content, headers=headers)

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"{}", "application/json"),
        (b"--a\r\n", "multipart/form-data"),
        (b"--b\r\n\r\n--b--\r\n", "multipart/form-data; boundary=a"),
        (b"--a\r\ncontent-disposition: form-data\r\n\r\nx\r\n--a--\r\n", "multipart/form-data; boundary=a"),
        (b'--a\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nx\r\n', "multipart/form-data; boundary=a"),
        (b'--a\r\ncontent-disposition: form-data; name="p"\r\n\r\nx\r\n--a--\r\n', "multipart/form-data; boundary=a"),
    ],
    ids=["JSON", "no boundary", "another boundary", "no name", "no end", "no model"],
)
async def test_a_malformed_edit_is_a_400(http: httpx2.AsyncClient, content: bytes, media_type: str) -> None:
    headers = {"authorization": "Bearer k", "content-type": media_type}
    response = await http.post("/openai/v1/images/edits", content=content, headers=headers)

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_an_unknown_model_is_a_404(client: Client) -> None:
    for model in ("dall-e-3", "gpt-image-1"):
        with pytest.raises(openai.NotFoundError) as caught:
            await client().images.generate(model=model, prompt="a pier")

        assert caught.value.code == "model_not_found"


async def test_a_bad_key_is_a_401(client: Client, sandbox: RunningSandbox) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await client(key="bad-key").images.generate(model="gpt-image-2", prompt="a pier")
    with pytest.raises(openai.AuthenticationError):
        await client(key="bad-key").models.list()

    assert caught.value.code == "invalid_api_key"
    [line] = sandbox.vendor.bill.calls
    assert (line["outcome"], line["cost_microusd"]) == ("rejected invalid_api_key", 0)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Key sk-test"}, {"x-goog-api-key": "sk-test"}])
async def test_a_key_that_is_not_a_bearer_is_none(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    response = await http.post(
        "/openai/v1/images/generations", json={"model": "gpt-image-2", "prompt": "a pier"}, headers=headers
    )

    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("script", "raised", "status", "code", "type_"),
    [
        ("refuse", openai.BadRequestError, 400, "moderation_blocked", "image_generation_user_error"),
        (
            "refuse CONTENT_POLICY_VIOLATION",
            openai.BadRequestError,
            400,
            "content_policy_violation",
            "invalid_request_error",
        ),
        ("bad-key", openai.AuthenticationError, 401, "invalid_api_key", "invalid_request_error"),
        ("forbidden", openai.PermissionDeniedError, 403, None, "invalid_request_error"),
        ("no-credit", openai.RateLimitError, 429, "insufficient_quota", "insufficient_quota"),
        ("billing-limit", openai.BadRequestError, 400, "billing_hard_limit_reached", "billing_limit_user_error"),
        ("model-gone", openai.NotFoundError, 404, "model_not_found", "invalid_request_error"),
        ("429", openai.RateLimitError, 429, "rate_limit_exceeded", "images"),
        ("408", openai.APIStatusError, 408, None, "timeout"),
        ("409", openai.ConflictError, 409, "conflict", "invalid_request_error"),
        ("500", openai.InternalServerError, 500, "server_error", "server_error"),
        ("502", openai.InternalServerError, 502, None, None),
        ("503", openai.InternalServerError, 503, None, "server_error"),
        ("504", openai.InternalServerError, 504, None, "server_error"),
        ("error-text", openai.InternalServerError, 500, None, None),
        ("error-text 400", openai.BadRequestError, 400, None, None),
        ("error-detail", openai.UnprocessableEntityError, 422, None, None),
        ("explode", openai.BadRequestError, 400, "invalid_value", "invalid_request_error"),
        ("refuse-prompt", openai.BadRequestError, 400, "invalid_value", "invalid_request_error"),
    ],
)
async def test_an_error_is_the_exception_the_client_has_for_it_and_is_free(
    client: Client,
    sandbox: RunningSandbox,
    script: str,
    raised: type[openai.APIStatusError],
    status: int,
    code: str | None,
    type_: str | None,
) -> None:
    with pytest.raises(raised) as caught:
        await client().images.generate(model="gpt-image-2", prompt=f"a pier [[sandbox: {script}]]")

    assert (caught.value.status_code, caught.value.code, caught.value.type) == (status, code, type_)
    [line] = sandbox.vendor.bill.calls
    assert line["cost_microusd"] == 0
    assert len(sandbox.vendor.calls) == 1


async def test_the_verification_of_an_organization_is_asked_for_in_words(client: Client) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="organization must be verified"):
        await client("forbidden").images.generate(model="gpt-image-2", prompt="a pier")


@pytest.mark.parametrize(
    ("script", "header", "value"),
    [("429 7", "retry-after", "7"), ("429-ms 0.25", "retry-after-ms", "250"), ("429-ms 7", "retry-after-ms", "7000")],
)
async def test_a_rate_limit_says_how_long(client: Client, script: str, header: str, value: str) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        await client().images.generate(model="gpt-image-2", prompt=f"a pier [[sandbox: {script}]]")

    assert caught.value.response.headers[header] == value


async def test_a_rate_limit_may_say_until_when(client: Client) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        await client("429-date=90").images.generate(model="gpt-image-2", prompt="a pier")

    moment = parsedate_to_datetime(caught.value.response.headers["retry-after"])
    assert 80 < moment.timestamp() - time.time() <= 91


async def test_an_empty_list_of_pictures_is_a_success_without_usage(client: Client, sandbox: RunningSandbox) -> None:
    response = await client("no-pictures").images.generate(model="gpt-image-2", prompt="a pier")

    assert (response.data, response.usage) == ([], None)
    assert sandbox.vendor.bill.total_microusd == 0


async def test_an_empty_answer_is_no_error_to_the_client(client: Client) -> None:
    assert (await client("empty").images.generate(model="gpt-image-2", prompt="a pier")).data is None


async def test_a_page_with_status_200_is_a_mere_text_to_the_client(client: Client) -> None:
    response = await client("html").images.generate(model="gpt-image-2", prompt="a pier")

    assert isinstance(response, str)


@pytest.mark.parametrize("script", ["as-url", "as-relative-url"])
async def test_a_picture_can_come_as_an_address(
    client: Client, http: httpx2.AsyncClient, sandbox: RunningSandbox, script: str
) -> None:
    response = await client(script).images.generate(model="gpt-image-2", prompt="a pier", output_format="webp", n=2)

    assert response.data is not None
    for entry in response.data:
        assert entry.b64_json is None
        assert entry.url is not None
        assert entry.url.startswith(sandbox.base_url if script == "as-url" else "/files/")
        served = await http.get(entry.url)
        assert served.headers["content-type"] == "image/webp"
        assert decoded(served.content).format == "WEBP"
    assert [fetch.status for fetch in sandbox.vendor.files.fetches] == [200, 200]


async def test_an_empty_address_can_stand_beside_the_picture(client: Client) -> None:
    response = await client("empty-url").images.generate(model="gpt-image-2", prompt="a pier")

    assert response.data is not None
    assert response.data[0].url == ""
    assert len(pictures(response)) == 1


async def test_usage_can_be_missing_and_so_can_its_split(client: Client, sandbox: RunningSandbox) -> None:
    without = await client("no-usage").images.generate(model="gpt-image-2", prompt="a pier")
    unsplit = await client("no-output-details").images.generate(model="gpt-image-2", prompt="a pier")

    assert without.usage is None
    assert unsplit.usage is not None
    assert unsplit.usage.output_tokens_details is None
    assert unsplit.usage.output_tokens > 1000
    first, second = sandbox.vendor.bill.calls
    assert first["cost_microusd"] == second["cost_microusd"] > 30_000


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("cut", httpx2.RemoteProtocolError),
        ("hang 0", httpx2.RemoteProtocolError),
        ("reset", httpx2.ReadError),
        ("short-body", httpx2.RemoteProtocolError),
        ("cut-chunk", httpx2.RemoteProtocolError),
    ],
)
async def test_an_answer_that_ends_early_is_a_connection_error(
    client: Client, script: str, cause: type[Exception]
) -> None:
    with pytest.raises(openai.APIConnectionError) as caught:
        await client().images.generate(model="gpt-image-2", prompt=f"a pier [[sandbox: {script}]]")

    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize("script", ["drip-headers 0.5", "drip-body 0.5"])
async def test_a_drip_outlives_no_timeout_per_read_that_is_shorter(
    client: Client, sandbox: RunningSandbox, script: str
) -> None:
    with pytest.raises(openai.APITimeoutError):
        await client(timeout=0.2).images.generate(
            model="gpt-image-1-mini", prompt=f"a pier [[sandbox: {script}]]", quality="low"
        )

    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.bill.charged_calls == 1, timeout_seconds=30)


async def test_garbage_and_half_pictures_do_not_decode(client: Client) -> None:
    images = client().images
    for script, error in (
        ("garbage", UnidentifiedImageError),
        ("no-bytes", UnidentifiedImageError),
        ("not-an-image", UnidentifiedImageError),
        ("truncated", OSError),
        ("half-jpeg", OSError),
    ):
        response = await images.generate(model="gpt-image-2", prompt=f"a pier [[sandbox: {script}]]")
        with pytest.raises(error):
            decoded(pictures(response)[0])


async def test_a_comment_bomb_is_in_a_png_whatever_was_asked_for(client: Client) -> None:
    response = await client("text-bomb=2").images.generate(model="gpt-image-2", prompt="a pier", output_format="jpeg")

    assert b"zTXt" in pictures(response)[0]


async def test_an_answer_can_be_larger_than_any_reader_should_take(sandbox: RunningSandbox) -> None:
    body = {"model": "gpt-image-2", "prompt": "a pier"}
    url = f"{sandbox.url('openai', 'padded=70')}/images/generations"
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=30) as http,
        http.stream("POST", url, json=body, headers={"authorization": "Bearer k"}) as response,
    ):
        assert response.status_code == 200
        assert sum([len(chunk) async for chunk in response.aiter_bytes()]) > 67 * MEGABYTE


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


async def test_a_hanging_call_times_out(client: Client) -> None:
    with pytest.raises(openai.APITimeoutError):
        await client("hang", timeout=0.2).images.generate(model="gpt-image-2", prompt="a pier")


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


async def test_a_scenario_in_the_path_applies_to_every_call_on_it(client: Client, sandbox: RunningSandbox) -> None:
    limited = client("slow=0/500,x1")
    with pytest.raises(openai.InternalServerError):
        await limited.images.generate(model="gpt-image-2", prompt="a pier")
    assert pictures(await limited.images.generate(model="gpt-image-2", prompt="a pier"))
    with pytest.raises(openai.InternalServerError):
        await client("500,x1").images.edit(model="gpt-image-2", prompt="a pier", image=reference())
    assert (await client("500,x1").models.list()).data

    assert sandbox.vendor.bill.charged_calls == 1


async def test_a_client_with_its_retries_left_on_pays_again(sandbox: RunningSandbox) -> None:
    """Which is why requests are counted: nothing else shows it."""
    async with httpx2.AsyncClient(trust_env=False) as http_client:
        eager = openai.AsyncOpenAI(api_key="k", base_url=sandbox.url("openai"), http_client=http_client)
        await eager.images.generate(model="gpt-image-2", prompt="a pier [[sandbox: cut x1]]")

    assert len(sandbox.vendor.calls) == 2
    assert sandbox.vendor.bill.charged_calls == 2


def test_the_sandbox_shares_nothing_with_the_code_that_calls_vendors() -> None:
    for module in Path(__file__).parents[2].glob("src/safelight/sandbox/*.py"):
        imported = re.findall(r"(?:from|import) (safelight\.\w+)", module.read_text(encoding="utf-8"))
        assert set(imported) <= {"safelight.sandbox"}, module.name
