from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.cli.front_desk import FrontDesk, opened


@pytest.fixture
async def desk() -> AsyncIterator[FrontDesk]:
    async with opened(FrontDesk()) as running:
        yield running
