"""A contact sheet in a browser, while its pictures come."""

from __future__ import annotations

import re
import zipfile

from playwright.async_api import expect

from tests.browser.conftest import Visitor, keep

SECONDS = r"\d+(\.\d)? s"


def made_by(visitor: Visitor) -> set[str]:
    """The ids of all jobs by now."""
    return {each["id"] for each in visitor.service.http.get("/v1/jobs", params={"limit": 100}).json()["jobs"]}


async def test_a_job_is_submitted_watched_retried_canceled_and_downloaded(visitor: Visitor):
    page = visitor.page
    before = made_by(visitor)
    await visitor.open("/new")
    prompts = ["A brass key", "A torn ticket [[sandbox: slow 1.5]]", "A knife [[sandbox: refuse IMAGE_SAFETY]]"]
    await page.get_by_label("Prompts, one on each line").fill("\n".join(prompts))
    await page.get_by_label("Aspect ratio").select_option("16:9")
    await page.get_by_role("button", name="See the quote").click()
    await expect(page.get_by_role("heading", name="The quote")).to_be_visible()
    await keep(page, "new-job-quoted", full_page=True)
    await page.get_by_role("button", name="Submit").dblclick()

    await expect(page).to_have_url(re.compile(r"/dashboard/jobs/job_"))
    job_id = page.url.rpartition("/")[2]
    frames = page.locator(".frame")
    await expect(frames).to_have_count(3)
    await expect(page.locator(".frame.is-completed")).to_have_count(2)
    refused = page.locator("[data-image='image-3']")
    await expect(refused).to_have_class(re.compile("is-refused"))
    await expect(refused).to_contain_text("IMAGE_SAFETY")
    await expect(page.locator("#job-head .badge")).to_have_text("partial")
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")
    for each in await page.locator(".frame.is-completed img").all():
        assert await each.evaluate("async (img) => { await img.decode(); return img.naturalWidth }") > 0

    await refused.locator("a").click()
    await page.get_by_label("Another prompt").fill("A butter knife on a breakfast table")
    await page.get_by_role("button", name="Retry image-3").click()
    await expect(page.locator(".frame.is-completed")).to_have_count(3)
    await expect(page.locator("#job-head .badge")).to_have_text("completed")
    await expect(page.locator("#job-said")).to_contain_text("3 of 3 completed")

    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download ZIP").click()
    download = await coming.value
    with zipfile.ZipFile(await download.path()) as archive:
        names = archive.namelist()
    assert len([each for each in names if each.endswith(".jpg")]) == 3

    await page.get_by_role("link", name="Calls").click()
    await expect(page.locator("tbody tr")).to_have_count(4)
    await page.get_by_role("link", name="Log").click()
    await expect(page.locator("tbody tr").first).to_contain_text("job.completed")
    assert made_by(visitor) - before == {job_id}, "a double click makes one job"


async def test_a_job_that_somebody_cancels_winds_down_before_their_eyes(visitor: Visitor):
    page = visitor.page
    images = [{"id": f"slow-{n}", "prompt": "A house [[sandbox: slow 60]]"} for n in range(12)]
    job_id = visitor.submit(images=images)
    await visitor.open(f"/jobs/{job_id}")
    await expect(page.locator(".frame.is-generating").first.locator("[data-since]")).to_have_text(re.compile(SECONDS))
    await keep(page, "sheet-generating", full_page=True)
    await page.get_by_text("Cancel…").click()
    await page.get_by_label("are hung up on").check()
    await page.get_by_role("button", name="Cancel the job").click()
    await expect(page.locator("#job-head .badge")).to_have_text("canceled")
    await expect(page.locator("[data-live]")).to_have_count(0)
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")


async def test_without_a_stream_the_sheet_is_looked_at_again_and_again(visitor: Visitor):
    page = visitor.page
    await page.add_init_script("delete window.EventSource")
    job_id = visitor.submit(images=[{"id": "key", "prompt": "A key [[sandbox: slow 1.5]]"}])
    await visitor.open(f"/jobs/{job_id}")
    await expect(page.locator(".frame.is-completed")).to_have_count(1)
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")


async def test_a_sheet_catches_up_with_what_happened_while_the_service_was_away(visitor: Visitor):
    page = visitor.page
    job_id = visitor.submit(images=[{"id": each, "prompt": f"{each} [[sandbox: slow 1]]"} for each in ("a", "b")])
    await visitor.open(f"/jobs/{job_id}")
    await page.context.set_offline(True)
    while visitor.service.http.get(f"/v1/jobs/{job_id}", params={"wait": 20}).json()["status"] != "completed":
        pass
    await page.context.set_offline(False)
    await expect(page.locator(".frame.is-completed")).to_have_count(2)
    await expect(page.locator("#job-lost")).to_be_empty()
    visitor.complaints[:] = [each for each in visitor.complaints if "ERR_INTERNET_DISCONNECTED" not in each]


async def test_what_was_chosen_and_where_the_keyboard_is_stays_when_buttons_come_anew(visitor: Visitor):
    page = visitor.page
    images = [{"id": f"slow-{n}", "prompt": "A house [[sandbox: slow 60]]"} for n in range(2)]
    job_id = visitor.submit(images=images)
    await visitor.open(f"/jobs/{job_id}")
    await page.get_by_text("Cancel…").click()
    await page.get_by_label("are hung up on").check()
    await page.get_by_role("button", name="Cancel the job").focus()
    visitor.service.http.post(f"/v1/jobs/{job_id}/cancel", json={"images": ["slow-1"], "mode": "abort"})
    await expect(page.get_by_role("button", name="Retry 1 without a picture")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel the job")).to_be_focused()
    await expect(page.get_by_label("are hung up on")).to_be_checked()
    visitor.service.http.post(f"/v1/jobs/{job_id}/cancel", json={"mode": "abort"})
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")


async def test_the_facts_below_a_sheet_tell_of_its_end(visitor: Visitor):
    page = visitor.page
    job_id = visitor.submit(images=[{"id": "key", "prompt": "A key [[sandbox: slow 60]]"}])
    await visitor.open(f"/jobs/{job_id}")
    ended = page.locator("#job-facts div").filter(has=page.get_by_text("Ended", exact=True)).locator("dd")
    await expect(ended).to_have_text("–")
    visitor.service.http.post(f"/v1/jobs/{job_id}/cancel", json={"mode": "abort"})
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")
    await expect(ended).to_have_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"))


async def test_whoever_comes_back_to_a_job_that_had_ended_sees_that_it_was_retried(visitor: Visitor):
    page = visitor.page
    images = [{"id": "key", "prompt": "A key"}, {"id": "no", "prompt": "A knife [[sandbox: refuse IMAGE_SAFETY]]"}]
    job_id = visitor.submit(images=images)
    await visitor.open(f"/jobs/{job_id}")
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")
    wish = {"images": ["no"], "prompt_overrides": {"no": "A spoon [[sandbox: slow 60]]"}}
    assert visitor.service.http.post(f"/v1/jobs/{job_id}/retry", json=wish).status_code == 202
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("[data-image=no]")).to_have_class(re.compile("is-generating"))
    visitor.service.http.post(f"/v1/jobs/{job_id}/cancel", json={"mode": "abort"})
    await expect(page.locator("[data-image=no]")).to_have_class(re.compile("is-canceled"))
    await expect(page.locator("#job-head .badge")).to_have_text("canceled")
    await expect(page.locator("#sheet")).to_have_attribute("data-follows", "ended")
