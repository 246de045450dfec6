"""Writes docs/images/contact-sheet.png: the demo's case on the dashboard, half-way.

    .venv/bin/python scripts/picture_sheet.py [FILE]

Starts a sandbox and a service of its own in a temporary folder, and Chromium (`SAFELIGHT_CHROMIUM`, else the one on
PATH). Most pictures are there, some are being made, one was refused.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from playwright.async_api import async_playwright

from safelight.cli.cases import mystery_case
from safelight.cli.children import free_port, running, until_ready
from safelight.db.embedded import EmbeddedServer
from safelight.settings import environment_of_its_own

MODEL = "gemini-3.1-flash-lite-image"
SCREEN = {"width": 1200, "height": 800}
SLOW, REFUSED, QUEUED = 4, 5, 2
"""How many at the end take long and wait for that, and which one, from the end, is refused."""
MOST_BYTES = 300_000


async def main(target: Path) -> None:
    # Not below a private folder: the database's own user has to get there.
    home = Path(tempfile.mkdtemp(prefix="safelight-sheet-"))
    home.chmod(0o755)
    sandbox, service = f"http://127.0.0.1:{(port := free_port())}", f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "home": home,
        "bind": service,
        "default_provider": "gemini",
        "providers__gemini__kind": "gemini",
        "providers__gemini__model": MODEL,
        "providers__gemini__max_concurrency": SLOW,
        "providers__gemini__base_url": f"{sandbox}/gemini",
        "providers__gemini__api_key": "sandbox-key",
    }
    vendor = ("sandbox", "--port", str(port), "--latency", "p50=0.8,p95=1.5", "--bill", str(home / "bill.jsonl"))
    none, own = environment_of_its_own({}), environment_of_its_own(settings)
    try:
        async with (
            running("sandbox", *vendor, log_path=home / "sandbox.log", environment=none, stop_seconds=20) as its,
            running("serve", "serve", log_path=home / "serve.log", environment=own, stop_seconds=20) as ours,
        ):
            await until_ready(its, f"{sandbox}/bill")
            await until_ready(ours, f"http://{service}/readyz")
            await take(f"http://{service}", target)
    finally:
        EmbeddedServer(home).destroy()
        shutil.rmtree(home, ignore_errors=True)


def case() -> dict[str, Any]:
    """The demo's, some of whose subjects tell the sandbox what to do."""
    body = mystery_case()
    subjects = [each for group in body["subjects"].values() for each in group]
    for each in subjects[-SLOW - QUEUED :]:
        each["description"] += " [[sandbox: slow 60]]"
    subjects[-SLOW - QUEUED - 1]["description"] += " [[sandbox: refuse IMAGE_SAFETY]]"
    return body


async def take(service: str, target: Path) -> None:
    async with httpx2.AsyncClient(base_url=service, timeout=30, trust_env=False) as client:
        job = (await client.post("/v1/jobs", json=case())).raise_for_status().json()
        while (counts := job["counts"])["queued"] > QUEUED or counts["active"] > SLOW or counts["refused"] == 0:
            job = (await client.get(f"/v1/jobs/{job['id']}", params={"wait": 10, "after": job["seq"]})).json()
        async with async_playwright() as playwright:
            found = os.environ.get("SAFELIGHT_CHROMIUM") or shutil.which("chromium")  # noqa: TID251
            browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
            page = await browser.new_page(viewport=SCREEN, color_scheme="dark")  # pyright: ignore[reportArgumentType]
            await page.goto(f"{service}/dashboard/jobs/{job['id']}")
            for picture in await page.locator(".frame img").all():
                await picture.scroll_into_view_if_needed()
                await picture.evaluate("(img) => img.decode()")
            await page.evaluate("scrollTo(0, 0)")
            await page.wait_for_timeout(2200)  # so that clocks have run for a moment
            box = await page.locator("#sheet").bounding_box()
            assert box is not None
            clip = {"x": 0, "y": 0, "width": SCREEN["width"], "height": int(box["y"] + box["height"] + 16)}
            await page.screenshot(path=target, full_page=True, clip=clip)  # pyright: ignore[reportArgumentType]
            await browser.close()
        await client.post(f"/v1/jobs/{job['id']}/cancel", json={"mode": "abort"})
    with Image.open(target) as picture:
        picture.convert("RGB").save(target, optimize=True)
    assert target.stat().st_size < MOST_BYTES, f"{target} has {target.stat().st_size} bytes"
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "docs" / "images" / "contact-sheet.png"
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default))
