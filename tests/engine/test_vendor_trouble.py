"""What an image becomes, what is booked and how many requests leave, for each thing that a vendor can do to us."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from safelight.domain.attempts import OnUncertain
from safelight.engine.submit import submit
from safelight.engine.worker import Worker
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from tests.engine.conftest import running
from tests.orders import attempts_of, ended, event_types, images_of, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]

# script → attempts in the book, the image's end, its error kind
TROUBLE = {
    "500 x2": (["unbilled", "unbilled", "settled"], "completed", None),
    "503 x1": (["unbilled", "settled"], "completed", None),
    "502 x1": (["unbilled", "settled"], "completed", None),
    "429 1 x1": (["unbilled", "settled"], "completed", None),
    "cut x1": (["unknown", "settled"], "completed", None),
    "cut": (["unknown", "unknown"], "uncertain", "UNKNOWN"),
    "504 x1": (["unknown", "settled"], "completed", None),
    "hang 60 x1": (["unknown", "settled"], "completed", None),
    "html x1": (["unknown", "settled"], "completed", None),
    "no-image x1": (["no_image", "settled"], "completed", None),
    "no-image": (["no_image"] * 3, "failed", "TEMPORARY"),
    "not-an-image x1": (["no_image", "settled"], "completed", None),
    "truncated": (["no_image"] * 3, "failed", "INVALID_OUTPUT"),
    "refuse SAFETY": (["refused"], "refused", "SAFETY"),
    "refuse-prompt OTHER": (["refused"], "refused", "SAFETY"),
    "text-only": (["refused"], "refused", "SAFETY"),
    "slow 0.3": (["settled"], "completed", None),
    "thought": (["settled"], "completed", None),
}


@pytest.mark.parametrize("script", TROUBLE)
async def test_the_vendor_answers(
    script: str, pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    statuses, end, kind = TROUBLE[script]
    accepted = await submit(pool, order(vendor_image("img", script, timeout_seconds=2)), run_limit_seconds=3600)
    async with start_worker():
        await ended(pool, accepted.job_id)
    [image] = await images_of(pool, accepted.job_id)
    assert image["status"] == end
    assert (image["error"] or {}).get("kind") == kind
    attempts = await attempts_of(pool, accepted.job_id)
    assert [attempt["status"] for attempt in attempts] == statuses
    assert len(sandbox.vendor.calls) == len(statuses), "one request for one attempt"
    known = sum(a["cost_microusd"] for a in attempts if a["status"] != "unknown")
    uncertain = sum(a["estimate_microusd"] for a in attempts if a["status"] == "unknown")
    assert known <= sandbox.vendor.bill.total_microusd <= known + uncertain


@pytest.mark.parametrize(
    ("policy", "end", "calls"),
    [(OnUncertain.HOLD, "uncertain", 1), (OnUncertain.FAIL, "failed", 1), (OnUncertain.RETRY_ONCE, "completed", 2)],
)
async def test_the_caller_says_what_an_unknown_outcome_leads_to(
    policy: OnUncertain, end: str, calls: int, pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    images = vendor_image("img", "cut x1", on_uncertain=policy)
    accepted = await submit(pool, order(images), run_limit_seconds=3600)
    async with start_worker():
        await ended(pool, accepted.job_id)
    [image] = await images_of(pool, accepted.job_id)
    assert image["status"] == end
    assert len(sandbox.vendor.calls) == calls


async def test_a_vendor_that_cannot_be_reached_costs_nothing_and_burns_nothing(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    """A refused connection is proven unbilled: the image is tried until its run ends, whatever `max_attempts` says."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed_port = taken.getsockname()[1]
    gone = settings.providers["gemini"].model_copy(update={"base_url": f"http://127.0.0.1:{closed_port}/gemini"})
    settings = settings.model_copy(update={"providers": {"gemini": gone}})
    image = vendor_image("img", max_attempts=1)
    accepted = await submit(pool, order(image, deadline_seconds=1.5, on_deadline="fail"), run_limit_seconds=3600)
    async with running(settings):
        await ended(pool, accepted.job_id)
    [row] = await images_of(pool, accepted.job_id)
    assert row["status"] == "failed"
    assert row["error"]["kind"] == "DEADLINE"
    attempts = await attempts_of(pool, accepted.job_id)
    assert len(attempts) > 1
    assert {(a["status"], a["cost_microusd"]) for a in attempts} == {("unbilled", 0)}


async def test_at_its_run_s_end_an_image_whose_call_is_out_winds_down_and_its_picture_is_kept(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    sandbox.vendor.hold()
    images = [vendor_image("paid"), vendor_image("free", "429 60")]
    accepted = await submit(pool, order(*images, deadline_seconds=1.0, on_deadline="fail"), run_limit_seconds=3600)
    async with start_worker():
        await until(pool, "SELECT count(*) = 2 FROM images WHERE stop = 'deadline'")
        sandbox.vendor.release()
        await ended(pool, accepted.job_id)
    for row in await images_of(pool, accepted.job_id):
        assert row["status"] == "failed"
        assert row["error"]["kind"] == "DEADLINE"
    assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["received", "unbilled"]
    types = await event_types(pool, accepted.job_id)
    assert types.count("job.deadline_passed") == 1
