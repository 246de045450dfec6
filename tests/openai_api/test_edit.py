"""Pictures from other pictures, by the official client."""

from __future__ import annotations

import base64
import io
import json
import time
import tracemalloc
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.types import Message

from safelight.api.openai.edits import read_edit
from safelight.domain.errors import InvalidRequest
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


async def test_an_edit_that_failed_can_be_asked_for_again_after_its_upload_was_deleted(world: World):
    client = world.client()
    wish: dict[str, Any] = {"prompt": "A key [[sandbox: refuse MODERATION_BLOCKED x1]]", "model": OPENAI}
    async with world.working():
        with pytest.raises(openai.BadRequestError):
            await client.images.edit(**wish, image=named(png()))
        async with httpx2.AsyncClient(base_url=world.address) as http:
            upload_id = await world.pool.fetchval("SELECT id FROM uploads")
            assert (await http.delete(f"/v1/uploads/{upload_id}")).status_code == 204
        answer = await client.images.edit(**wish, image=named(png()))

    assert answer.data is not None
    assert world.bought == 1
    assert await world.pool.fetchval("SELECT count(*) FROM uploads") == 1


async def test_a_file_may_have_any_name(world: World):
    field = "--f\r\nContent-Disposition: form-data; name="
    start = f"{field}prompt\r\n\r\nA key\r\n{field}image; filename*=utf-8''sch%C3%B6n.png\r\n\r\n".encode()
    headers = {"Content-Type": "multipart/form-data; boundary=f"}
    async with httpx2.AsyncClient(base_url=world.address, timeout=60) as http, world.working():
        body = start + png() + b"\r\n--f--\r\n"
        answer = await http.post("/openai/v1/images/edits", content=body, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_field_of_a_form_is_no_longer_than_a_prompt_can_be(world: World):
    client = world.client(max_retries=0, timeout=20)
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.images.edit(prompt="é" * 200_000, model=OPENAI, image=named(png()))
    assert (wrong.value.param, wrong.value.code) == ("prompt", "string_above_max_length")
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.images.edit(prompt="A key", model=OPENAI, image=named(png()), user="a" * 200_001)
    assert (wrong.value.param, wrong.value.code) == ("user", "invalid_value")
    assert "at most 200 kB" in wrong.value.message, "nobody has looked at the text itself"


async def test_a_text_that_begins_like_a_data_url_and_never_ends_costs_no_more_memory_than_any_other():
    most_bytes: list[int] = []
    for text in ("data:" + "_a_" * 300_000, "data:" + ";a=" * 300_000):
        tracemalloc.start()
        with pytest.raises(InvalidRequest):
            await read_edit(json_request({"image": text}), within_seconds=20)
        most_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most_bytes[1] < 2 * most_bytes[0]


async def test_a_picture_that_is_long_to_look_through_is_not_looked_through_where_others_wait():
    spent_seconds: list[float] = []
    for mime, begin in (("image/png", b"\x89PNG\r\n\x1a\n"), ("image/jpeg", b"\xff\xd8")):
        data = begin + b"\xff" * 5_500_000
        request = json_request({"image": f"data:{mime};base64,{base64.b64encode(data).decode()}"})
        started = time.process_time()
        edit = await read_edit(request, within_seconds=20)
        spent_seconds.append(time.process_time() - started)
        assert edit.images == [data]
    assert spent_seconds[1] < 4 * spent_seconds[0]


def json_request(document: dict[str, Any]) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps(document).encode(), "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
