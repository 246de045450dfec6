from __future__ import annotations

import time

import pytest

from safelight.providers import retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("37s", 37.0),
        ("1.5s", 1.5),
        ("0s", 1.0),
        ("0.000000001s", 1.0),
        ("3601s", 3600.0),
        ("999999999999999999s", 3600.0),
        ("-5s", None),
        ("37", None),
        ("37 s", None),
        ("٣s", None),
        ("", None),
        (None, None),
        (37, None),
    ],
)
def test_a_duration_is_read_and_kept_within_bounds(text: object, seconds: float | None) -> None:
    assert retry_after.from_duration(text) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": " 20 "}, 20.0),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "315360000"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:25 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:25 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 25.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 1.0),
        ({"retry-after": "Fri, 20 Nov 2036 10:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 3600.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "20"}, 1.0),
        ({"retry-after-ms": "999999999999999999"}, 3600.0),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-5"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:25 -0000", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, None),
    ],
)
def test_a_header_is_read_and_kept_within_bounds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after.from_headers(headers) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Request was throttled. Your rate limit resets in ~30s.", 30.0),
        ("Rate limit reached for images. Please try again in 12s. Visit the site.", 12.0),
        ("Please try again in 1m30.5s.", 90.5),
        ("Please try again in 1 minute 30 seconds.", 90.0),
        ("Please retry in 41.5s.", 41.5),
        ("Try again in 250ms", 1.0),
        ("try again in 3000 milliseconds", 3.0),
        ("Expected available in 24 seconds.", 24.0),
        ("Please wait 5 mins", 300.0),
        ("Retry after 2 hours", 3600.0),
        ("try again in 0s", 1.0),
        ("try again in 999999999999999999h", 3600.0),
        ("Rate limit: 6 requests per minute, 30s each", None),
        ("try again in 3 skies", None),
        ("try again in 30", None),
        ("try again later", None),
        ("try again in ٣s", None),
        ("", None),
    ],
)
def test_a_wait_that_is_written_out_is_read_and_kept_within_bounds(message: str, seconds: float | None) -> None:
    assert retry_after.from_text(message) == seconds


def test_a_long_message_is_read_at_once() -> None:
    started = time.monotonic()

    assert retry_after.from_text("again in " + "1s 2m " * 100_000) == 122.0
    assert retry_after.from_text("again " * 100_000) is None
    assert time.monotonic() - started < 2
