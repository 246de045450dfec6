"""What an answer's body is read as: the same as the library would, only faster."""

from __future__ import annotations

import httpx2
import pytest
from loopback_site import open_site, whole

from safelight.net.billable import billable_client

PICTURE = b'{"picture": "' + b"Zm9v" * 20_000 + b'", "width": 1024, "cost": 1.5e-7, "seed": 9223372036854775807}'
UTF16 = '{"colour": "café"}'.encode("utf-16")


@pytest.mark.parametrize(
    "charset", ["", "; charset=utf-8", "; charset=UTF-8", "; charset=latin-1", "; charset=nonsense"]
)
@pytest.mark.parametrize(
    "body",
    [PICTURE, '{"colour": "café"}'.encode(), b'{"cut": "caf\xc3', b"\xff\xfe not UTF-8", UTF16, b"not JSON", b""],
    ids=["picture", "accents", "cut", "no UTF-8", "UTF-16", "no JSON", "nothing"],
)
async def test_text_is_what_the_library_reads(body: bytes, charset: str) -> None:
    answer, plain = await _both(body, f"application/json{charset}")

    assert answer.text == plain.text


@pytest.mark.parametrize(
    "body",
    [PICTURE, UTF16, b"[NaN, 1e400]", b'"\\ud800"', b'{"a": 1, "a": 2}', b"\xef\xbb\xbf[]", b"18446744073709551615"],
    ids=["picture", "UTF-16", "no number", "half a character", "twice", "byte order mark", "64 bits"],
)
async def test_json_is_what_the_library_reads(body: bytes) -> None:
    answer, plain = await _both(body, "application/json")

    assert repr(answer.json()) == repr(plain.json())


@pytest.mark.parametrize("body", [b"", b"not JSON", b'{"cut": ', b'{"cut": "caf\xc3"}'])
async def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    answer, plain = await _both(body, "application/json")

    for each in (answer, plain):
        with pytest.raises(ValueError):  # noqa: PT011 - of whichever library
            each.json()


async def _both(body: bytes, media_type: str) -> tuple[httpx2.Response, httpx2.Response]:
    """As our clients hand it out, and as the library does."""
    async with open_site() as site, billable_client() as client:
        site.says = whole(body, f"content-type: {media_type}")
        answer = await client.get(f"http://127.0.0.1:{site.port}/")
    return answer, httpx2.Response(200, headers={"content-type": media_type}, content=body)
