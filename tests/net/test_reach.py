from __future__ import annotations

import pytest

from safelight.net.reach import why_unreachable


@pytest.mark.parametrize("url", ["https://.example.com", f"https://{'a' * 64}.example.com", "http://a\0b"])
async def test_a_host_that_no_resolver_takes_is_said_to_be_none(url: str) -> None:
    assert await why_unreachable(url) == "its host is no name"
