"""Statistics: what has become of jobs over a time, in figures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.faults import refused
from safelight.api.edge.openapi import documented, problems
from safelight.api.edge.problems import RequestFault
from safelight.api.history.filters import account_in
from safelight.api.history.tables import Cell, table, wants_table, with_table
from safelight.api.money import shown_amounts
from safelight.domain.credits import Billing
from safelight.domain.lifecycle import JobStatus
from safelight.domain.money import format_usd
from safelight.domain.recurrence import zone_of
from safelight.engine.figures.statistics import (
    Favourite,
    Figures,
    GroupBy,
    Percentiles,
    Span,
    Statistics,
    UnknownZone,
    now,
    statistics,
)

USUAL_DAYS = 30
MAX_DAYS = 366
MAX_DAYS_BY_HOUR = 31

_COUNTS = tuple(schemas.Counts.model_fields)
_JOBS = tuple(schemas.JobCounts.model_fields)
_PERCENTILES = ("queue_wait_seconds", "generation_seconds", "total_seconds")
_COST = tuple(schemas.StatsCost.model_fields)
_USAGE = tuple(schemas.TokenUsage.model_fields)
COLUMNS = (
    *("from", "to", "account", "group_by", "key"),
    *(f"jobs_{name}" for name in _JOBS),
    *(f"images_{name}" for name in _COUNTS),
    *("success_rate", "refusal_rate"),
    *(f"{name.removesuffix('_seconds')}_{p}_seconds" for name in _PERCENTILES for p in ("p50", "p90", "p99")),
    *("calls", *_COST, *_USAGE),
)


def stats_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/stats", tags=["statistics"])

    @router.get(
        "",
        responses=with_table(
            documented(200, schemas.Stats, "The figures."), "A row for each group, or one for all without `group_by`."
        )
        | problems(422),
    )
    async def show_stats(request: Request, caller: Reads, query: Annotated[schemas.StatsQuery, Query()]) -> Response:
        """How many jobs and images there were and what has become of them, how long they waited and took, what they
        have cost, and what most were ordered with: of jobs that were created in a time, the last 30 days when it is
        not said."""
        span = await _span(deps, query, account=account_in(query.account, caller=caller))
        try:
            found = await statistics(deps.pool, span, acquire_seconds=deps.acquire_seconds)
        except UnknownZone:
            raise refused([RequestFault("time_zone", "The database has no such time zone.", in_query=True)]) from None
        shown = _shown(span, found)
        if wants_table(request, query.format):
            return table("statistics", COLUMNS, _rows(shown))
        return Response(shown.as_json(), 200, {"Cache-Control": "no-store"}, "application/json")

    return router


async def _span(deps: ApiDependencies, query: schemas.StatsQuery, *, account: str | None) -> Span:
    """Raises InvalidRequest for a time that is none, or too long."""
    until = query.until or await now(deps.pool, acquire_seconds=deps.acquire_seconds)
    since = query.since or _before(until, USUAL_DAYS)
    most = MAX_DAYS_BY_HOUR if query.group_by is GroupBy.HOUR else MAX_DAYS
    why = None
    if since >= until:
        why = "Must lie before `to`."
    elif until - since > timedelta(days=most):
        why = f"Must lie at most {most} days before `to`" + (", by hour." if most == MAX_DAYS_BY_HOUR else ".")
    if why is not None:
        raise refused([RequestFault("from", why, in_query=True)])
    return Span(account=account, since=since, until=until, group_by=query.group_by, time_zone=query.time_zone)


def _before(moment: datetime, days: int) -> datetime:
    """Never before the first moment that there is in a request."""
    return max(moment.astimezone(UTC) - timedelta(days=days), datetime(1970, 1, 1, tzinfo=UTC))


def _shown(span: Span, found: Statistics) -> schemas.Stats:
    return schemas.Stats(
        **{"from": span.since.astimezone(UTC), "to": span.until.astimezone(UTC)},
        account=span.account,
        group_by=span.group_by.value if span.group_by is not None else None,
        time_zone=span.time_zone,
        total=schemas.Figures(**_fields(found.total)),
        groups=[schemas.GroupFigures(key=_key(span, key), **_fields(figures)) for key, figures in found.groups],
        is_cut=found.is_cut,
        popular=_popular(found.favourites),
    )


def _key(span: Span, key: str) -> str | None:
    match span.group_by:
        case GroupBy.HOUR:
            return datetime.fromtimestamp(int(key), zone_of(span.time_zone)).isoformat()
        case GroupBy.STYLE:
            return key or None
        case _:
            return key


def _fields(figures: Figures) -> dict[str, Any]:
    """Of a `Figures`."""
    book = figures.book
    uncertain = book.uncertain_microusd
    captured: dict[str, Any] = {}
    for currency, amount in figures.captured.items():
        captured |= shown_amounts(Billing(currency), {"captured": amount})
    return {
        "jobs": schemas.JobCounts(
            total=sum(figures.jobs.values()), **{status.value: figures.jobs.get(status, 0) for status in JobStatus}
        ),
        "images": schemas.Counts(total=sum(figures.images.values()), **figures.images),
        "success_rate": _rate(figures.success_rate),
        "refusal_rate": _rate(figures.refusal_rate),
        "queue_wait_seconds": _seconds(figures.waited),
        "generation_seconds": _seconds(figures.made),
        "total_seconds": _seconds(figures.took),
        "calls": book.calls,
        "cost": schemas.StatsCost(
            actual_usd=format_usd(book.actual_microusd),
            wasted_usd=format_usd(book.wasted_microusd),
            uncertain_usd=format_usd(uncertain) if uncertain is not None else None,
            **captured,
        ),
        "usage": schemas.TokenUsage(input_tokens=book.input_tokens, output_tokens=book.output_tokens),
    }


def _rate(share: float | None) -> float | None:
    return round(share, 4) if share is not None else None


def _seconds(of: Percentiles | None) -> schemas.SecondsOf | None:
    if of is None:
        return None
    return schemas.SecondsOf(p50=round(of.p50, 3), p90=round(of.p90, 3), p99=round(of.p99, 3))


def _popular(favourites: Mapping[str, Sequence[Favourite]]) -> schemas.Popular:
    def named(kind: str) -> list[schemas.PopularName]:
        return [
            schemas.PopularName(name=each.name, images=each.images, completed=each.completed)
            for each in favourites[kind]
        ]

    return schemas.Popular(
        models=[
            schemas.PopularModel(
                provider=each.provider or "", model=each.name, images=each.images, completed=each.completed
            )
            for each in favourites["models"]
        ],
        providers=named("providers"),
        groups=named("groups"),
        styles=named("styles"),
    )


async def _rows(stats: schemas.Stats) -> AsyncIterator[Sequence[Sequence[Cell]]]:
    head: list[Cell] = [stats.since, stats.until, stats.account or schemas.EVERY_ACCOUNT, stats.group_by]
    if stats.group_by is None:
        yield [[*head, None, *_row(stats.total)]]
    else:
        yield [[*head, group.key, *_row(group)] for group in stats.groups]


def _row(figures: schemas.Figures) -> list[Cell]:
    seconds: list[schemas.SecondsOf | None] = [getattr(figures, name) for name in _PERCENTILES]
    return [
        *(getattr(figures.jobs, name) for name in _JOBS),
        *(getattr(figures.images, name) for name in _COUNTS),
        figures.success_rate,
        figures.refusal_rate,
        *(getattr(each, p) if each is not None else None for each in seconds for p in ("p50", "p90", "p99")),
        figures.calls,
        *(getattr(figures.cost, name) for name in _COST),
        *(getattr(figures.usage, name) for name in _USAGE),
    ]
