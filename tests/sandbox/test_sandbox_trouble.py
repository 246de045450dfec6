"""Each way an answer can be spoilt, as the vendor's official client and a decoder of our own choice see it."""

from __future__ import annotations

import asyncio
import io
import socket
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest
from google.genai import types
from PIL import Image, UnidentifiedImageError

from safelight.sandbox.server import RunningSandbox

Ask = Callable[..., Coroutine[Any, Any, types.GenerateContentResponse]]

MEGAPIXEL = 1_000_000


async def raw_answer(sandbox: RunningSandbox, script: str) -> bytes:
    """Every byte that comes back for one call, until the vendor ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    body = b'{"contents": [{"parts": [{"text": "a pier [[sandbox: %s]]"}]}]}' % script.encode()
    head = (
        "POST /gemini/v1/models/gemini-3-pro-image:generateContent HTTP/1.1\r\n"
        f"host: 127.0.0.1\r\nconnection: close\r\nx-goog-api-key: k\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


def parts(response: types.GenerateContentResponse) -> list[types.Part]:
    assert response.candidates is not None
    content = response.candidates[0].content
    return (content.parts or []) if content else []


async def picture(ask: Ask, script: str) -> tuple[str, bytes]:
    """The claimed type and the bytes of the only part."""
    [part] = parts(await ask(f"a pier [[sandbox: {script}]]"))
    assert part.inline_data is not None
    assert part.inline_data.mime_type is not None
    return part.inline_data.mime_type, part.inline_data.data or b""


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("reset", httpx2.ReadError),
        ("short-body", httpx2.RemoteProtocolError),
        ("cut-chunk", httpx2.RemoteProtocolError),
        ("half-body", ValueError),
    ],
)
async def test_an_answer_that_ends_early_is_an_error_to_the_client(
    ask: Ask, script: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await ask(f"a pier [[sandbox: {script}]]")


async def test_half_a_body_without_a_length_is_a_whole_one_to_http(sandbox: RunningSandbox) -> None:
    """Which is why an answer is worth nothing before it has been decoded."""
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        response = await client.post(
            f"{sandbox.gemini_url('half-body')}/v1/models/gemini-3-pro-image:generateContent",
            json={"contents": [{"parts": [{"text": "a pier"}]}]},
            headers={"x-goog-api-key": "k"},
        )

    assert response.status_code == 200
    assert response.text.startswith('{"candidates"')
    assert not response.text.endswith("}")


async def test_half_of_what_is_announced_comes(sandbox: RunningSandbox) -> None:
    head, _, body = (await raw_answer(sandbox, "short-body")).partition(b"\r\n\r\n")

    announced = next(int(line.split()[1]) for line in head.splitlines() if line.startswith(b"content-length"))
    assert len(body) == announced // 2


async def test_a_reset_is_a_reset(sandbox: RunningSandbox) -> None:
    with pytest.raises(ConnectionResetError):
        await raw_answer(sandbox, "reset")


@pytest.mark.parametrize("fault", ["drip-headers", "drip-body"])
async def test_a_drip_is_never_silent_for_long_and_ends_with_its_caller(
    ask: Ask, sandbox: RunningSandbox, fault: str
) -> None:
    """A timeout per read does not end it: only a total one does."""
    calling = asyncio.create_task(ask(f"a pier [[sandbox: {fault} 0.01]]", timeout_ms=5_000))
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.bill.charged_calls == 1, timeout_seconds=30)
    done, _ = await asyncio.wait([calling], timeout=0.2)
    assert not done

    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


@pytest.mark.parametrize(("script", "media_type"), [("called-png", "image/png"), ("called-html", "text/html")])
async def test_a_good_answer_can_go_by_a_wrong_name(
    ask: Ask, sandbox: RunningSandbox, script: str, media_type: str
) -> None:
    response = await ask(f"a pier [[sandbox: {script}]]")

    assert response.sdk_http_response is not None
    assert (response.sdk_http_response.headers or {})["content-type"].startswith(media_type)
    assert parts(response)


async def test_a_gzip_bomb_is_a_good_answer_with_blanks_behind_it(sandbox: RunningSandbox) -> None:
    head, _, body = (await raw_answer(sandbox, "gzip-bomb 3")).partition(b"\r\n\r\n")

    assert b"content-encoding: gzip" in head.lower()
    unpacked = zlib.decompress(body, wbits=31)
    assert unpacked.startswith(b'{"candidates"')
    assert unpacked.endswith(b"}" + b" " * 3_000_000)


async def test_a_continuation_has_no_picture_and_is_counted(ask: Ask, http: httpx2.AsyncClient) -> None:
    response = await ask("a pier [[sandbox: continuation]]")

    assert response.candidates is not None
    assert response.candidates[0].finish_reason is types.FinishReason.CONTINUATION
    assert parts(response) == []
    assert response.usage_metadata is not None
    assert len((await http.get("/requests")).json()["requests"]) == 1


async def test_garbage_and_nothing_are_no_pictures(ask: Ask) -> None:
    mime, garbage = await picture(ask, "garbage")
    assert mime == "image/png"
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(garbage))

    assert await picture(ask, "no-bytes") == ("image/png", b"")


async def test_half_a_jpeg_opens_but_does_not_decode(ask: Ask) -> None:
    mime, data = await picture(ask, "half-jpeg")

    image = Image.open(io.BytesIO(data))
    assert (mime, image.format) == ("image/jpeg", "JPEG")
    with pytest.raises(OSError, match="truncated"):
        image.load()


async def test_a_jpeg_can_be_called_a_png(ask: Ask) -> None:
    mime, data = await picture(ask, "jpeg")

    image = Image.open(io.BytesIO(data))
    image.load()
    assert (mime, image.format, image.size) == ("image/png", "JPEG", (1024, 1024))


async def test_a_pixel_bomb_is_small_and_huge(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    _, data = await picture(ask, "pixel-bomb")

    image = Image.open(io.BytesIO(data))
    assert image.width * image.height == 200 * MEGAPIXEL
    assert len(data) < 100_000


async def test_a_text_bomb_is_a_good_picture_with_a_comment(ask: Ask) -> None:
    _, data = await picture(ask, "text-bomb 2")

    at = data.index(b"zTXt")
    length = int.from_bytes(data[at - 4 : at], "big")
    body = data[at + 4 : at + 4 + length]
    assert zlib.decompress(body.removeprefix(b"Comment\0\0")) == b" " * 2_000_000
    assert data[at + 4 + length : at + 8 + length] == zlib.crc32(b"zTXt" + body).to_bytes(4, "big")
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(data)).load()


async def test_ten_thousand_frames_are_an_animation(ask: Ask) -> None:
    mime, data = await picture(ask, "frames")

    image = Image.open(io.BytesIO(data))
    assert (mime, image.format, getattr(image, "n_frames", 1)) == ("image/webp", "WEBP", 10_000)
    image.seek(9_999)
    image.load()


async def test_a_padded_answer_is_as_long_as_asked_and_a_good_picture(ask: Ask, sandbox: RunningSandbox) -> None:
    _, data = await picture(ask, "padded 4")

    Image.open(io.BytesIO(data)).load()
    assert data.endswith(b"\0" * 1000)
    assert len(await raw_answer(sandbox, "padded 4")) == pytest.approx(4_000_000, rel=0.01)


async def test_a_call_past_asgi_leaves_the_sandbox_in_order(ask: Ask, sandbox: RunningSandbox) -> None:
    for script in ("reset", "short-body", "cut-chunk", "half-body", "cut"):
        with pytest.raises((httpx2.HTTPError, ValueError)):
            await ask(f"a pier [[sandbox: {script}]]")

    assert parts(await ask("a pier"))
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5):
        assert sandbox.vendor.in_flight == 0
