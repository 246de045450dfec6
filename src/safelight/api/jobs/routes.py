"""Jobs: submit, look, cancel, retry."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import asyncpg
import structlog
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, Submits, acting_for, reach_of, require_still
from safelight.api.cursor import cursor_after, job_before
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.etag import is_known, tag_of
from safelight.api.edge.faults import validated
from safelight.api.edge.idempotency import KEY_PARAMETER, REPLAYED, idempotency_key
from safelight.api.edge.openapi import Responses, documented, problems, request_body
from safelight.api.following.waiting import MAX_WAIT_SECONDS, JobWatch, preferred_wait
from safelight.api.history.filters import METADATA_PARAMETER, history_of
from safelight.api.history.tables import wants_table, with_table
from safelight.api.jobs.quotes import Quotes
from safelight.api.jobs.table import job_table
from safelight.api.jobs.view import JobReader
from safelight.api.ordering.overrides import require_fitting_prompts
from safelight.api.ordering.placing import placed
from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.domain.access import ACCOUNT
from safelight.domain.errors import InvalidRequest, NotFound
from safelight.domain.fingerprint import fingerprint
from safelight.domain.ids import JobId, is_job_id
from safelight.domain.lifecycle import RETRYABLE_IMAGE_STATUSES, TERMINAL_JOB_STATUSES, ImageStatus
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import Accepted, submit
from safelight.engine.upkeep.erasure import clear, remove

_SUBMIT = load("submit")
_POLL_SECONDS = 2
_CLEAR_SECONDS = 10.0
"""That a removal waits for the storage. Chosen."""
_ACCEPTED_HEADERS = {
    "Location": "The job's address.",
    "Retry-After": "Seconds until a first look is worth while.",
    "Preference-Applied": "`wait=n` when the answer was held back as `Prefer` asked.",
    "Idempotency-Replayed": "`true` when this job was made by an earlier request with the same key.",
}

_ENDED_OR_QUOTE = documented(
    200,
    schemas.Job,
    "The job, which has ended within the time that `Prefer: wait` gave it; with `dry_run`, what it would be.",
)
_ENDED_OR_QUOTE[200]["content"]["application/json"]["schema"] = {
    "oneOf": [{"$ref": f"#/components/schemas/{each.__name__}"} for each in (schemas.Job, schemas.Quote)]
}

_JOB_HEADERS = {
    "ETag": "Changes with the answer; a weak one leaves the forecast of its end out.",
    "Retry-After": "Too many were waiting: seconds after which to ask again.",
}
_NOT_MODIFIED: Responses = {304: {"description": "The caller has it already: `If-None-Match` names its ETag."}}

log = structlog.get_logger(__name__)

_FORECAST = {"eta_seconds", "eta_p90_seconds"}

NoQuery = Annotated[schemas.NoQuery, Query()]


def job_routes(deps: ApiDependencies, watch: JobWatch, reader: JobReader, quotes: Quotes) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    links = Links(deps.public_url)

    @router.post(
        "",
        status_code=202,
        responses=documented(202, schemas.Job, "Accepted, and kept.", headers=_ACCEPTED_HEADERS)
        | _ENDED_OR_QUOTE
        | problems(400, 402, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.NewJob, parameters=[KEY_PARAMETER, _PREFER_PARAMETER]),
    )
    async def submit_job(request: Request, caller: Submits, query: Annotated[schemas.SubmitQuery, Query()]) -> Response:
        """Accepts a job: one transaction, and it is kept. The images are made in the background.

        With an `Idempotency-Key` the same request makes one job, however often it is sent. With `Prefer: wait=20` the
        answer is held back until the job has ended, or so many seconds at most; the job itself never depends on it.

        With `?dry_run=true` nothing is created: the answer is what it would cost, and how long it may take.
        """
        wait_seconds = preferred_wait(request)
        key = idempotency_key(request, is_required=deps.require_idempotency_key and not query.is_dry_run)
        document = await read_object(request, within_seconds=deps.body_seconds)
        account = acting_for(caller, _account_in(document))
        if query.is_dry_run:
            return _answer(await quotes.of(document, account=account))
        accepted = await _accept(deps, document, key, account)
        deps.admission.nudge()
        headers = {"Location": links.job(accepted.job_id), "Retry-After": str(_POLL_SECONDS)}
        if accepted.replayed:
            headers[REPLAYED] = "true"
        job = await reader.job(accepted.job_id, account=account)
        if wait_seconds is None:
            return _answer(job, 202, headers)
        if not _has_ended(job):
            if not await watch.wait(request, job.id, seq=job.seq, seconds=wait_seconds):
                return _answer(job, 202, headers)
            try:
                job = await reader.job(job.id, account=account)
            except TRANSIENT as error:  # the job is kept, and whoever does not hear so may order it again
                log.warning("a job that was waited for cannot be read", job_id=job.id, error=type(error).__name__)
                return _answer(job, 202, headers)
        headers["Preference-Applied"] = f"wait={wait_seconds}"
        if not _has_ended(job):
            return _answer(job, 202, headers)
        del headers["Retry-After"]
        return _answer(job, 200, headers)

    @router.get(
        "",
        responses=with_table(documented(200, schemas.JobPage, "A page."), "All of them, a row each.")
        | problems(400, 422),
        openapi_extra={"parameters": [METADATA_PARAMETER]},
    )
    async def list_jobs(request: Request, caller: Reads, query: Annotated[schemas.JobsQuery, Query()]) -> Response:
        """Jobs without their images, newest first. `metadata.{key}={value}` shows those whose metadata has that entry;
        filters that come together must all be met. As `text/csv`, all of them."""
        history = history_of(request, query, caller=caller)
        before = job_before(query.cursor, history) if query.cursor is not None else None
        if wants_table(request, query.format):
            most = query.limit if "limit" in query.model_fields_set else None
            return await job_table(reader, history, before=before, most=most)
        jobs, has_more = await reader.page(history, before=before, limit=query.limit)
        following = cursor_after(JobId(jobs[-1].id), history) if has_more else None
        return _answer(schemas.JobPage(jobs=jobs, next_cursor=following))

    @router.get(
        "/{job_id}",
        responses=documented(200, schemas.Job, "The job.", headers=_JOB_HEADERS) | _NOT_MODIFIED | problems(404, 422),
    )
    async def get_job(
        request: Request, caller: Reads, job_id: str, query: Annotated[schemas.JobQuery, Query()]
    ) -> Response:
        """The job with all its images, as they stand now; with `wait`, once the job has ended or has moved.

        When too many wait already, the answer comes at once, with `Retry-After`.
        """
        job = await reader.job(job_id, account=reach_of(caller), inline=query.inline)
        if not query.wait or _has_ended(job) or (query.after is not None and job.seq > query.after):
            return _tagged(request, job)
        if not await watch.wait(request, job.id, seq=job.seq, seconds=query.wait, after=query.after):
            return _tagged(request, job, {"Retry-After": str(_POLL_SECONDS)})
        await require_still(request)
        return _tagged(request, await reader.job(job_id, account=reach_of(caller), inline=query.inline))

    @router.post(
        "/{job_id}/cancel",
        status_code=202,
        responses=documented(202, schemas.Job, "Canceled; calls that were sent may still wind down.")
        | documented(200, schemas.Job, "The job was canceled already.")
        | problems(400, 404, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.NewCancellation, is_required=False),
    )
    async def cancel_job(request: Request, caller: Submits, job_id: str, _: NoQuery) -> Response:
        """Images that wait end now. Calls that were sent wind down; nothing leads to a new one."""
        wish = validated(schemas.NewCancellation, await _optional_body(request, deps))
        canceled = await cancel(
            deps.pool, _known(job_id), account=reach_of(caller), mode=CancelMode(wish.mode), image_ids=wish.images
        )
        deps.admission.nudge()
        return _answer(await reader.job(job_id, account=reach_of(caller)), 200 if canceled.was_canceled else 202)

    @router.post(
        "/{job_id}/retry",
        status_code=202,
        responses=documented(202, schemas.Job, "The next run has begun.")
        | problems(400, 402, 404, 408, 409, 410, 413, 415, 422),
        openapi_extra=request_body(schemas.NewRetry, is_required=False),
    )
    async def retry_job(request: Request, caller: Submits, job_id: str, _: NoQuery) -> Response:
        """Images that ended without a picture are tried again; what is completed is kept."""
        wish = validated(schemas.NewRetry, await _optional_body(request, deps))
        known_id = _known(job_id)
        await require_fitting_prompts(deps, known_id, account=reach_of(caller), prompts=wish.prompt_overrides)
        await retry(
            deps.pool,
            known_id,
            account=reach_of(caller),
            only=[ImageStatus(each) for each in wish.only] if wish.only else RETRYABLE_IMAGE_STATUSES,
            image_ids=wish.images,
            prompts=wish.prompt_overrides,
            run_limit_seconds=deps.run_limit_seconds,
            prices=deps.credit_prices,
        )
        deps.admission.nudge()
        return _answer(await reader.job(job_id, account=reach_of(caller)), 202, {"Retry-After": str(_POLL_SECONDS)})

    @router.delete(
        "/{job_id}",
        responses=documented(200, schemas.Job, "What is left of it.") | problems(404, 409, 422),
    )
    async def remove_job(caller: Submits, job_id: str, _: NoQuery) -> Response:
        """The job's pictures and texts are gone for good; its row, its events and its costs stay. Nothing of it is
        served from now on; files that cannot be deleted at once are deleted as soon as they can be. Removing it again
        changes nothing."""
        known_id = _known(job_id)
        await remove(deps.pool, known_id, account=reach_of(caller))
        try:
            async with asyncio.timeout(_CLEAR_SECONDS):
                await clear(deps.pool, deps.blobs, known_id)
        except (OSError, TimeoutError, asyncpg.LockNotAvailableError) as error:  # a worker goes on with it
            log.warning("a removed job is still stored", job_id=job_id, error=type(error).__name__)
        return _answer(await reader.job(job_id, account=reach_of(caller)))

    return router


_PREFER_PARAMETER: dict[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": f"`wait=n`: answer when the job has ended, or after n seconds, at most {MAX_WAIT_SECONDS}.",
    "schema": {"type": "string", "examples": ["wait=20"]},
}


def _account_in(document: dict[str, Any]) -> str | None:
    """Whom the job is for; what is no account is a fault of the body, and told with the others."""
    named = document.get("account")
    return named if isinstance(named, str) and ACCOUNT.fullmatch(named) else None


async def _accept(deps: ApiDependencies, document: dict[str, Any], key: str | None, account: str) -> Accepted:
    """Submits the order. A request that was accepted once is never refused under its key, although a recipe,
    a style or a model that it names may be gone by now."""
    try:
        order = await placed(
            document,
            account=account,
            idempotency_key=key,
            pool=deps.pool,
            catalog=deps.catalog,
            recipes=deps.recipes,
            check_url=deps.check_url,
        )
    except InvalidRequest:
        if key is None:
            raise
        async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
            earlier = await conn.fetchrow(_SUBMIT.job_of_key, account, key)
        if earlier is None or earlier["request_fingerprint"] != fingerprint(document):
            raise
        return Accepted(JobId(earlier["id"]), replayed=True)
    return await submit(
        deps.pool,
        order,
        run_limit_seconds=deps.run_limit_seconds,
        prices=deps.credit_prices,
        account_billing=deps.account_billing,
        depth=deps.depth,
    )


async def _optional_body(request: Request, deps: ApiDependencies) -> dict[str, Any]:
    return await read_object(request, within_seconds=deps.body_seconds, is_required=False)


def _known(job_id: str) -> JobId:
    if not is_job_id(job_id):
        raise NotFound("There is no such job.")
    return JobId(job_id)


def _has_ended(job: schemas.Job) -> bool:
    return job.status in TERMINAL_JOB_STATUSES


def _tagged(request: Request, job: schemas.Job, headers: dict[str, str] | None = None) -> Response:
    """The job, or 304 when the caller has it. It may be kept, but is asked for each time: images move without events,
    so the tag is that of the answer itself. A forecast runs down by itself: that is no change, and makes the tag a
    weak one."""
    is_forecast = job.eta_seconds is not None
    lasting = job.model_dump_json(exclude_unset=True, exclude=_FORECAST if is_forecast else None).encode()
    tag = f"W/{tag_of(lasting)}" if is_forecast else tag_of(lasting)
    if is_known(request, tag):
        answer = Response(status_code=304, headers=headers)
    elif is_forecast:
        answer = _answer(job, 200, headers)
    else:
        answer = Response(lasting, 200, headers, "application/json")
    answer.headers["ETag"] = tag
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def _answer(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What a model leaves unset stays out of the answer. Nobody keeps a copy: the next one may differ."""
    return Response(
        content.model_dump_json(exclude_unset=True),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/json",
    )
