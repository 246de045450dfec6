"""What every client of ours does with an answer: it is read up to a cap, and none of its cookies is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import orjson

MAX_ANSWER_BYTES = 64 << 20
"""Of one answer's body, after decompression. Chosen: twice the largest answer that a model we know can give (a PNG
of 16 megapixels, as base64)."""


class AnswerTooLarge(Exception):
    """The answer is longer than what is read of it; the rest was left where it was."""


class CappedResponse(httpx2.Response):
    """Counts its body as it is decoded, piece by piece: what is over the cap is never put together.

    `text` and `json` say what the library would, in a fraction of its time: a picture in an answer is megabytes of it,
    and everything else in the process waits meanwhile.
    """

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

    @property
    def text(self) -> str:
        if (self.encoding or "utf-8").lower() != "utf-8":
            return super().text
        return self.content.decode("utf-8", errors="replace")

    def json(self, **kwargs: Any) -> Any:
        """Raises ValueError and RecursionError. Whole numbers beyond 64 bits are floats."""
        if not kwargs:
            with suppress(orjson.JSONDecodeError):  # what else the standard library reads, such as UTF-16 and NaN
                return orjson.loads(self.content)
        return super().json(**kwargs)


def no_cookies() -> CookieJar:
    """A jar that takes no cookie from any answer, and so has none for a request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
