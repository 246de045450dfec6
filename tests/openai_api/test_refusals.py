"""What is wrong with a request, in OpenAI's own form: the client raises what it would raise there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from safelight.api.openai.failed import failed_answer
from safelight.domain.access import KeyScope
from safelight.engine.accounts.keys import create_key
from tests.openai_api.conftest import GEMINI, OPENAI, World, front_door

GOOD: dict[str, Any] = {"prompt": "A brass key", "model": OPENAI}
BAD: list[tuple[dict[str, Any], str | None, str]] = [
    ({"prompt": ""}, "prompt", "invalid_value"),
    ({"prompt": "x" * 32_001}, "prompt", "string_above_max_length"),
    ({"prompt": "a\x00b"}, "prompt", "invalid_text"),
    *[({"n": n}, "n", "invalid_value") for n in (0, -1, 11, 1.5, "1", True)],
    ({"size": "1000x100"}, "size", "invalid_size"),
    ({"size": "huge"}, "size", "invalid_size"),
    ({"model": f"gemini/{GEMINI}", "size": "1024x100"}, "size", "invalid_size"),
    ({"quality": "hd"}, "quality", "unsupported_parameter"),
    ({"output_format": "svg"}, "output_format", "invalid_value"),
    ({"output_compression": 50}, "output_compression", "unsupported_parameter"),
    ({"output_format": "webp", "output_compression": 101}, "output_compression", "invalid_value"),
    ({"background": "transparent"}, "background", "invalid_value"),
    ({"background": "opaque"}, "background", "unsupported_parameter"),
    ({"response_format": "gif"}, "response_format", "invalid_value"),
    ({"stream": True}, "stream", "invalid_value"),
    ({"partial_images": 2}, "partial_images", "invalid_value"),
    ({"partial_images": False}, "partial_images", "invalid_value"),
    ({"stream": 0}, "stream", "invalid_value"),
    ({"seed": 3}, "seed", "unsupported_parameter"),
    ({"frame_count": 3}, "frame_count", "unknown_parameter"),
    ({"promt": "A key"}, "promt", "unknown_parameter"),
    ({"user": "x" * 513}, "user", "invalid_value"),
]


async def test_everything_wrong_is_told_with_its_parameter_and_nothing_is_made(world: World, subtests: pytest.Subtests):
    client = world.client(max_retries=0, timeout=20)
    for fields, param, code in BAD:
        with subtests.test(str(fields)[:60]):
            with pytest.raises(openai.BadRequestError) as wrong:
                await client.post("/images/generations", body={**GOOD, **fields}, cast_to=object)
            assert (wrong.value.param, wrong.value.code) == (param, code), wrong.value
            assert wrong.value.type == "invalid_request_error"
    assert await world.pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_several_faults_are_told_at_once(world: World):
    with pytest.raises(openai.BadRequestError) as wrong:
        await world.client().post("/images/generations", body={**GOOD, "n": 0, "steps": 4}, cast_to=object)

    assert "'n':" in wrong.value.message
    assert "'steps':" in wrong.value.message


@pytest.mark.parametrize("model", ["gpt-image-9", "openai/gpt-image-9", "nobody/gpt-image-2", "dall-e-3", "a/b/c"])
async def test_a_model_that_is_not_here_is_not_found(world: World, model: str):
    client = world.client()
    with pytest.raises(openai.NotFoundError) as missing:
        await client.images.generate(prompt="A brass key", model=model)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve(model)


async def test_models_are_listed_under_every_name_that_they_answer_to(world: World):
    client = world.client()
    listed = {each.id: each for each in (await client.models.list()).data}

    assert {f"openai/{OPENAI}", OPENAI, f"gemini/{GEMINI}", "our-usual", "placeholder/placeholder-1"} <= listed.keys()
    assert "dall-e-3" not in listed
    for name in (f"openai/{OPENAI}", OPENAI, "our-usual"):
        found = await client.models.retrieve(name)
        assert (found.id, found.object, found.owned_by) == (name, "model", "openai")


async def test_what_the_framework_and_the_gate_refuse_has_the_same_form(world: World):
    async with httpx2.AsyncClient(base_url=world.address) as http:
        answers = {
            404: await http.get("/openai/v1/chat/completions"),
            405: await http.get("/openai/v1/images/generations"),
            415: await http.post("/openai/v1/images/generations", content=b"x"),
            400: await http.post(
                "/openai/v1/images/generations", content=b"{", headers={"Content-Type": "application/json"}
            ),
        }
        strange = await http.get("/openai/v1/models", headers={"Host": "evil.example"})
        other = await http.get("/nowhere")
    for status, answer in [*answers.items(), (400, strange)]:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"]
    assert answers[405].headers["allow"] == "POST"
    assert strange.json()["error"]["code"] == "bad_host"
    assert other.headers["content-type"] == "application/problem+json"


async def test_keys_are_safelights_own_and_two_accounts_share_nothing(world: World):
    both = {KeyScope.SUBMIT, KeyScope.READ}
    keys = [(await create_key(world.pool, account=account, scopes=both))[1] for account in ("one", "two")]
    _, reading = await create_key(world.pool, account="one", scopes={KeyScope.READ})

    with pytest.raises(openai.AuthenticationError) as unknown:
        await world.client().images.generate(**GOOD)
    assert unknown.value.code == "invalid_api_key"
    assert (await world.client(api_key=reading).models.list()).data
    with pytest.raises(openai.PermissionDeniedError):
        await world.client(api_key=reading).images.generate(**GOOD)

    hasty = world.settings.model_copy(update={"openai_wait_seconds": 1.0})
    async with front_door(hasty) as elsewhere:
        clients = [world.client(base_url=f"{elsewhere}/openai/v1", api_key=key, max_retries=0) for key in keys]
        waits = await asyncio.gather(*(each.images.generate(**GOOD) for each in clients), return_exceptions=True)
    assert [type(each) for each in waits] == [openai.InternalServerError] * 2
    assert {row["account"] for row in await world.pool.fetch("SELECT account FROM jobs")} == {"one", "two"}


async def test_an_account_that_cannot_pay_has_no_quota_and_is_not_asked_again(world: World):
    await world.pool.execute("UPDATE accounts SET billing = 'credits' WHERE id = 'default'")
    with pytest.raises(openai.RateLimitError) as broke:
        await world.client().images.generate(**GOOD)

    assert (broke.value.code, broke.value.type) == ("insufficient_quota", "insufficient_quota")
    assert broke.value.response.headers["x-should-retry"] == "false"
    assert await world.pool.fetchval("SELECT count(*) FROM jobs") == 0


FAILED = [
    ({"status": "refused", "error": {"code": "CONTENT_POLICY_VIOLATION"}}, 400, "content_policy_violation"),
    ({"status": "failed", "error": {"kind": "AUTH_ERROR", "message": "key sk-123 is bad"}}, 502, "provider_error"),
    ({"status": "failed", "error": {"kind": "RATE_LIMIT"}}, 429, "rate_limit_exceeded"),
    ({"status": "failed", "error": {"kind": "DEADLINE"}}, 503, "deadline_exceeded"),
    ({"status": "failed", "error": {"kind": "BUDGET"}}, 429, "insufficient_quota"),
    ({"status": "failed", "error": {"kind": "PERMANENT", "code": "INSUFFICIENT_QUOTA"}}, 502, "provider_error"),
    ({"status": "failed", "error": {"kind": "PERMANENT", "code": "INVALID"}}, 400, "provider_rejected"),
    ({"status": "uncertain", "error": {"kind": "TIMEOUT"}}, 503, "outcome_uncertain"),
    ({"status": "canceled", "error": None}, 409, "job_canceled"),
]


@pytest.mark.parametrize(("image", "status", "code"), FAILED)
def test_a_job_without_a_picture_is_the_error_that_fits_and_says_nothing_of_the_vendors_key(
    image: dict[str, Any], status: int, code: str
):
    beside_a_refusal = [{"status": "refused", "error": {"code": "CONTENT_POLICY_VIOLATION"}}, image]
    for images in ([image], beside_a_refusal):
        answer = failed_answer(images, headers={})
        assert answer.status_code == status
        assert f'"code":"{code}"'.encode() in answer.body
        assert b"sk-123" not in answer.body
        assert answer.headers["x-should-retry"] == "false"
