"""What OpenAI's official client, unchanged, makes of the sandbox's wire."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai_pictures import Client, decoded, pictures

from safelight.sandbox.openai_models import MODELS
from safelight.sandbox.server import RunningSandbox


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


async def test_an_unknown_model_is_a_404(client: Client) -> None:
    for model in ("dall-e-3", "gpt-image-1"):
        with pytest.raises(openai.NotFoundError) as caught:
            await client().images.generate(model=model, prompt="a pier")

        assert caught.value.code == "model_not_found"


def test_the_sandbox_shares_nothing_with_the_code_that_calls_vendors() -> None:
    for module in Path(__file__).parents[2].glob("src/safelight/sandbox/*.py"):
        imported = re.findall(r"(?:from|import) (safelight\.\w+)", module.read_text(encoding="utf-8"))
        assert set(imported) <= {"safelight.sandbox"}, module.name
