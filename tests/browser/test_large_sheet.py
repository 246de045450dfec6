"""A sheet of 500 frames that fill: it stays quick under the hand, and asks the service for little."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import Visitor

IMAGES, WAVES = 500, 5
LONGEST_MS = 1500
"""That the browser's one thread may be busy at a stretch, on a machine that has other work."""
MOST_FRAGMENTS = 60
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

_COMPLETE = """
WITH done AS (
    UPDATE images SET status = 'completed', completed_at = safelight.now(), started_at = safelight.now()
    WHERE job_id = $1 AND position >= $2 AND position < $3 RETURNING row_id, id, position
), stored AS (
    INSERT INTO renditions (image_row_id, name, key, format, mime, width_px, height_px, length, sha256)
    SELECT row_id, 'card', 'large/' || row_id, 'jpeg', 'image/jpeg', 512, 512, 1000, 'x' FROM done
), counted AS (
    UPDATE jobs SET seq = seq + $3 - $2 WHERE id = $1 RETURNING seq - ($3 - $2) AS before, account
)
INSERT INTO events (job_id, seq, account, type, image_id, data, created_at)
SELECT $1, before + 1 + position - $2, account, 'image.completed', done.id, '{}', safelight.now() FROM done, counted
"""

_WATCH = """() => {
  window.longest = 0;
  const note = (list) => { for (const each of list.getEntries()) longest = Math.max(longest, each.duration); };
  new PerformanceObserver(note).observe({ type: "longtask", buffered: true });
}"""

_TOUCH = """() => new Promise((done) => {
  const menu = document.querySelector(".menu summary"), begun = performance.now();
  menu.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
})"""


@pytest.mark.slow
async def test_five_hundred_frames_fill_and_the_page_stays_quick(visitor: Visitor):
    page = visitor.page
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    images = [{"id": f"image-{n}", "prompt": f"A house, seen for the {n}th time"} for n in range(IMAGES)]
    job_id = visitor.submit(images=images, not_before=later)
    fragments: list[str] = []

    async def picture(route: Route) -> None:
        await route.fulfill(body=_PIXEL, content_type="image/png")

    await page.route("**/images/*/card", picture)
    page.on("request", lambda request: fragments.append(request.url) if "/frames?" in request.url else None)
    await visitor.open(f"/jobs/{job_id}")
    await page.evaluate(_WATCH)
    await expect(page.locator(".frame.is-queued")).to_have_count(IMAGES)

    slowest_touch_ms = 0.0
    conn = await asyncpg.connect(visitor.service.database, server_settings={"search_path": "safelight"})
    try:
        for wave in range(WAVES):
            first, last = wave * IMAGES // WAVES, (wave + 1) * IMAGES // WAVES
            await conn.execute(_COMPLETE, job_id, first, last)
            slowest_touch_ms = max(slowest_touch_ms, await page.evaluate(_TOUCH))
            await expect(page.locator(".frame.is-completed")).to_have_count(last)
    finally:
        await conn.close()

    assert await page.evaluate("longest") < LONGEST_MS
    assert slowest_touch_ms < LONGEST_MS
    assert len(fragments) < MOST_FRAGMENTS
    await expect(page.locator("#job-head progress")).to_have_attribute("value", "100")
