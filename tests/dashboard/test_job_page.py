"""A job's contact sheet as somebody sees it without JavaScript, and the parts that a script asks for."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from safelight.api.app import ApiDependencies
from safelight.api.edge.session import SESSION_COOKIE, Sessions
from safelight.dashboard.jobs import MOST_FRAMES
from safelight.dashboard.sheet import sheet_of
from safelight.domain.access import KeyScope
from tests.api.conftest import image
from tests.api.doors import key_for
from tests.api.test_attempts import called
from tests.api.wire import exchange, request
from tests.dashboard.conftest import Browser, looking

OUTPUTS = [
    {"name": "big", "width": 640, "height": 360, "fit": "cover", "format": "webp"},
    {"name": "thumbnail", "width": 160, "height": 90, "fit": "cover", "format": "jpeg"},
]
_STORED = """
INSERT INTO renditions (image_row_id, name, key, format, mime, width_px, height_px, length, sha256)
SELECT row_id, $3, job_id || id || $3, 'jpeg', 'image/jpeg', $4, $5, 1000, 'x' FROM images WHERE job_id = $1 AND id = $2
"""


async def made(browser: Browser, **fields: Any) -> str:
    answer = await browser.client.post("/v1/jobs", json={"outputs": OUTPUTS, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def completed(pool: asyncpg.Pool, job_id: str, image_id: str) -> None:
    for each in OUTPUTS:
        await pool.execute(_STORED, job_id, image_id, each["name"], each["width"], each["height"])
    await stands(pool, job_id, image_id, "completed")


async def stands(
    pool: asyncpg.Pool, job_id: str, image_id: str, status: str, *, code: str | None = None, billed: str = "no"
) -> None:
    """As the engine would leave it."""
    error = {"kind": "SAFETY", "code": code, "message": "Not like this.", "retryable": False, "billed": billed}
    await pool.execute(
        "UPDATE images SET status = $3, error = $4, admitted_at = NULL, started_at = safelight.now() - interval '72 s',"
        " claim_token = CASE WHEN $3 IN ('processing', 'generating', 'uploading') THEN gen_random_uuid() END"
        " WHERE job_id = $1 AND id = $2",
        job_id,
        image_id,
        status,
        error if code else None,
    )


async def job_stands(pool: asyncpg.Pool, job_id: str, status: str) -> None:
    await pool.execute("UPDATE jobs SET status = $2, completed_at = safelight.now() WHERE id = $1", job_id, status)


def frame(page: str, image_id: str) -> str:
    """The markup of one frame."""
    found = re.search(rf'<li class="frame[^>]*data-image="{re.escape(image_id)}".*?</li>', page, re.DOTALL)
    assert found, f"no frame {image_id}"
    return found[0]


async def test_a_frame_shows_its_state_in_a_word_and_its_picture_where_there_is_one(
    browser: Browser, pool: asyncpg.Pool
):
    states = ["processing", "generating", "uploading", "completed", "failed", "refused", "canceled", "uncertain"]
    job_id = await made(browser, images=[image("queued-1"), *(image(each) for each in states), image("queued-2")])
    for each in states:
        if each == "completed":
            await completed(pool, job_id, each)
        else:
            await stands(pool, job_id, each, each, code="IMAGE_SAFETY" if each == "refused" else None)

    page = await browser.look(f"/jobs/{job_id}")

    picture = frame(page, "completed")
    assert f'src="/v1/jobs/{job_id}/images/completed/thumbnail"' in picture
    assert 'width="160" height="90"' in picture
    assert 'loading="lazy"' in picture
    words = {"processing": "starting", "uploading": "storing"}
    for each in states:
        if each != "completed":
            assert f'<span class="state">{words.get(each, each)}</span>' in frame(page, each)
            assert 'viewBox="0 0 640 360"' in frame(page, each) or 'viewBox="0 0 160 90"' in frame(page, each)
    assert re.search(r"\b\d+ min (1[2-9]|[2-5]\d) s", frame(page, "generating")), (
        "72 seconds, and what has passed since"
    )
    assert "IMAGE_SAFETY" in frame(page, "refused")
    assert "Not like this." in frame(page, "refused")
    assert ">1 in line<" in frame(page, "queued-1")
    assert ">2 in line<" in frame(page, "queued-2")
    assert "style=" not in page
    assert "<script>" not in page
    assert "onclick" not in page


@pytest.mark.parametrize(
    ("ordered", "outputs", "sides"),
    [
        (
            {"aspect_ratio": "16:9"},
            [{"name": "big", "format": "jpeg", "width": 900, "height": 900, "fit": "inside"}],
            (16, 9),
        ),
        (
            {"aspect_ratio": "16:9"},
            [{"name": "big", "format": "jpeg", "width": 90, "height": 90, "fit": "cover"}],
            (90, 90),
        ),
        ({"size": "1024x1536"}, [{"name": "original", "format": "original"}], (1024, 1536)),
        ({}, [], (1, 1)),
        ({"aspect_ratio": "1:100"}, [], (100 / 3, 100)),
        ({"aspect_ratio": "auto"}, [], (1, 1)),
    ],
)
def test_a_frame_has_the_shape_that_its_picture_will_have(
    ordered: dict[str, str], outputs: list[dict[str, Any]], sides: tuple[float, float]
):
    one = {
        "id": "a",
        "group": "",
        "status": "queued",
        "provider": "p",
        "started_at": None,
        "attempt_count": 0,
        **ordered,
    }
    sheet = sheet_of({"images": [one], "outputs": outputs, "queue_position": None, "id": "job"})
    assert sheet.frames[0].sides == pytest.approx(sides)


async def test_frames_stand_in_their_groups_and_the_head_says_how_the_job_stands(browser: Browser, pool: asyncpg.Pool):
    images = [image("a", group="places"), image("b", group="things"), image("c", group="places")]
    job_id = await made(browser, images=images, metadata={"case_id": "the <b>case</b>"})
    await completed(pool, job_id, "a")
    await called(pool, job_id, "a", 1, "settled", 39_000, "usage")
    await stands(pool, job_id, "b", "failed", code="BROKEN")

    page = await browser.look(f"/jobs/{job_id}")

    assert re.findall(r'aria-label="(places|things)"', page) == ["places", "things"]
    assert [page.index(f'data-image="{each}"') for each in "acb"] == sorted(
        page.index(f'data-image="{each}"') for each in "abc"
    )
    assert '<progress max="100" value="66"' in page
    assert 'data-said="1 of 3 completed, 1 failed."' in page
    assert "$0.0390" in page
    assert "the &lt;b&gt;case&lt;/b&gt;" in page
    assert "Download ZIP" in page


async def test_a_frame_waits_for_the_pictures_that_it_is_made_from(browser: Browser, deps: ApiDependencies):
    one = {"id": "a", "group": "", "status": "queued", "provider": "p", "started_at": None, "attempt_count": 0}
    made_from = {**one, "id": "b", "references": [{"image": "a", "role": None}, {"upload": "upl_1", "role": None}]}
    sheet = sheet_of({"images": [one, made_from], "outputs": [], "queue_position": 4, "id": "job"})
    assert [each.waits_for for each in sheet.frames] == [(), ("a",)]
    assert sheet.places() == {1: 4}


async def test_a_fragment_brings_the_head_and_the_frames_that_were_named(browser: Browser, pool: asyncpg.Pool):
    job_id = await made(browser, images=[image(f"i-{n}") for n in range(MOST_FRAMES + 20)])
    await completed(pool, job_id, "i-1")

    text = await browser.look(f"/jobs/{job_id}/frames", images="i-1,i-3,nobody")

    assert re.findall(r'data-image="([^"]+)"', text) == ["i-1", "i-3"]
    assert 'id="job-head"' in text
    assert 'id="job-controls"' in text
    assert "<html" not in text
    assert re.findall(r'id="(frame-\d+)"', text) == ["frame-2", "frame-4"]
    every = await browser.look(f"/jobs/{job_id}/frames", images=",".join(f"i-{n}" for n in range(MOST_FRAMES + 20)))
    assert every.count("data-image=") == MOST_FRAMES
    assert "data-image=" not in await browser.look(f"/jobs/{job_id}/frames")


async def test_the_whole_job_or_one_image_is_canceled(browser: Browser, pool: asyncpg.Pool):
    job_id = await made(browser, images=[image("a"), image("b"), image("c")])
    page = f"/jobs/{job_id}"
    response = await browser.send(f"{page}/cancel", on=page, images="b", mode="abort")
    assert response.url.path == f"/dashboard{page}"
    assert "is-canceled" in frame(response.text, "b")
    assert "is-queued" in frame(response.text, "a")
    response = await browser.send(f"{page}/cancel", on=page, mode="finish")
    assert 'class="badge is-canceled"' in response.text
    assert "Cancel the job" not in response.text
    assert "data-ended" in response.text
    refused = await browser.send(f"{page}/cancel", on=page, status=422, mode="nonsense")
    assert "/mode" in refused.text


async def test_what_has_no_picture_is_retried_all_of_it_or_one_with_another_prompt(
    browser: Browser, pool: asyncpg.Pool
):
    job_id = await made(browser, images=[image("a"), image("b"), image("c")])
    await completed(pool, job_id, "c")
    for each in "ab":
        await stands(pool, job_id, each, "refused", code="IMAGE_SAFETY")
    await job_stands(pool, job_id, "partial")
    page = f"/jobs/{job_id}"
    assert "Retry 2 without a picture" in await browser.look(page)
    assert "Retry a" in await browser.look(f"{page}/images/a")

    response = await browser.send(f"{page}/retry", on=f"{page}/images/a", images="a", prompt="A safer\r\nkey")
    assert response.url.path == f"/dashboard{page}"
    assert "is-queued" in frame(response.text, "a")
    assert "is-refused" in frame(response.text, "b")
    assert await pool.fetchval("SELECT prompt FROM images WHERE job_id = $1 AND id = 'a'", job_id) == "A safer\nkey"

    response = await browser.send(f"{page}/retry", on=page)
    assert "is-queued" in frame(response.text, "b")
    again = await browser.send(f"{page}/retry", on=page, status=409)
    assert "Nothing to retry" in again.text


async def test_another_prompt_that_is_refused_is_still_there_beside_what_is_wrong_with_it(
    browser: Browser, pool: asyncpg.Pool
):
    job_id = await made(browser, images=[image("a")])
    await stands(pool, job_id, "a", "failed", code="BROKEN")
    await job_stands(pool, job_id, "failed")
    page, prompt = f"/jobs/{job_id}", "\nA key <b> " + "x" * 40_000

    refused = await browser.send(f"{page}/retry", on=f"{page}/images/a", status=422, images="a", prompt=prompt)

    assert "Prompt too long" in refused.text
    assert f">\n{html.escape(prompt.strip())}</textarea>" in refused.text
    assert "Retry a" in refused.text
    assert await pool.fetchval("SELECT status FROM images WHERE job_id = $1", job_id) == "failed"


async def test_an_image_has_a_page_with_its_picture_its_calls_and_what_became_of_it(
    browser: Browser, pool: asyncpg.Pool
):
    job_id = await made(browser, images=[image("a", aspect_ratio="16:9"), image("b"), image("c")])
    await completed(pool, job_id, "a")
    await stands(pool, job_id, "b", "uncertain", code="NO_ANSWER", billed="unknown")
    await called(pool, job_id, "b", 1, "unknown", 39_000, "estimate", ("UNKNOWN", "NO_ANSWER"))

    picture = await browser.look(f"/jobs/{job_id}/images/a")
    assert f'src="/v1/jobs/{job_id}/images/a/big"' in picture
    assert "thumbnail?download=1" in picture
    lost = await browser.look(f"/jobs/{job_id}/images/b")
    assert "Billed: unknown" in lost
    assert "UNKNOWN NO_ANSWER" in lost
    assert 'rel="prev"' in lost
    assert 'rel="next"' in lost
    assert "Cancel c" in await browser.look(f"/jobs/{job_id}/images/c")
    assert "no such image" in await browser.look(f"/jobs/{job_id}/images/nobody", status=404)


async def test_every_call_and_every_event_is_listed(browser: Browser, pool: asyncpg.Pool):
    job_id = await made(browser, images=[image("a"), image("b")])
    await called(pool, job_id, "a", 1, "unbilled", 0, "table", ("RATE_LIMIT", "429"))
    await called(pool, job_id, "a", 2, "settled", 39_000, "usage")
    calls = await browser.look(f"/jobs/{job_id}/attempts")
    assert calls.index("RATE_LIMIT 429") < calls.index("settled") < calls.rindex("$0.0390")

    await pool.execute(
        "INSERT INTO events (job_id, seq, account, type, image_id, data, created_at)"
        " SELECT $1, n, 'default', 'image.started', 'a', jsonb_build_object('attempt', n), safelight.now()"
        " FROM generate_series(2, 150) AS n",
        job_id,
    )
    await pool.execute("UPDATE jobs SET seq = 150 WHERE id = $1", job_id)
    newest = await browser.look(f"/jobs/{job_id}/events")
    assert re.findall(r'<td class="number">(\d+)</td>', newest) == [str(n) for n in range(150, 50, -1)]
    assert "call 150" in newest
    assert "?before=51" in newest
    rest = await browser.look(f"/jobs/{job_id}/events", before=51)
    assert re.findall(r'<td class="number">(\d+)</td>', rest) == [str(n) for n in range(50, 0, -1)]
    assert "Earlier ones" not in rest
    assert "job.created" in rest


@pytest.mark.parametrize("job_id", ["%2e", "%2e%2e", "nobody", "%00", "a%2f..%2fb"])
async def test_what_is_no_job_has_no_page(browser: Browser, job_id: str):
    for view in ("", "/frames", "/attempts", "/events", "/images/a"):
        answer = await exchange(browser.client, request("GET", f"/dashboard/jobs/{job_id}{view}"))
        assert answer.status_code == 404, answer.text


@asynccontextmanager
async def signed_in(
    deps: ApiDependencies, pool: asyncpg.Pool, account: str, *scopes: KeyScope
) -> AsyncIterator[Browser]:
    key, _ = await key_for(pool, account, *scopes)
    async with looking(replace(deps, may_run_open=False)) as browser:
        browser.client.cookies.set(SESSION_COOKIE, Sessions(deps.vault).issue(key))
        yield browser


async def test_a_key_that_only_reads_gets_no_buttons_and_does_nothing(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(deps) as anybody:
        job_id = await made(anybody, images=[image("a"), image("b")])
    await stands(pool, job_id, "a", "failed", code="BROKEN")
    async with signed_in(deps, pool, "default", KeyScope.READ) as reader:
        page = await reader.look(f"/jobs/{job_id}")
        assert "Retry" not in page
        assert "Cancel" not in page
        assert "New job" not in page
        assert "Another prompt" not in await reader.look(f"/jobs/{job_id}/images/a")
        refused = await reader.send(f"/jobs/{job_id}/retry", on=f"/jobs/{job_id}", status=403)
        assert "scope" in refused.text
        assert "scope" in await reader.look("/new", status=403)


async def test_another_accounts_job_is_not_there(deps: ApiDependencies, pool: asyncpg.Pool):
    async with looking(deps) as anybody:
        job_id = await made(anybody, images=[image("a")])
    async with signed_in(deps, pool, "another") as other:
        for path in ("", "/frames?images=a", "/images/a", "/attempts", "/events"):
            assert "data-image" not in await other.look(f"/jobs/{job_id}{path}", status=404)
    async with looking(replace(deps, may_run_open=False)) as nobody:
        assert "API key" in await nobody.look(f"/jobs/{job_id}")
        fragment = await nobody.client.get(f"/dashboard/jobs/{job_id}/frames", headers={"HX-Request": "true"})
        assert fragment.status_code == 401


async def test_a_removed_job_shows_its_states_and_offers_nothing(browser: Browser, pool: asyncpg.Pool):
    job_id = await made(browser, images=[image("a"), image("b")])
    await browser.send(f"/jobs/{job_id}/cancel", on=f"/jobs/{job_id}")
    assert (await browser.client.delete(f"/v1/jobs/{job_id}")).status_code == 200
    page = await browser.look(f"/jobs/{job_id}")
    assert "have been removed" in page
    assert "Retry" not in page
    assert "Download ZIP" not in page
    assert "Another prompt" not in await browser.look(f"/jobs/{job_id}/images/a")
