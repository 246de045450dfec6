from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest
from configs import config
from PIL import Image

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE
from safelight.providers.placeholder import MODEL, PlaceholderProvider
from safelight.providers.provider import (
    ImageInput,
    ImageRequest,
    ImageResult,
    InputRole,
    ProviderError,
    UnknownModel,
)
from safelight.providers.registry import InvalidConfiguration

PROVIDER = PlaceholderProvider.from_config("placeholder", config())


async def drawn(prompt: str = "Dust, green lamps", **changes: Any) -> ImageResult:
    asked: dict[str, Any] = {
        "model": MODEL,
        "prompt": prompt,
        "attempt_key": "att-1",
        "timeout_seconds": 30.0,
    }
    return await PROVIDER.submit(ImageRequest(**asked | changes))


def opened(result: ImageResult) -> Image.Image:
    picture = Image.open(io.BytesIO(result.data))
    picture.load()
    assert (picture.format, result.claimed_mime) == ("PNG", "image/png")
    return picture


async def test_the_same_request_draws_the_same_bytes_for_nothing() -> None:
    first, second = await drawn(seed=4), await drawn(seed=4, attempt_key="att-2")

    assert first.data == second.data
    assert (first.cost, first.model_version, first.request_id) == (FREE, MODEL, "att-1")


async def test_prompt_seed_and_shape_each_change_the_picture() -> None:
    pictures = [
        await drawn(),
        await drawn("Dust, red lamps"),
        await drawn(seed=1),
        await drawn(seed=2),
        await drawn(aspect_ratio="1:1"),
    ]

    assert len({picture.data for picture in pictures}) == len(pictures)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, (1024, 1024)),
        ({"aspect_ratio": "16:9"}, (1360, 765)),
        ({"aspect_ratio": "2:3"}, (836, 1254)),
        ({"aspect_ratio": "1:8"}, (362, 2896)),
        ({"size": "64x64"}, (64, 64)),
        ({"size": "1536x1024"}, (1536, 1024)),
    ],
)
async def test_the_shape_is_the_one_asked_for(asked: dict[str, str], size: tuple[int, int]) -> None:
    assert opened(await drawn(**asked)).size == size


async def test_every_shape_it_offers_can_be_drawn() -> None:
    can = PROVIDER.capabilities(MODEL)
    assert can.aspect_ratios is not None
    assert can.sizes is not None

    for ratio in can.aspect_ratios:
        across, down = map(int, ratio.split(":"))
        width_px, height_px = opened(await drawn(aspect_ratio=ratio)).size
        assert width_px * down == height_px * across
        assert 0.9 < width_px * height_px / 1024**2 < 1.1
    for size in can.sizes:
        assert "{}x{}".format(*opened(await drawn(size=size)).size) == size


async def test_the_caption_is_dark_on_light() -> None:
    picture = opened(await drawn("WWWW MMMM WWWW MMMM")).convert("RGB")
    label = picture.crop((64, 680, 960, 960))
    counted = Counter(label.get_flattened_data())
    (paper, _), (ink, ink_count) = counted.most_common(2)

    assert contrast(paper, ink) > 7  # WCAG AAA
    assert ink_count > 5_000


@pytest.mark.parametrize("prompt", ["", "x", "x" * 32_000, "word " * 6_000, "\n\t\x00", "絵 🦊 שלום", "W" * 90])
@pytest.mark.parametrize("asked", [{"size": "64x64"}, {"aspect_ratio": "8:1"}, {"aspect_ratio": "1:8"}])
async def test_any_prompt_can_be_drawn(prompt: str, asked: dict[str, str]) -> None:
    opened(await drawn(prompt, **asked))


@pytest.mark.parametrize(
    "asked",
    [
        {"aspect_ratio": "7:5"},
        {"size": "63x64"},
        {"size": "64x64", "aspect_ratio": "1:1"},
        {"negative_prompt": "blur"},
        {"quality": "high"},
        {"inputs": (ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"png"),) * 15},
        {"inputs": (ImageInput(role=InputRole.MASK, mime="image/png", data=b"png"),)},
        {"model": "placeholder-2"},
    ],
)
async def test_what_it_cannot_draw_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        await drawn(**asked)

    failure = caught.value
    assert (failure.kind, failure.billed, failure.cost) == (ErrorKind.PERMANENT, Billed.NO, FREE)
    assert failure.code == ("UNKNOWN_MODEL" if "model" in asked else "UNSUPPORTED_OPTION")


async def test_it_knows_one_model_and_takes_no_key() -> None:
    with pytest.raises(UnknownModel):
        PROVIDER.capabilities("placeholder-2")
    with pytest.raises(InvalidConfiguration):
        PlaceholderProvider.from_config("mine", config(api_key="k"))
    request = ImageRequest(model=MODEL, prompt="p", attempt_key="a", timeout_seconds=1)
    assert PROVIDER.estimate(request) == FREE
    await PROVIDER.aclose()


def contrast(one: Any, other: Any) -> float:
    """The contrast ratio of WCAG 2: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [
            level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4
            for level in (channel / 255 for channel in colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
