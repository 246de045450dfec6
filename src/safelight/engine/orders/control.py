"""What the caller does to a job that exists: cancel it, or retry what brought no picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from safelight.db.statements import load
from safelight.domain.credits import CreditPrices
from safelight.domain.errors import BudgetExceeded, Conflict, Fault, Gone, InvalidRequest, NotFound
from safelight.domain.events import EventType
from safelight.domain.fallback import Target
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import (
    LIVE_IMAGE_STATUSES,
    RETRYABLE_IMAGE_STATUSES,
    TERMINAL_JOB_STATUSES,
    ImageStatus,
    JobStatus,
)
from safelight.domain.order import request_fingerprint
from safelight.domain.style import AppliedStyle
from safelight.engine.image.charge import Item, charge, payer_of_job, tell_if_exhausted
from safelight.engine.image.journal import append_event, end_job_if_done, locked_job, mark_canceling, reopen_job
from safelight.engine.image.settle import end_queued
from safelight.engine.orders.family import Family
from safelight.engine.queue.dispatch import notify_stop

_SQL = load("control")


class CancelMode(StrEnum):
    """What happens to a call that was already sent: `finish` lets it end and keeps its picture for a retry, `abort`
    closes the socket and books the outcome as unknown."""

    FINISH = "finish"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """`was_canceled`: there was nothing left to do."""

    was_canceled: bool


async def cancel(
    pool: asyncpg.Pool,
    job_id: JobId,
    *,
    account: str | None,
    mode: CancelMode,
    image_ids: Collection[str] | None = None,
) -> Cancellation:
    """Queued images end now; images with a sent call end when it has answered; nothing leads to a new call.

    Without `image_ids` the whole job is canceled. `account` is whose job it has to be; None: anybody's.

    Raises NotFound, Conflict when the job has ended otherwise, and
    InvalidRequest on an image that the job does not have.
    """
    await _require_account(pool, job_id, account)
    async with locked_job(pool, job_id) as (conn, job):
        if job.status is JobStatus.CANCELED:
            return Cancellation(was_canceled=True)
        if job.status in TERMINAL_JOB_STATUSES:
            raise Conflict(f"Job `{job_id}` has ended as {job.status}.", slug="job-already-terminal")
        images = await conn.fetch(_SQL.lock_images, job_id)
        chosen = _chosen(images, image_ids, pointer="/images")
        stop = "abort" if mode is CancelMode.ABORT else "cancel"
        winding_down = 0
        to_notice: list[int] = []
        for image in images:
            if image["id"] not in chosen:
                continue
            if image["status"] == ImageStatus.QUEUED and not image["has_open_attempt"]:
                await end_queued(conn, job_id, image["row_id"], stop=stop)
            elif image["status"] == ImageStatus.QUEUED or image["status"] in LIVE_IMAGE_STATUSES:
                await conn.execute(_SQL.ask_to_stop, image["row_id"], stop)
                winding_down += 1
                if image["queue_row_id"] is not None:
                    to_notice.append(image["queue_row_id"])
        open_ids = {i["id"] for i in images if i["status"] in (ImageStatus.QUEUED, *LIVE_IMAGE_STATUSES)}
        if winding_down and open_ids <= chosen:
            await mark_canceling(conn, job_id)
        await end_job_if_done(conn, job_id)
    if to_notice and mode is CancelMode.ABORT:
        await notify_stop(pool, to_notice)
    return Cancellation(was_canceled=False)


async def retry(
    pool: asyncpg.Pool,
    job_id: JobId,
    *,
    account: str | None,
    only: Collection[ImageStatus] = RETRYABLE_IMAGE_STATUSES,
    image_ids: Collection[str] | None = None,
    prompts: Mapping[str, str] | None = None,
    run_limit_seconds: float,
    prices: CreditPrices = CreditPrices(),  # noqa: B008 - a constant
) -> int:
    """How many images went back to the backlog; what is completed is kept, and so is every earlier attempt.

    Images without a picture that a retried one references come along, whatever `only` and `image_ids` say, since it
    cannot be made without them; and images that ended only because a retried one had no picture.

    A prompt that is given takes the place of the caller's own: the image's style stays around it.

    A picture that was bought for the same request after the image had ended is used, not bought again, and a job at the
    vendor that nobody waited for any more is asked after first. Each image is charged for anew, at these `prices`, and
    what was still held for it is given back. Raises NotFound, InvalidRequest on an unknown image and on a prompt that
    would not be used, Conflict when nothing can be retried, Gone when the job's prompts were removed, and
    BudgetExceeded when it costs more than is left: then nothing has changed.
    """
    await _require_account(pool, job_id, account)
    try:
        return await _retry(pool, job_id, only, image_ids, prompts or {}, run_limit_seconds, prices)
    except BudgetExceeded as refusal:
        await tell_if_exhausted(pool, refusal)
        raise


async def _retry(
    pool: asyncpg.Pool,
    job_id: JobId,
    only: Collection[ImageStatus],
    image_ids: Collection[str] | None,
    prompts: Mapping[str, str],
    run_limit_seconds: float,
    prices: CreditPrices,
) -> int:
    async with locked_job(pool, job_id) as (conn, job):
        if await conn.fetchval(_SQL.has_no_prompts, job_id):
            raise Gone("The job's prompts were removed, so nothing can be made of them any more.")
        images = await conn.fetch(_SQL.lock_images, job_id)
        chosen = _chosen(images, image_ids, pointer="/images")
        wanted = RETRYABLE_IMAGE_STATUSES.intersection(only)
        family = await Family.of(conn, job_id, images)
        in_company = family.with_company(
            i["row_id"] for i in images if i["id"] in chosen and ImageStatus(i["status"]) in wanted
        )
        again = [image for image in images if image["row_id"] in in_company]
        if not again:
            raise Conflict(f"Job `{job_id}` has no image to retry.", slug="nothing-to-retry")
        _require_use(prompts, {image["id"] for image in again})
        if job.status is JobStatus.CANCELING:
            raise Conflict(f"Job `{job_id}` is being canceled; retry it when it has ended.", slug="job-canceling")
        if job.run_is_over and job.status not in TERMINAL_JOB_STATUSES:
            raise Conflict(f"The run of job `{job_id}` is over; retry it when it has ended.", slug="job-canceling")
        if job.status in TERMINAL_JOB_STATUSES:
            await reopen_job(conn, job_id, by_user=True, run_limit_seconds=run_limit_seconds)
        await conn.execute(_SQL.lock_attempts, [image["row_id"] for image in again])
        for image in again:
            prompt = _prompt(image, prompts.get(image["id"]))
            inputs = family.inputs_of(image["row_id"])
            fingerprint = request_fingerprint(image["provider"], image["model"], prompt, image["options"], inputs)
            await conn.fetchval(_SQL.retry_image, image["row_id"], prompt, fingerprint)
            await conn.fetchval(_SQL.ask_again, image["row_id"], fingerprint)
        items = [Item(image["position"], _targets(image)) for image in again]
        await charge(conn, job_id, await payer_of_job(conn, job_id), items, prices)
        await append_event(conn, job_id, EventType.JOB_RETRIED, data={"images": [image["id"] for image in again]})
    return len(again)


def _chosen(images: Collection[asyncpg.Record], image_ids: Collection[str] | None, *, pointer: str) -> set[str]:
    known = {image["id"] for image in images}
    if image_ids is None:
        return known
    unknown = [
        Fault(f"{pointer}/{n}", f"The job has no image `{each}`.")
        for n, each in enumerate(image_ids)
        if each not in known
    ]
    if unknown:
        raise InvalidRequest("The request names images that the job does not have.", faults=tuple(unknown))
    return set(image_ids)


def _targets(image: asyncpg.Record) -> list[Target]:
    """Every way to an image, as it was ordered."""
    if image["targets"] is not None:
        return [Target(**target) for target in image["targets"]]
    return [Target(**{name: image[name] for name in Target.__dataclass_fields__})]


def _prompt(image: asyncpg.Record, given: str | None) -> str:
    if given is None:
        return image["prompt"]
    kept = image["style"]
    return AppliedStyle.found_in(image["prompt"], kept).around(given) if kept is not None else given


def _require_use(prompts: Mapping[str, str], again: set[str]) -> None:
    unused = tuple(
        Fault(f"/prompt_overrides/{each}", f"Image `{each}` is not being retried.")
        for each in prompts
        if each not in again
    )
    if unused:
        raise InvalidRequest("A prompt is given for an image that is not being retried.", faults=unused)


async def _require_account(pool: asyncpg.Pool, job_id: JobId, account: str | None) -> None:
    if await pool.fetchval(_SQL.job_exists, job_id, account) is None:
        raise NotFound(f"There is no job `{job_id}`.")
