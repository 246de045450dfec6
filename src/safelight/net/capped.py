"""What every client of ours does with an answer: it is read up to a cap, and none of its cookies is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

MAX_ANSWER_BYTES = 64 << 20
"""Of one answer's body, after decompression. Chosen: twice the largest answer that a model we know can give (a PNG
of 16 megapixels, as base64)."""


class AnswerTooLarge(Exception):
    """The answer is longer than what is read of it; the rest was left where it was."""


class CappedResponse(httpx2.Response):
    """Counts its body as it is decoded, piece by piece: what is over the cap is never put together."""

    def __init__(self, response: httpx2.Response, *, max_bytes: int) -> None:
        super().__init__(
            response.status_code,
            headers=response.headers,
            stream=response.stream,
            extensions=response.extensions,
        )
        self._max_bytes = max_bytes

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        # Each layer multiplies by a thousand, and a layer that decodes to nothing is counted by none above it.
        if len(self.headers.get_list("content-encoding", split_commas=True)) > 1:
            raise httpx2.DecodingError("the body is compressed more than once")
        declared_bytes = int(self.headers.get("content-length", 0))
        if declared_bytes > self._max_bytes:
            raise AnswerTooLarge(f"the answer announces {declared_bytes} bytes; {self._max_bytes} are read at most")
        decoded_bytes = 0
        async with aclosing(super().aiter_bytes(chunk_size)) as parts:
            async for part in parts:
                decoded_bytes += len(part)
                if decoded_bytes > self._max_bytes:
                    raise AnswerTooLarge(f"the answer is longer than the {self._max_bytes} bytes that are read at most")
                yield part
                await asyncio.sleep(0)  # one chunk can unpack to 64 MB: other calls get their turn in between


def no_cookies() -> CookieJar:
    """A jar that takes no cookie from any answer, and so has none for a request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
