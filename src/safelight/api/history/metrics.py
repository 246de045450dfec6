"""Figures: for Prometheus as text, and for a page that people look at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, reach_of
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import documented, problems
from safelight.api.history.filters import account_in
from safelight.db.pool import families_of
from safelight.domain.errors import NotFound
from safelight.domain.money import format_usd
from safelight.engine.figures.scrape import Scrape
from safelight.engine.figures.tally import Tally
from safelight.engine.figures.vitals import Chart, Vitals, chart
from safelight.engine.upkeep.stuck import Bounds
from safelight.metrics import exposition


def metrics_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(tags=["metrics"])
    bounds = Bounds(
        max_concurrency=deps.catalog.max_concurrency(), requests_per_minute=deps.catalog.requests_per_minute()
    )
    scrape = Scrape(
        deps.pool,
        Tally(deps.pool),
        bounds=bounds,
        lease_seconds=deps.lease_seconds,
        stuck_seconds=deps.stuck_seconds,
        fresh_seconds=deps.scrape_fresh_seconds,
    )

    @router.get("/metrics", response_class=Response, responses=problems(404))
    async def show_metrics(request: Request) -> Response:
        """Figures for Prometheus, of the installation and of this process, in its text format, or in OpenMetrics where
        `Accept` names that. They tell nothing of any account and need no key."""
        if not deps.metrics:
            raise NotFound("This service tells no metrics. An operator can change that.")
        found = await scrape.families()
        text, media_type = exposition(request.headers.get("accept", ""), [*found, *families_of({"api": deps.pool})])
        return Response(text, 200, {"Content-Type": media_type, "Cache-Control": "no-store"})

    @router.get(
        "/api/metrics/image-generation",
        responses=documented(200, schemas.GenerationMetrics, "The figures.") | problems(422),
    )
    async def show_generation_metrics(caller: Reads, query: Annotated[schemas.MetricsQuery, Query()]) -> Response:
        """How image generation does: success rate, seconds, cost, what stands still, by provider and over time. Of the
        caller's account; of all for an admin's key that names none."""
        account = account_in(query.account, caller=caller) if query.account is not None else reach_of(caller)
        found = await chart(
            deps.pool,
            account=account,
            window=query.window,
            bounds=bounds,
            lease_seconds=deps.lease_seconds,
            stuck_seconds=deps.stuck_seconds,
            acquire_seconds=deps.acquire_seconds,
        )
        shown = _shown(found, account=account, window=query.window)
        return Response(shown.as_json(), 200, {"Cache-Control": "no-store"}, "application/json")

    return router


def _shown(found: Chart, *, account: str | None, window: schemas.MetricsWindow) -> schemas.GenerationMetrics:
    total = found.total
    return schemas.GenerationMetrics(
        **{"from": found.since, "to": found.until},
        **_fields(total),
        account=account,
        window=window,
        success_rate=_rounded(total.success_rate, 4),
        refusal_rate=_rounded(total.refusal_rate, 4),
        active_jobs=found.open_jobs,
        queued_images=found.queued_images,
        active_images=found.active_images,
        stuck_jobs=found.stuck_jobs,
        paused=found.is_paused,
        webhook_failures=found.webhook_failures,
        webhooks_failing=found.webhooks_failing,
        cost_today_usd=format_usd(found.cost_today_microusd),
        wasted_usd=format_usd(total.wasted_microusd),
        uncertain_usd=_usd(total.uncertain_microusd),
        by_provider=[
            schemas.ProviderMetrics(
                **_fields(each),
                provider=name,
                state=standing,
                success_rate=_rounded(each.success_rate, 4),
                wasted_usd=format_usd(each.wasted_microusd),
                uncertain_usd=_usd(each.uncertain_microusd),
            )
            for name, (standing, each) in found.providers.items()
        ],
        series=[schemas.MetricsPoint(**_fields(each), at=at) for at, each in found.series],
    )


def _fields(of: Vitals) -> dict[str, Any]:
    return {
        **of.ended,
        "cost_usd": format_usd(of.cost_microusd),
        "average_generation_seconds": _rounded(of.average_seconds, 3),
        "p90_generation_seconds": _rounded(of.p90_seconds, 3),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None else None


def _usd(microusd: int | None) -> str | None:
    return format_usd(microusd) if microusd is not None else None
