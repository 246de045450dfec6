"""Errors, refusals and answers that are none, as OpenAI's official client meets them at the sandbox."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx2
import openai
import pytest
from openai_pictures import Client, decoded, pictures, reference
from PIL import UnidentifiedImageError

from safelight.sandbox.server import RunningSandbox

MEGABYTE = 1_000_000


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


async def test_a_hanging_call_times_out(client: Client) -> None:
    with pytest.raises(openai.APITimeoutError):
        await client("hang", timeout=0.2).images.generate(model="gpt-image-2", prompt="a pier")


async def test_a_scenario_in_the_path_applies_to_every_call_on_it(client: Client, sandbox: RunningSandbox) -> None:
    limited = client("slow=0/500,x1")
    with pytest.raises(openai.InternalServerError):
        await limited.images.generate(model="gpt-image-2", prompt="a pier")
    assert pictures(await limited.images.generate(model="gpt-image-2", prompt="a pier"))
    with pytest.raises(openai.InternalServerError):
        await client("500,x1").images.edit(model="gpt-image-2", prompt="a pier", image=reference())
    assert (await client("500,x1").models.list()).data

    assert sandbox.vendor.bill.charged_calls == 1
