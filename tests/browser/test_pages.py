"""What holds for every page of the dashboard: it fits a phone, weighs little, and needs neither eyes nor mouse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from safelight import dashboard
from tests.browser.conftest import Visitor, keep
from tests.e2e.service import Service, eventually

_BASE = Path(str(dashboard.__file__)).parent / "templates" / "base.html"
IN_NAVIGATION = re.findall(r'\("(/[^"]*)", "[^"]*", "[a-z]*"\)', _BASE.read_text(encoding="utf-8"))
PHONE = {"width": 360, "height": 740}
MOST_BYTES = 200_000

_CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")


def check(name: str) -> str:
    """For `page.evaluate`."""
    return f"() => ({_CHECKS.strip()}).{name}()"


@pytest.fixture(scope="session")
def job_id(service: Service) -> str:
    """A job that has ended, with a picture, a refusal, and one canceled."""
    images = [
        {"id": "loc-1", "group": "locations", "prompt": "A library", "aspect_ratio": "16:9"},
        {"id": "ev-1", "group": "evidence", "prompt": "A knife [[sandbox: refuse IMAGE_SAFETY]]"},
        {"id": "ev-2-with-a-rather-long-name-that-has-to-go-somewhere", "group": "evidence", "prompt": "A key"},
    ]
    job = service.http.post("/v1/jobs", json={"images": images, "metadata": {"case_id": "c" * 200}}).json()
    eventually(lambda: service.http.get(f"/v1/jobs/{job['id']}").json()["status"] == "partial", what="the job's end")
    return job["id"]


def pages(job_id: str) -> Iterator[str]:
    yield from IN_NAVIGATION
    yield from ("/new?as=case", "/new?recipe=mystery-case")
    yield from (f"/jobs/{job_id}{view}" for view in ("", "/attempts", "/events", "/images/ev-1", "/images/loc-1"))


async def test_every_page_fits_a_phone_and_can_be_used_without_eyes(visitor: Visitor, job_id: str):
    page = visitor.page
    await page.set_viewport_size(PHONE)  # pyright: ignore[reportArgumentType]
    assert len(IN_NAVIGATION) >= 9
    faults: dict[str, Any] = {}
    for path in pages(job_id):
        await visitor.open(path)
        if found := await page.evaluate(check("faults")):
            faults[path] = found
        await keep(page, f"phone{path.replace(job_id, 'id')}")
    assert faults == {}


async def test_a_table_keeps_its_columns_in_sight_and_a_time_on_one_line(visitor: Visitor, job_id: str):
    page = visitor.page
    url = f"{visitor.service.sandbox.base_url}/hook?token={'z' * 300}"
    made = visitor.service.http.post("/v1/webhooks", json={"url": url, "description": "d" * 200})
    assert made.status_code == 201, made.text
    try:
        await visitor.open("/webhooks")
        await expect(page.locator(".table .badge").first).to_be_in_viewport()
        await expect(page.get_by_role("columnheader", name="Made")).to_be_in_viewport()
    finally:
        visitor.service.http.delete(f"/v1/webhooks/{made.json()['id']}")
    await page.set_viewport_size(PHONE)  # pyright: ignore[reportArgumentType]
    await visitor.open(f"/jobs/{job_id}/events")
    lines = (
        "(cell) => { const text = new Range(); text.selectNodeContents(cell); return text.getClientRects().length; }"
    )
    assert await page.locator("tbody tr td:nth-child(2)").first.evaluate(lines) == 1


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)])
async def test_every_word_can_be_read_in_light_and_in_dark(visitor: Visitor, job_id: str, scheme: Any):
    page = visitor.page
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    faults: dict[str, Any] = {}
    for path in pages(job_id):
        await visitor.open(path)
        if found := await page.evaluate(check("dim")):
            faults[path] = found
    await keep(page, f"scheme-{scheme}")
    assert faults == {}


async def test_a_page_weighs_little_without_its_pictures(visitor: Visitor, job_id: str):
    for path in ("/", f"/jobs/{job_id}", "/new"):
        await visitor.open(path)
        sizes = await visitor.page.evaluate(check("sizes"))
        assert any("sheet.js" in url for url in sizes) == path.startswith("/jobs/"), sizes
        assert 0 < sum(sizes.values()) <= MOST_BYTES, sizes


async def test_a_keyboard_goes_through_the_frames_in_order(visitor: Visitor, job_id: str):
    page = visitor.page
    await visitor.open(f"/jobs/{job_id}")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.locator(".frame a").first.focus()
    reached = []
    for _ in range(4):
        reached.append(await page.evaluate("document.activeElement.closest('.frame')?.dataset.image"))
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        await page.keyboard.press("Tab")
    assert reached == ["loc-1", "ev-1", "ev-1", "ev-2-with-a-rather-long-name-that-has-to-go-somewhere"]


@pytest.mark.parametrize("path", ["/jobs/{}#frame-2", "/sign-in?next=%2Fjobs%2F{}"])
async def test_a_link_of_another_site_leads_to_its_page_and_leaves_the_form_in_another_tab_good(
    visitor: Visitor, job_id: str, path: str
):
    page = visitor.page
    await visitor.open("/new")
    await page.get_by_label("Prompts, one on each line").fill("A brass key")
    other = await page.context.new_page()
    link = f'<a href="{visitor.service.url}/dashboard{path.format(job_id)}">the job</a>'
    await other.route("http://chat.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
    await other.goto("http://chat.example/")
    await other.get_by_text("the job").click()
    await expect(other.locator("#sheet")).to_be_visible()
    await expect(other).to_have_url(re.compile(f"/dashboard/jobs/{job_id}"))
    await other.close()
    await page.get_by_role("button", name="See the quote").click()
    await expect(page.get_by_role("heading", name="The quote")).to_be_visible()
