"""What the vendor's official client, unchanged, makes of the sandbox's wire."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from PIL import Image, UnidentifiedImageError

from safelight.sandbox.models import RATIO_PX
from safelight.sandbox.server import RunningSandbox

Ask = Callable[..., Coroutine[Any, Any, types.GenerateContentResponse]]


def candidate(response: types.GenerateContentResponse) -> types.Candidate:
    assert response.candidates is not None
    (only,) = response.candidates
    return only


def parts(response: types.GenerateContentResponse) -> list[types.Part]:
    content = candidate(response).content
    return (content.parts or []) if content else []


def picture(part: types.Part) -> bytes:
    assert part.inline_data is not None
    assert part.inline_data.mime_type == "image/png"
    assert part.inline_data.data is not None
    return part.inline_data.data


def details(error: errors.APIError) -> dict[str, Any]:
    """The entries of a Google error by their type's last word."""
    body: dict[str, Any] = error.details  # pyright: ignore[reportAssignmentType] - typed as a list, is the body
    return {each["@type"].rpartition(".")[2]: each for each in body["error"]["details"]}


def decoded(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


async def test_a_prompt_gets_a_png_with_usage_and_an_id(ask: Ask) -> None:
    response = await ask("a lighthouse at dusk")

    (part,) = parts(response)
    image = decoded(picture(part))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (1024, 1024))
    assert candidate(response).finish_reason is types.FinishReason.STOP
    assert response.model_version == "gemini-3.1-flash-lite-image"
    assert response.response_id
    usage = response.usage_metadata
    assert usage is not None
    assert usage.prompt_token_count == 5
    assert usage.candidates_token_count is not None
    assert 1120 < usage.candidates_token_count < 1130
    assert usage.thoughts_token_count is not None
    assert usage.total_token_count == 5 + usage.candidates_token_count + usage.thoughts_token_count
    assert {each.modality: each.token_count for each in usage.candidates_tokens_details or []} == {
        types.MediaModality.TEXT: usage.candidates_token_count - 1120,
        types.MediaModality.IMAGE: 1120,
    }
    assert [each.modality for each in usage.prompt_tokens_details or []] == [types.MediaModality.TEXT]


async def test_every_response_has_its_own_id(ask: Ask) -> None:
    ids = [(await ask("a lighthouse")).response_id for _ in range(3)]

    assert len(set(ids)) == 3


@pytest.mark.slow
async def test_the_picture_has_the_asked_aspect_ratio(ask: Ask) -> None:
    for ratio, size_px in RATIO_PX.items():
        response = await ask(
            "a pier", model="gemini-3.1-flash-image", image_config=types.ImageConfig(aspect_ratio=ratio)
        )
        assert decoded(picture(parts(response)[0])).size == size_px


async def test_a_larger_size_is_larger_and_uses_more_tokens(ask: Ask) -> None:
    response = await ask(
        "a pier",
        model="gemini-3.1-flash-image",
        image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K"),
        seed=7,
    )

    assert decoded(picture(parts(response)[0])).size == (2688, 1536)
    usage = response.usage_metadata
    assert usage is not None
    assert types.ModalityTokenCount(modality=types.MediaModality.IMAGE, token_count=1680) in (
        usage.candidates_tokens_details or []
    )


async def test_a_reference_image_is_accepted_and_counted(ask: Ask) -> None:
    reference = types.Part.from_bytes(data=b"\x89PNG any bytes", mime_type="image/png")

    response = await ask(reference, "put it in snow")

    usage = response.usage_metadata
    assert usage is not None
    counted = {each.modality: each.token_count for each in usage.prompt_tokens_details or []}
    assert counted == {types.MediaModality.TEXT: 4, types.MediaModality.IMAGE: 258}


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("inline", [("inlineData", "mime_type"), ("inline_data", "mimeType")])
async def test_both_versions_and_both_spellings_are_served(
    http: httpx2.AsyncClient, version: str, inline: tuple[str, str]
) -> None:
    outer, inner = inline
    body = {"contents": [{"parts": [{outer: {"data": "aGk=", inner: "image/png"}}, {"text": "a fox"}]}]}

    response = await http.post(
        f"/gemini/{version}/models/gemini-3-pro-image:generateContent",
        json=body,
        headers={"x-goog-api-key": "k"},
    )

    assert response.status_code == 200
    assert response.json()["usageMetadata"]["promptTokenCount"] == 2 + 258


async def test_a_draft_is_marked_as_a_thought(ask: Ask) -> None:
    draft, final = parts(await ask("a pier [[sandbox: thought]]"))

    assert (draft.thought, final.thought) == (True, None)
    assert picture(draft) != picture(final)


async def test_a_bad_key_is_a_400_with_a_reason(ask: Ask) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await ask("a pier", key="bad-key")

    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert details(caught.value)["ErrorInfo"]["reason"] == "API_KEY_INVALID"


async def test_a_missing_key_is_a_400_too(http: httpx2.AsyncClient) -> None:
    response = await http.post("/gemini/v1/models/gemini-3-pro-image:generateContent", json={})

    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


async def test_an_unknown_model_is_a_404(ask: Ask) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await ask("a pier", model="gemini-1.0-pro")

    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "config",
    [
        {"image_config": types.ImageConfig(aspect_ratio="7:5")},
        {"image_config": types.ImageConfig(aspect_ratio="1:8"), "model": "gemini-3-pro-image"},
        {"image_config": types.ImageConfig(image_size="2K")},
        {"candidate_count": 2},
        {"seed": 2**31},
    ],
    ids=["no such ratio", "not this model's ratio", "lite is 1K only", "two candidates", "seed over int32"],
)
async def test_an_option_the_model_lacks_is_a_400(ask: Ask, config: dict[str, object]) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await ask("a pier", **config)

    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"contents": [{"parts": [{"text": " "}]}]}',
        b'{"contents": [{"parts": "a fox"}]}',
        b'{"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"negativePrompt": "blur"}}',
        b'{"contents": [{"parts": [{"text": "a"}, {"inlineData": {"data": "?", "mimeType": "image/png"}}]}]}',
        b'{"contents": [{"parts": [{"text": "a"}, {"inlineData": {"data": "", "mimeType": "text/html"}}]}]}',
        b'{"contents": [{"parts": [{"text": "a"}, {"inlineData": {"data": 7, "mimeType": "image/png"}}]}]}',
        b'{"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"responseModalities": ["TEXT"]}}',
        b'{"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"responseModalities": true}}',
        b'{"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"imageConfig": {"aspectRatio": ["16:9"]}}}',
        b'{"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"imageConfig": {"imageSize": {}}}}',
    ],
)
async def test_a_malformed_request_is_a_400_and_on_the_bill(
    http: httpx2.AsyncClient, sandbox: RunningSandbox, body: bytes
) -> None:
    response = await http.post(
        "/gemini/v1/models/gemini-3-pro-image:generateContent", content=body, headers={"x-goog-api-key": "k"}
    )

    assert response.status_code == 400
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert [call["outcome"] for call in sandbox.vendor.bill.calls] == ["rejected INVALID_ARGUMENT"]


@pytest.mark.parametrize("script", ["explode", "429 soon", "slow", "refuse image_safety", "500 x0", ""])
async def test_a_misspelt_directive_is_a_400(ask: Ask, script: str) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await ask(f"a pier [[sandbox: {script}]]")

    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


async def test_an_unknown_scenario_in_the_path_is_a_400(ask: Ask) -> None:
    with pytest.raises(errors.ClientError, match="explode"):
        await ask("a pier", scenario="explode")


@pytest.mark.parametrize(
    ("script", "delay", "period"),
    [("429 37", "37s", "PerMinute"), ("429 0.5", "0.5s", "PerMinute"), ("429-per-day", "3600s", "PerDay")],
)
async def test_a_rate_limit_names_its_delay_and_quota(ask: Ask, script: str, delay: str, period: str) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await ask(f"a pier [[sandbox: {script}]]")

    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    found = details(caught.value)
    assert found["RetryInfo"]["retryDelay"] == delay
    assert period in found["QuotaFailure"]["violations"][0]["quotaId"]


@pytest.mark.parametrize(
    ("script", "status"), [("500", "INTERNAL"), ("503", "UNAVAILABLE"), ("504", "DEADLINE_EXCEEDED")]
)
async def test_a_server_error_keeps_its_status_word(ask: Ask, script: str, status: str) -> None:
    with pytest.raises(errors.ServerError) as caught:
        await ask(f"a pier [[sandbox: {script}]]")

    assert (caught.value.code, caught.value.status) == (int(script), status)


async def test_a_bad_gateway_is_a_page(ask: Ask) -> None:
    with pytest.raises(errors.ServerError) as caught:
        await ask("a pier [[sandbox: 502]]")

    assert (caught.value.code, caught.value.status) == (502, "Bad Gateway")
    assert "<html>" in str(caught.value.message)


async def test_a_page_with_status_200_does_not_parse(ask: Ask) -> None:
    with pytest.raises(json.JSONDecodeError):
        await ask("a pier [[sandbox: html]]")


@pytest.mark.parametrize("script", ["cut", "hang 0"])
async def test_a_cut_connection_brings_no_byte(ask: Ask, script: str) -> None:
    with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
        await ask(f"a pier [[sandbox: {script}]]")


async def test_a_hanging_call_times_out(ask: Ask) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        await ask("a pier [[sandbox: hang]]", timeout_ms=200)


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "JAILBREAK"])
async def test_a_refused_prompt_has_a_block_reason_and_nothing_else(ask: Ask, reason: str) -> None:
    response = await ask(f"a pier [[sandbox: refuse-prompt {reason}]]")

    assert response.prompt_feedback is not None
    assert response.prompt_feedback.block_reason == reason
    assert response.candidates is None
    assert response.usage_metadata is None


@pytest.mark.parametrize(
    "reason", ["IMAGE_SAFETY", "PROHIBITED_CONTENT", "RECITATION", "IMAGE_PROHIBITED_CONTENT", "SPII"]
)
async def test_a_refused_picture_has_a_finish_reason_and_input_usage(ask: Ask, reason: str) -> None:
    response = await ask(f"a pier [[sandbox: refuse {reason}]]")

    assert candidate(response).finish_reason == reason
    assert parts(response) == []
    usage = response.usage_metadata
    assert usage is not None
    assert usage.prompt_token_count == usage.total_token_count
    assert usage.candidates_token_count is None


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason")
async def test_a_reason_the_client_has_never_heard_of_still_parses(ask: Ask) -> None:
    response = await ask("a pier [[sandbox: refuse BRAND_NEW_REASON]]")

    reason = candidate(response).finish_reason
    assert reason is not None
    assert reason.value == "BRAND_NEW_REASON"


async def test_no_image_comes_with_text_usage(ask: Ask) -> None:
    response = await ask("a pier [[sandbox: no-image]]")

    assert candidate(response).finish_reason is types.FinishReason.NO_IMAGE
    assert parts(response) == []
    usage = response.usage_metadata
    assert usage is not None
    assert [each.modality for each in usage.candidates_tokens_details or []] == [types.MediaModality.TEXT]


async def test_words_instead_of_a_picture_finish_normally(ask: Ask) -> None:
    response = await ask("a pier [[sandbox: text-only]]")

    assert candidate(response).finish_reason is types.FinishReason.STOP
    assert response.text
    assert all(part.inline_data is None for part in parts(response))


async def test_an_empty_answer_is_no_error_to_the_client(ask: Ask) -> None:
    response = await ask("a pier [[sandbox: empty]]")

    assert (response.candidates, response.prompt_feedback, response.usage_metadata) == (None, None, None)


async def test_an_error_stored_as_a_picture_does_not_open(ask: Ask) -> None:
    data = picture(parts(await ask("a pier [[sandbox: not-an-image]]"))[0])

    assert "error" in json.loads(data)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))


async def test_a_truncated_picture_opens_but_does_not_decode(ask: Ask) -> None:
    data = picture(parts(await ask("a pier [[sandbox: truncated]]"))[0])

    image = Image.open(io.BytesIO(data))
    assert image.size == (1024, 1024)
    with pytest.raises(OSError, match="truncated"):
        image.load()


async def test_a_count_limits_a_fault_to_the_first_calls_with_that_prompt(ask: Ask) -> None:
    prompt = "a pier [[sandbox: 500 x2]] [[sandbox: 503 x1]]"
    codes = []
    for _ in range(3):
        with pytest.raises(errors.ServerError) as caught:
            await ask(prompt)
        codes.append(caught.value.code)

    assert codes == [500, 500, 503]
    assert parts(await ask(prompt))
    with pytest.raises(errors.ServerError):
        await ask(prompt + " by night")


async def test_a_scenario_in_the_path_applies_to_every_call_on_it(ask: Ask, sandbox: RunningSandbox) -> None:
    with pytest.raises(errors.ClientError, match="retry in 9s"):
        await ask("a pier", scenario="429=9")
    with pytest.raises(errors.ServerError):
        await ask("a pier", scenario="slow=0/500,x1")

    assert parts(await ask("a pier", scenario="slow=0/500,x1"))
    assert parts(await ask("a pier"))
    assert sandbox.vendor.bill.charged_calls == 2


async def test_the_client_sends_each_request_once(ask: Ask, http: httpx2.AsyncClient) -> None:
    for script in ("500", "503", "429", "cut"):
        with pytest.raises((errors.APIError, httpx2.RemoteProtocolError)):
            await ask(f"a pier [[sandbox: {script}]]")

    assert len((await http.get("/requests")).json()["requests"]) == 4


async def test_the_models_are_listed_for_a_good_key_alone(sandbox: RunningSandbox) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def listed(key: str) -> list[str | None]:
            options = types.HttpOptions(base_url=sandbox.gemini_url(), timeout=30_000, httpx_async_client=http)
            client = genai.Client(enterprise=False, api_key=key, http_options=options)
            return [model.name async for model in await client.aio.models.list()]

        assert "models/gemini-3.1-flash-image" in await listed("test-key")
        with pytest.raises(errors.ClientError) as caught:
            await listed("bad-key")
    assert caught.value.code == 400
    assert details(caught.value)["ErrorInfo"]["reason"] == "API_KEY_INVALID"
