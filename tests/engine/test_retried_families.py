"""A retry of images that are made from one another: who comes along, and who waits for whom."""

from __future__ import annotations

import asyncpg
import pytest

from safelight.domain.attempts import OnUncertain
from safelight.domain.errors import InvalidRequest
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import ImageStatus, JobStatus
from safelight.engine.image import provider_book, settle
from safelight.engine.image.outcome import no_answer
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from tests.engine.by_hand import admit_again, picture, pipeline_of, receipt_of, swept
from tests.engine.conftest import running
from tests.engine.families import errors, family, made_from, states
from tests.engine.test_claim import register, take
from tests.orders import ended, image, images_of, order, vendor_image

MEMBERS = {"a": "", "b": "a", "c": "b", "x": "", "ax": "a x", "alone": ""}


async def ended_family(pool: asyncpg.Pool, *, canceled: list[str]) -> JobId:
    """MEMBERS, of which these were canceled one by one before anything began."""
    job_id = await family(pool, MEMBERS)
    for image_id in canceled:
        await cancel(pool, job_id, account="default", mode=CancelMode.FINISH, image_ids=[image_id])
    return job_id


async def retried(pool: asyncpg.Pool, job_id: JobId, *image_ids: str, **more: object) -> set[str]:
    before = {row["id"]: row["retry_count"] for row in await images_of(pool, job_id)}
    await retry(pool, job_id, account="default", image_ids=image_ids or None, run_limit_seconds=3600, **more)  # pyright: ignore[reportArgumentType]
    return {row["id"] for row in await images_of(pool, job_id) if row["retry_count"] > before[row["id"]]}


async def test_a_retried_image_brings_all_that_it_is_made_from_and_waits_for_it_again(pool: asyncpg.Pool) -> None:
    job_id = await ended_family(pool, canceled=["a"])
    assert await retried(pool, job_id, "c") == {"a", "b", "c"}, "and not `ax`, which nobody asked for"
    now = await states(pool, job_id)
    assert (now["a"], now["b"], now["c"], now["ax"]) == ("queued", "awaiting", "awaiting", "failed")


async def test_what_is_needed_comes_along_whatever_states_were_asked_for(pool: asyncpg.Pool) -> None:
    job_id = await ended_family(pool, canceled=["a"])
    assert await retried(pool, job_id, "b", only=[ImageStatus.FAILED]) == {"a", "b", "c"}


async def test_a_retried_image_brings_those_that_failed_for_want_of_it(pool: asyncpg.Pool) -> None:
    job_id = await ended_family(pool, canceled=["a"])
    assert await retried(pool, job_id, "a") == {"a", "b", "c", "ax"}
    now = await states(pool, job_id)
    assert (now["b"], now["c"], now["ax"], now["x"]) == ("awaiting", "awaiting", "awaiting", "queued")


async def test_it_does_not_bring_one_that_lacks_another_picture_too_nor_one_that_was_canceled_itself(
    pool: asyncpg.Pool,
) -> None:
    job_id = await ended_family(pool, canceled=["c", "x", "a"])
    assert await retried(pool, job_id, "a") == {"a", "b"}
    assert await retried(pool, job_id, "x") == {"x", "ax"}, "its other one is under way by now"


async def test_a_prompt_may_be_given_for_whoever_comes_along(pool: asyncpg.Pool) -> None:
    job_id = await ended_family(pool, canceled=["a"])
    with pytest.raises(InvalidRequest):
        await retried(pool, job_id, "c", prompts={"x": "Something else"})
    await retried(pool, job_id, "c", prompts={"a": "Something else"})
    assert [row["prompt"] for row in await images_of(pool, job_id) if row["id"] == "a"] == ["Something else"]


async def test_a_whole_retry_makes_everything_once_and_in_order(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    images = (made_from(vendor_image("child"), "a"), vendor_image("a", "refuse IMAGE_SAFETY"), vendor_image("b"))
    job_id = (await submit(pool, order(*images), run_limit_seconds=3600)).job_id
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.PARTIAL
        await retried(pool, job_id, prompts={"a": "Something else"})
        assert await ended(pool, job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 4
    assert [len(call.references_sha256) for call in sandbox.vendor.calls][-1] == 1


async def test_a_picture_that_comes_late_revives_no_image_made_from_it_until_the_user_retries(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    parent = image("a", timeout_seconds=100, on_uncertain=OnUncertain.HOLD)
    images = (parent, made_from(image("b"), "a"))
    job_id = (await submit(pool, order(*images), run_limit_seconds=3600)).job_id
    worker = await register(pool)
    lease = await take(pool, await admit_again(pool, queue), worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        sent = await pipeline.commit(lease, call_seconds=100)
        assert sent is not None
        lease = lease.moved(ImageStatus.GENERATING)
        end, verdict = no_answer("CUT", "The connection broke.")
        await settle.conclude(pool, lease, sent.id, end, verdict, retry_unit_seconds=1.0)
        assert await states(pool, job_id) == {"a": "uncertain", "b": "failed"}
        assert (await errors(pool, job_id))["b"] == ("DEPENDENCY", "REFERENCE_UNCERTAIN")

        receipt = receipt_of(lease, sent.id, picture())
        await pipeline.keeper.staging.stage(receipt, picture())
        await provider_book.insert_receipt(pool, receipt)
        assert (await swept(settings, pool, queue)).adopted == 1
        assert await states(pool, job_id) == {"a": "uploading", "b": "failed"}
        assert await retried(pool, job_id, "b") == {"b"}, "its picture is on its way"
        assert await states(pool, job_id) == {"a": "uploading", "b": "awaiting"}
