"""Providers: what their models take, and what stands in their way."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from safelight.api.dependencies import ApiDependencies
from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.gates import BURST
from safelight.domain.ids import ImageRowId
from safelight.engine.gates import report_failure
from safelight.engine.timing import Timing
from safelight.providers.provider import ProviderError
from tests.api.conftest import submitted
from tests.dashboard.conftest import Browser
from tests.dashboard.test_home import text_of


@pytest.fixture
def deps(deps: ApiDependencies) -> ApiDependencies:
    providers = dict(deps.catalog.providers)
    providers["picky"] = replace(providers["picky"], model="picky-1")
    return replace(deps, catalog=replace(deps.catalog, providers=providers))


async def test_a_page_shows_models_prices_and_limits_and_why_a_gate_is_shut(browser: Browser, pool: asyncpg.Pool):
    words = text_of(await browser.look("/providers"))
    assert "placeholder calls pass the default" in words
    assert "At most 2 calls at once" in words
    assert "picky-1 $0.04 1:1, 3:4" in words

    image = {"id": "one", "prompt": "A brass key", "provider": "picky", "model": "picky-1"}
    await submitted(browser.client, images=[image])
    row_id = ImageRowId(await pool.fetchval("SELECT row_id FROM images"))
    error = ProviderError(
        "<b>out of money", kind=ErrorKind.TEMPORARY, billed=Billed.NO, code="PAY_FIRST", scope=Scope.ACCOUNT
    )
    for _ in range(BURST):
        await report_failure(pool, provider="picky", model="picky-1", row_id=row_id, error=error, timing=Timing())
    page = await browser.look("/providers")
    assert "The whole account</b> shut since" in page
    assert "PAY_FIRST" in page
    assert "may try at" in page
    assert "<b>out of" not in page
    part = await browser.look("/providers/live")
    assert "PAY_FIRST" in part
    assert "<html" not in part
