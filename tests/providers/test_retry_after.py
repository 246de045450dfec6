from __future__ import annotations

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
        ({"retry-after": "Fri, 20 Nov 2026 10:00:25 -0000", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, None),
    ],
)
def test_a_header_is_read_and_kept_within_bounds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after.from_headers(headers) == seconds
