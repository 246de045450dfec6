from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from safelight.imaging.pool import RenderPool


@pytest.fixture
async def render_pool() -> AsyncIterator[RenderPool]:
    pool = RenderPool()
    yield pool
    await pool.aclose()
