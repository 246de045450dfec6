"""Pictures from other pictures, by the official client."""

from __future__ import annotations

import base64
import io
from typing import Any

import openai
import pytest
from PIL import Image

from tests.openai_api.conftest import OPENAI, World


def png(size: tuple[int, int] = (128, 128), *, colour: str = "teal", hole: bool = False) -> bytes:
    picture = Image.new("RGBA" if hole else "RGB", size, colour)
    if hole:
        picture.paste((0, 0, 0, 0), (0, 0, 64, 64))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def named(data: bytes, name: str = "a.png") -> tuple[str, bytes]:
    return name, data


async def test_pictures_and_a_mask_reach_the_vendor_and_the_same_files_again_are_the_same_wish(world: World):
    client = world.client()
    wish: dict[str, Any] = {"prompt": "A brass key on it", "model": OPENAI, "n": 2, "size": "1024x1024"}
    files: dict[str, Any] = {"image": [named(png()), named(png(colour="red"))], "mask": named(png(hole=True))}
    key = {"Idempotency-Key": "mine"}
    async with world.working():
        answer = await client.images.edit(**wish, **files, extra_headers=key)
        again = await client.images.edit(**wish, **files, extra_headers=key)
        with pytest.raises(openai.BadRequestError):
            await client.images.edit(**wish, **{**files, "image": [named(png())]}, extra_headers=key)

    assert answer.data is not None
    assert len(answer.data) == 2
    assert answer.data == again.data
    assert world.bought == 2
    calls = world.sandbox.vendor.calls
    assert [len(call.references_sha256) for call in calls] == [2, 2]
    assert {call.path for call in calls} == {"/openai/v1/images/edits"}
    assert await world.pool.fetchval("SELECT count(*) FROM uploads") == 3


BAD: list[tuple[dict[str, Any], str | None, str]] = [
    ({"image": named(b"%PDF-1.7 no picture")}, "image[0]", "invalid_image_file"),
    ({"image": [named(png()), named(png()[:-40])]}, "image[1]", "invalid_image_file"),
    ({"image": named(png()), "mask": named(png((64, 64), hole=True))}, "mask", "invalid_value"),
    ({"image": named(png()), "n": 11}, "n", "invalid_value"),
    ({"image": named(png()), "extra_body": {"n": "two"}}, "n", "invalid_value"),
    ({"image": named(png()), "input_fidelity": "high"}, "input_fidelity", "unknown_parameter"),
    ({"image": [named(png())] * 17}, "image", "invalid_value"),
    ({"image": named(png()), "prompt": " "}, "prompt", "invalid_value"),
]


async def test_everything_wrong_with_a_form_is_told_with_its_parameter(world: World, subtests: pytest.Subtests):
    client = world.client(max_retries=0, timeout=20)
    for fields, param, code in BAD:
        with subtests.test(f"{param} {code}"):
            with pytest.raises(openai.BadRequestError) as wrong:
                await client.images.edit(**{"prompt": "A key", "model": OPENAI, **fields})
            assert (wrong.value.param, wrong.value.code) == (param, code), wrong.value
    assert await world.pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_pictures_in_json_are_base64_or_data_urls_that_say_what_they_are(world: World, subtests: pytest.Subtests):
    client = world.client(max_retries=0, timeout=60)
    encoded = base64.b64encode(png()).decode()
    good = {"prompt": "A key", "model": OPENAI}
    for image in ("data:image/png;base64,*!", f"data:image/jpeg;base64,{encoded}", "no base64", 3, ""):
        with subtests.test(str(image)[:30]):
            with pytest.raises(openai.BadRequestError) as wrong:
                await client.post("/images/edits", body={**good, "image": image}, cast_to=object)
            assert wrong.value.param == "image[0]"
    with pytest.raises(openai.BadRequestError) as missing:
        await client.post("/images/edits", body=good, cast_to=object)
    assert missing.value.param == "image"

    async with world.working():
        for image in (f"data:image/png;base64,{encoded}", [encoded]):
            answer: Any = await client.post("/images/edits", body={**good, "image": image}, cast_to=object)
            assert answer["data"][0]["b64_json"]
    assert await world.pool.fetchval("SELECT count(*) FROM uploads") == 1
