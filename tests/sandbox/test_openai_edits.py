"""Pictures made of pictures: what OpenAI's official client, unchanged, makes of the sandbox's wire."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest
from openai_pictures import Client, as_file, decoded, mask, pictures, reference
from PIL import Image

from safelight.sandbox.server import RunningSandbox


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
        ({"n": "9" * 5000}, "n"),
        ({"extra_body": {"seed": 7}}, "seed"),
    ],
    ids=[
        "17 images", "no image", "a GIF", "mask of another size", "mask without alpha", "JPEG mask", "fidelity of 2",
        "n", "n of 5000 digits", "seed",
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
