from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator

import pytest
from PIL import Image, ImageStat

from safelight.sandbox.models import RATIO_PX
from safelight.sandbox.pictures import Pictures
from safelight.sandbox.scenes import paint


@pytest.fixture
async def pictures() -> AsyncIterator[Pictures]:
    pictures = Pictures(count=16)
    yield pictures
    pictures.close()


async def png(pictures: Pictures, prompt: str) -> bytes:
    return base64.b64decode(await pictures.png_base64(prompt, aspect_ratio="16:9", size="1K"))


async def test_prompts_get_different_pictures_while_they_last(pictures: Pictures) -> None:
    drawn = [await png(pictures, f"evidence {number}") for number in range(16)]

    assert len(set(drawn)) == 16
    assert await png(pictures, "evidence 17") in drawn


async def test_a_prompt_always_gets_the_same_picture(pictures: Pictures) -> None:
    first, again = await asyncio.gather(png(pictures, "a pier"), png(pictures, "a pier"))

    assert first == again == await png(pictures, "a pier")


async def test_a_caller_who_leaves_does_not_spoil_the_drawing_for_the_next(pictures: Pictures) -> None:
    leaving = asyncio.create_task(png(pictures, "a pier"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert Image.open(io.BytesIO(await png(pictures, "a pier"))).size == (1344, 768)


async def test_a_picture_weighs_what_real_ones_do(pictures: Pictures) -> None:
    for number in range(8):
        assert 300_000 < len(await png(pictures, f"weight {number}")) < 1_500_000


@pytest.mark.parametrize("number", range(8))
def test_every_scene_has_light_and_shadow_in_any_format(number: int) -> None:
    for width_px, height_px in RATIO_PX.values():
        image = paint(number, width_px=width_px // 4, height_px=height_px // 4)
        assert image.size == (width_px // 4, height_px // 4)
        ((darkest, brightest),) = ImageStat.Stat(image.convert("L")).extrema
        assert brightest - darkest > 90


def test_a_number_always_paints_the_same_pixels() -> None:
    first, again, other = (paint(number, width_px=256, height_px=144).tobytes() for number in (5, 5, 13))

    assert first == again != other
