"""Schedules: jobs that are made again and again."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, Submits, acting_for
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.idempotency import KEY_PARAMETER, REPLAYED, idempotency_key
from safelight.api.edge.openapi import documented, problems, request_body
from safelight.api.ordering.order import place_order
from safelight.api.ordering.terms import read_changes, read_terms, under_job
from safelight.api.resources.schedule_view import ScheduleReader
from safelight.delivery.links import Links
from safelight.domain.errors import InvalidRequest
from safelight.domain.ids import ScheduleId, is_schedule_id
from safelight.engine.accounts.accounts import ensure
from safelight.engine.accounts.styles import styles_of
from safelight.engine.schedules import timetable
from safelight.engine.schedules.due import Place, Schedules

AccountQuery = Annotated[schemas.AccountQuery, Query()]

_CREATED_HEADERS = {"Location": "The schedule's address."}
_RUN_HEADERS = {
    "Location": "The job's address.",
    "Idempotency-Replayed": "`true` when this run was made by an earlier request with the same key.",
}


def schedule_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/schedules", tags=["schedules"])
    links = Links(deps.public_url)
    reader = ScheduleReader(deps)
    place = partial(place_order, catalog=deps.catalog, recipes=deps.recipes)

    async def placing(account: str) -> Place:
        return partial(place, styles=await styles_of(deps.pool, account=account))

    schedules = Schedules(
        deps.pool,
        place,
        run_limit_seconds=deps.run_limit_seconds,
        nudge=deps.admission.nudge,
        prices=deps.credit_prices,
    )

    @router.post(
        "",
        status_code=201,
        responses=documented(201, schemas.Schedule, "Created.", headers=_CREATED_HEADERS)
        | problems(400, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.NewSchedule),
    )
    async def create_schedule(request: Request, caller: Submits, query: AccountQuery) -> Response:
        """A job that is made whenever its time comes. Its template is checked now as a job would be."""
        account = acting_for(caller, query.account)
        document = await read_object(request, within_seconds=deps.body_seconds)
        terms = await read_terms(
            document, account=account, place=await placing(account), check_url=deps.check_url, pool=deps.pool
        )
        if account != caller.account:
            await ensure(deps.pool, account, billing=deps.account_billing)
        schedule_id = await timetable.add(deps.pool, account, terms)
        schedule = await reader.schedule(schedule_id, account=account)
        return _answer(schedule, 201, {"Location": links.schedule(schedule_id)})

    @router.get("", responses=documented(200, schemas.SchedulePage, "A page.") | problems(400, 422))
    async def list_schedules(caller: Reads, query: Annotated[schemas.ScheduleQuery, Query()]) -> Response:
        """Schedules by name, without their templates."""
        account = acting_for(caller, query.account)
        return _answer(await reader.page(account, query))

    @router.get("/{schedule_id}", responses=documented(200, schemas.Schedule, "The schedule.") | problems(404, 422))
    async def get_schedule(caller: Reads, schedule_id: str, query: AccountQuery) -> Response:
        """The schedule, when it runs next, and how its last run went."""
        account = acting_for(caller, query.account)
        return _answer(await reader.schedule(_known(schedule_id), account=account))

    @router.patch(
        "/{schedule_id}",
        responses=documented(200, schemas.Schedule, "As it stands now.") | problems(400, 404, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.ScheduleChange),
    )
    async def change_schedule(request: Request, caller: Submits, schedule_id: str, query: AccountQuery) -> Response:
        """Changes the fields that are given. Jobs that it has made stay as they are."""
        account = acting_for(caller, query.account)
        known_id = _known(schedule_id)
        document = await read_object(request, within_seconds=deps.body_seconds)
        changes = await read_changes(
            document, account=account, place=await placing(account), check_url=deps.check_url, pool=deps.pool
        )
        await timetable.change(deps.pool, known_id, changes, account=account)
        return _answer(await reader.schedule(known_id, account=account))

    @router.delete(
        "/{schedule_id}", status_code=204, responses={204: {"description": "It is gone."}} | problems(404, 422)
    )
    async def delete_schedule(caller: Submits, schedule_id: str, query: AccountQuery) -> Response:
        """No further job is made. Those that it has made stay, but it no longer says which they are."""
        account = acting_for(caller, query.account)
        await timetable.remove(deps.pool, _known(schedule_id), account=account)
        return Response(status_code=204)

    @router.post(
        "/{schedule_id}/run",
        status_code=202,
        responses=documented(202, schemas.ScheduleRun, "The run and its job.", headers=_RUN_HEADERS)
        | problems(400, 402, 404, 409, 422),
        openapi_extra={"parameters": [KEY_PARAMETER]},
    )
    async def run_schedule(request: Request, caller: Submits, schedule_id: str, query: AccountQuery) -> Response:
        """A run for now, also of a schedule that is disabled. With `unique_per: day` it is given the day's job, if
        there is one already."""
        account = acting_for(caller, query.account)
        key = idempotency_key(request)
        try:
            run_id, is_known = await schedules.run_now(_known(schedule_id), account=account, request_key=key)
        except InvalidRequest as refusal:
            raise under_job(refusal) from None
        run = await reader.run(run_id)
        headers = {"Location": links.job(run.job.id)} if run.job is not None else {}
        return _answer(run, 202, headers | ({REPLAYED: "true"} if is_known else {}))

    @router.get(
        "/{schedule_id}/runs", responses=documented(200, schemas.ScheduleRunPage, "A page.") | problems(400, 404, 422)
    )
    async def list_runs(caller: Reads, schedule_id: str, query: Annotated[schemas.RunsQuery, Query()]) -> Response:
        """What became of each time that has come, newest first."""
        account = acting_for(caller, query.account)
        return _answer(await reader.runs(_known(schedule_id), query, account=account))

    return router


def _known(schedule_id: str) -> ScheduleId:
    if not is_schedule_id(schedule_id):
        raise timetable.unknown()
    return ScheduleId(schedule_id)


def _answer(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Nobody keeps a copy: the next one may differ."""
    return Response(
        content.model_dump_json(), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json"
    )
