"""The pictures of OpenAI's answers, and those that go in."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import openai
from openai.types import ImagesResponse
from PIL import Image

Client = Callable[..., openai.AsyncOpenAI]


def pictures(response: ImagesResponse) -> list[bytes]:
    assert response.data is not None
    assert all(entry.b64_json is not None for entry in response.data)
    return [base64.b64decode(entry.b64_json or "") for entry in response.data]


def decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def as_file(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def reference(side_px: int = 64, form: str = "PNG") -> bytes:
    return as_file(Image.new("RGB", (side_px, side_px), "navy"), form)


def mask(side_px: int = 64) -> bytes:
    return as_file(Image.new("RGBA", (side_px, side_px), (0, 0, 0, 0)))
