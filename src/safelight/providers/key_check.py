"""Asking a vendor, for free, whether it takes a key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx2

from safelight.net.capped import AnswerTooLarge
from safelight.net.query import query_client

_TIMEOUT_SECONDS = 20.0
"""For the question and its whole answer. Chosen."""

_BAD_KEY = (401, 403)


class KeyNotChecked(Exception):
    """The vendor did not say whether it takes the key. The message says why, and tells no secret."""


async def why_key_is_bad(url: str, *, headers: Mapping[str, str], bad_word: str | None = None) -> str | None:
    """GETs an address of the vendor's that costs nothing and needs a good key. None when it answers well.

    `bad_word`: the vendor's own for a key that is not valid, when it says so in the body of a 400. Raises
    KeyNotChecked.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS), query_client() as client:
            answer = await client.get(url, headers=headers)
    except TimeoutError:
        raise KeyNotChecked(f"no answer within {_TIMEOUT_SECONDS:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, AnswerTooLarge) as error:
        raise KeyNotChecked(f"no answer that can be read: {type(error).__name__}") from None
    if bad_word is not None and answer.status_code == 400 and bad_word in answer.text:
        return f"the vendor answers {bad_word} (HTTP 400)"
    return key_verdict(answer.status_code, is_json=_is_json(answer))


def key_verdict(status: int, *, is_json: bool) -> str | None:
    """What such an answer says against the key. Raises KeyNotChecked when it says nothing of it.

    `is_json`: its body is a JSON object; a success without one comes from somebody in between.
    """
    if 200 <= status < 300 and is_json:
        return None
    if status in _BAD_KEY:
        return f"the vendor answers HTTP {status}"
    raise KeyNotChecked(f"the answer, HTTP {status}, does not tell")


def _is_json(answer: httpx2.Response) -> bool:
    try:
        return isinstance(answer.json(), dict)
    except (ValueError, RecursionError):
        return False
