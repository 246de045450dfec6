"""What holds for every page of the dashboard: its width on a phone, its weight, and that it can be used without eyes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safelight import dashboard
from tests.browser.conftest import Visitor, keep
from tests.e2e.service import Service, eventually

_BASE = Path(str(dashboard.__file__)).parent / "templates" / "base.html"
IN_NAVIGATION = re.findall(r'\("(/[^"]*)", "[^"]*", "[a-z]*"\)', _BASE.read_text(encoding="utf-8"))
PHONE = {"width": 360, "height": 740}
MOST_BYTES = 200_000

_FAULTS_OF_A_PAGE = """() => {
  const faults = [], seen = (each) => each.checkVisibility({ visibilityProperty: true });
  const text = (each) => (each?.textContent || "").trim();
  const named = (each) => each.getAttribute("aria-label") || text(each) || each.title
    || (each.getAttribute("aria-labelledby") || "").split(" ").map((id) => text(document.getElementById(id))).join("")
    || [...(each.labels || [])].map(text).join("") || [...each.querySelectorAll("img")].map((img) => img.alt).join("");
  const shown = (each) => each.outerHTML.slice(0, 120);
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > innerWidth + 1);
    faults.push(`wider than the screen: ${document.documentElement.scrollWidth}: ${wide.slice(0, 3).map(shown).join(" ")}`);
  }
  for (const each of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, dialog"))
    if (seen(each) && !named(each)) faults.push(`without a name: ${shown(each)}`);
  for (const each of document.images) if (!each.hasAttribute("alt")) faults.push(`without alt: ${shown(each)}`);
  for (const each of document.querySelectorAll("img")) if (!each.width || !each.getAttribute("width")) faults.push(`without a size: ${shown(each)}`);
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter(seen).map((each) => Number(each.tagName[1]));
  if (levels.filter((each) => each === 1).length !== 1) faults.push(`headings: ${levels}`);
  levels.forEach((each, n) => { if (n && each > levels[n - 1] + 1) faults.push(`headings: ${levels}`); });
  for (const one of ["main", "header", "title", "html[lang]"])
    if (document.querySelectorAll(one).length !== 1) faults.push(`not one ${one}`);
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const each of new Set(ids.filter((id, n) => ids.indexOf(id) !== n))) faults.push(`twice: #${each}`);
  for (const each of document.querySelectorAll("[aria-describedby], [aria-labelledby], label[for]"))
    for (const id of (each.getAttribute("aria-describedby") || each.getAttribute("aria-labelledby") || each.htmlFor).split(" "))
      if (!document.getElementById(id)) faults.push(`names what is not there: ${shown(each)}`);
  return faults;
}"""

_CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
  const ground = (each) => { for (; each; each = each.parentElement) { const c = rgb(getComputedStyle(each).backgroundColor);
    if (c.length < 4 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  const faults = new Set();
  for (const each of document.querySelectorAll("body *")) {
    if (![...each.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !each.checkVisibility() || each.closest(".visually-hidden, .skip, [disabled], option")) continue;
    const own = getComputedStyle(each), [a, b] = [light(rgb(own.color)), light(ground(each))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.49) faults.add(`${ratio.toFixed(2)}: ${each.tagName}.${each.className} ${own.color}`);
  }
  return [...faults];
}"""


_SIZES = """() => Object.fromEntries([...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((each) => each.initiatorType !== "img" && !each.name.includes("/images/"))
  .map((each) => [each.name, each.decodedBodySize]))"""
"""By address, as they are once they are unpacked."""


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
        await visitor.glance(path)
        if found := await page.evaluate(_FAULTS_OF_A_PAGE):
            faults[path] = found
        await keep(page, f"phone{path.replace(job_id, 'id')}")
    assert faults == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_word_can_be_read_in_light_and_in_dark(visitor: Visitor, job_id: str, scheme: Any):
    page = visitor.page
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    faults: dict[str, Any] = {}
    for path in pages(job_id):
        await visitor.glance(path)
        if found := await page.evaluate(_CONTRAST):
            faults[path] = found
    await keep(page, f"scheme-{scheme}")
    assert faults == {}


async def test_a_page_weighs_little_without_its_pictures(visitor: Visitor, job_id: str):
    for path in ("/", f"/jobs/{job_id}", "/new"):
        await visitor.open(path)
        sizes = await visitor.page.evaluate(_SIZES)
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
