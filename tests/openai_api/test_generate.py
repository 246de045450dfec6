"""Pictures from words, by the official client with nothing changed but the address and the key."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from tests.openai_api.conftest import OPENAI, World


def opened(encoded: str | None) -> Image.Image:
    assert encoded is not None
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


async def test_pictures_come_as_the_answer_of_one_job_and_the_job_is_like_any_other(world: World):
    async with world.working():
        answer = await world.client().images.generate(
            prompt="A brass key", model=OPENAI, n=3, size="1536x1024", quality="low", user="user-7"
        )

    assert answer.data is not None
    assert [(each.format, each.size) for each in (opened(each.b64_json) for each in answer.data)] == [
        ("PNG", (1536, 1024))
    ] * 3
    assert (answer.size, answer.output_format, answer.quality) == ("1536x1024", "png", "low")
    assert answer.usage is not None
    assert answer.usage.output_tokens > 3 * 272
    assert world.bought == 3
    note: Any = (answer.model_extra or {})["safelight"]
    row = await world.pool.fetchrow("SELECT * FROM jobs WHERE id = $1", note["job_id"])
    assert row is not None
    assert (row["status"], row["metadata"]) == ("completed", {"via": "openai", "user": "user-7"})
    assert (row["deadline_seconds"], row["on_deadline"]) == (550.0, "fail")
    # The vendor's own file is of the format and the size that were asked for, and so is what was stored.
    kept = "SELECT count(*) FROM renditions r JOIN attempts a USING (image_row_id) WHERE a.sha256 = r.sha256"
    assert await world.pool.fetchval(kept) == 3


async def test_a_size_that_the_model_has_as_a_ratio_comes_out_to_the_pixel_in_the_format_asked_for(world: World):
    client = world.client()
    async with world.working():
        answer = await client.images.generate(
            prompt="A library",
            model="gemini/gemini-3.1-flash-lite-image",
            size="896x512",
            output_format="jpeg",
            output_compression=70,
            response_format="url",
        )
        assert answer.data is not None
        [picture] = answer.data
        assert picture.b64_json is None
        assert picture.url is not None
        async with httpx2.AsyncClient() as http:
            fetched = await http.get(picture.url)
        image = Image.open(io.BytesIO(fetched.content))
        assert (image.format, image.size) == ("JPEG", (896, 512))
        assert (answer.size, answer.output_format, answer.background) == ("896x512", "jpeg", "opaque")

        left = await client.images.generate(prompt="A library", model="our-usual", size="auto", n=None, quality="auto")

    assert left.data is not None
    assert opened(left.data[0].b64_json).format == "PNG"


async def test_a_refusal_raises_what_openais_own_does_and_what_was_made_beside_one_is_delivered(world: World):
    client = world.client()
    async with world.working():
        with pytest.raises(openai.BadRequestError) as refused:
            await client.images.generate(prompt="A knife [[sandbox: refuse MODERATION_BLOCKED]]", model=OPENAI, n=2)
        answer = await client.images.generate(
            prompt="A rope [[sandbox: refuse MODERATION_BLOCKED x1]]", model=OPENAI, n=3
        )

    assert (refused.value.code, refused.value.type) == ("moderation_blocked", "image_generation_user_error")
    assert answer.data is not None
    assert len(answer.data) == 2
    note: Any = (answer.model_extra or {})["safelight"]
    assert [each["code"] for each in note["failed"]] == ["moderation_blocked"]
