"""From a request to the terms of a schedule: its job is checked as if it were sent now, so that no fault waits for the
night.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
from pydantic import ValidationError

from safelight.api.edge.faults import body_faults, refused
from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault
from safelight.api.ordering.given import input_faults
from safelight.api.ordering.webhook import CheckUrl, url_faults
from safelight.api.schemas import NewSchedule, ScheduleChange
from safelight.domain.errors import BudgetExceeded, Fault, InvalidRequest
from safelight.domain.recurrence import CatchUp
from safelight.domain.template import PLACEHOLDERS, filled, unknown_placeholders
from safelight.engine.schedules.due import Place
from safelight.engine.schedules.timetable import Terms

_JOB = "/job"
_SOME_TIME = datetime(2026, 1, 1)  # noqa: DTZ001 - every filled placeholder is as long as every other


async def read_terms(
    document: Mapping[str, Any], *, account: str, place: Place, check_url: CheckUrl, pool: asyncpg.Pool
) -> Terms:
    """Raises InvalidRequest that lists every fault, those of the job too."""
    known_faults = await _known_faults(document, check_url, pool=pool, account=account)
    return Terms(**_read(NewSchedule, document, known_faults, account=account, place=place))


async def read_changes(
    document: Mapping[str, Any], *, account: str, place: Place, check_url: CheckUrl, pool: asyncpg.Pool
) -> dict[str, Any]:
    """The fields of its terms that change. Raises InvalidRequest that lists every fault."""
    known_faults = await _known_faults(document, check_url, pool=pool, account=account)
    return _read(ScheduleChange, document, known_faults, account=account, place=place)


def under_job(refusal: InvalidRequest) -> InvalidRequest:
    """The same refusal, of a request whose field `job` this job is. That it costs too much is no field's fault."""
    if isinstance(refusal, BudgetExceeded):
        return refusal
    return refused(_under_job(refusal))


async def _known_faults(
    document: Mapping[str, Any], check_url: CheckUrl, *, pool: asyncpg.Pool, account: str
) -> list[Fault]:
    """What only a resolver and the database can say of its job."""
    job = document.get("job")
    if not isinstance(job, dict):
        return []
    given = await input_faults(job, pool=pool, account=account, check_url=check_url)
    return [
        *await url_faults(job.get("webhook"), check_url, pointer=f"{_JOB}/webhook/url"),
        *(replace(fault, pointer=_JOB + fault.pointer) for fault in given),
    ]


def _read(
    model: type[NewSchedule | ScheduleChange],
    document: Mapping[str, Any],
    known_faults: Iterable[Fault],
    *,
    account: str,
    place: Place,
) -> dict[str, Any]:
    faults = [*known_faults]
    fields: dict[str, Any] = {}
    try:
        read = model.model_validate(document)
        given = read.model_fields_set if model is ScheduleChange else model.model_fields
        fields = {name: getattr(read, name) for name in given}
    except ValidationError as error:
        faults += body_faults(error)
    if isinstance(job := document.get("job"), dict):
        faults += _job_faults(job, account=account, place=place)
    if faults:
        raise refused(faults)
    if "catch_up" in fields:
        fields["catch_up"] = CatchUp(fields["catch_up"])
    return fields


def _job_faults(template: Mapping[str, Any], *, account: str, place: Place) -> list[Fault]:
    known = ", ".join(f"`{{{name}}}`" for name in PLACEHOLDERS)
    faults: list[Fault] = [
        RequestFault(pointer("job", *path), f"There is no such placeholder; there are {known}.")
        for path, _ in unknown_placeholders(template)
    ]
    try:
        place(filled(template, _SOME_TIME), account=account, idempotency_key=None)
    except InvalidRequest as refusal:
        faults += _under_job(refusal)
    return list(dict.fromkeys(faults))


def _under_job(refusal: InvalidRequest) -> list[Fault]:
    if not refusal.faults:
        return [RequestFault(_JOB, refusal.detail, refusal.slug)]
    return [
        RequestFault(_JOB + fault.pointer, fault.detail, fault.slug)
        if isinstance(fault, RequestFault)
        else RequestFault(_JOB + fault.pointer, fault.detail)
        for fault in refusal.faults
    ]
