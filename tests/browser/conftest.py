"""The dashboard in a real browser, before a real service: `safelight serve`, its worker, and the sandbox as vendor.

`service` and the browser are the run's own, a `visitor` is a test's: it fails its test for what the browser complains
of, in the console or about the policy of contents. What it looked like at the end is kept in `test-output/`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Playwright, async_playwright, expect

from tests.e2e.service import Service, running_service

OUTPUT = Path(__file__).parents[2] / "test-output"
PATIENCE_MS = 20_000
_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    # Only this machine can be reached: whatever a page would load from elsewhere fails, and so does its test.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them in one loop, which the browser belongs to."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@dataclass(kw_only=True)
class Visitor:
    """Somebody at the dashboard. `complaints` are the browser's."""

    page: Page
    service: Service
    complaints: list[str] = field(default_factory=list[str])

    async def open(self, path: str) -> None:
        answer = await self.page.goto(f"{self.service.url}/dashboard{path}")
        assert answer is not None
        assert answer.status == 200, f"{path} answers {answer.status}"

    def submit(self, **body: Any) -> str:
        """A job's id, made beside the browser."""
        answer = self.service.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def complained(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")


@pytest.fixture(scope="session")
def service(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(postgres, tmp_path_factory.mktemp("browser"), placeholder="true") as service:
        yield service


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = _chromium(playwright)
        if found is None:
            pytest.skip("no Chromium: set SAFELIGHT_CHROMIUM, or install one (`playwright install chromium`)")
        browser = await playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, service: Service, request: pytest.FixtureRequest) -> AsyncIterator[Visitor]:
    """On a desktop screen, in light."""
    expect.set_options(timeout=PATIENCE_MS)
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    visitor = Visitor(page=page, service=service)
    page.on("console", visitor.complained)
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    yield visitor
    await keep(page, request.node.name)
    await context.close()
    assert visitor.complaints == []


async def keep(page: Page, name: str, **how: Any) -> Path:
    """A picture of the page, for whoever looks into what a test saw."""
    path = OUTPUT / f"{re.sub(r'[^a-z0-9_-]+', '-', name.lower()).strip('-')[:100]}.png"
    await asyncio.to_thread(OUTPUT.mkdir, exist_ok=True)
    await page.screenshot(path=path, animations="disabled", **how)
    return path


def _chromium(playwright: Playwright) -> str | None:
    places = (
        os.environ.get("SAFELIGHT_CHROMIUM"),  # noqa: TID251 - where this machine has its browser
        playwright.chromium.executable_path,
        shutil.which("chromium"),
    )
    return next((place for place in places if place and Path(place).is_file()), None)
