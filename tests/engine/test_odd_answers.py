"""Answers and failures that no vendor should give: what is paid for is kept, and what was not sent is not booked."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.ids import new_worker_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import UNKNOWN_COST, Cost, CostBasis
from safelight.engine.image.outcome import End, TryAgain, judge_error, judge_refusal
from safelight.net.billable import current_call
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.provider import ImageProvider, ImageRequest, ImageResult, ProviderError, Refusal
from safelight.settings import Settings
from tests.engine.by_hand import admitted_one, pipeline_of, run
from tests.orders import attempts_of, image, images_of


class Counting(PlaceholderProvider):
    """Makes a good picture, and counts as JSON can and a database cannot."""

    async def submit(self, request: ImageRequest) -> ImageResult:
        deep: dict[str, Any] = {}
        for _ in range(400):
            deep = {"in": deep}
        usage = {"seconds": 1e400, "score": float("nan"), "tokens": 2**70, "images": 1, "deep": deep}
        return replace(await super().submit(request), usage=usage)


class Overcharging(PlaceholderProvider):
    """A sum that no database holds."""

    async def submit(self, request: ImageRequest) -> ImageResult:
        return replace(await super().submit(request), cost=Cost(2**70, CostBasis.USAGE))


class Breaking(PlaceholderProvider):
    def __init__(self, error: Exception, *, has_left: bool) -> None:
        self._error = error
        self._has_left = has_left

    async def submit(self, request: ImageRequest) -> ImageResult:
        call = current_call()
        assert call is not None
        if self._has_left:
            call.check()
        raise self._error


async def attempt_of(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, provider: ImageProvider
) -> tuple[asyncpg.Record, asyncpg.Record]:
    """One image with one attempt, once its worker is through with it."""
    async with pipeline_of(settings, pool, new_worker_id()) as pipeline:
        pipeline.providers = {"placeholder": provider}
        job_id, hint = await admitted_one(pool, queue, image("img"))
        await run(pipeline, hint)
    [row] = await images_of(pool, job_id)
    [attempt] = await attempts_of(pool, job_id)
    return row, attempt


async def test_a_paid_picture_is_kept_whatever_the_vendor_counted(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    row, attempt = await attempt_of(settings, pool, queue, Counting())

    assert (row["status"], attempt["status"]) == ("completed", "settled")
    kept = attempt["usage"]
    assert (kept["seconds"], kept["score"], kept["tokens"], kept["images"]) == (None, None, 2.0**70, 1)


async def test_a_paid_picture_is_kept_whatever_its_provider_says_it_cost(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    row, attempt = await attempt_of(settings, pool, queue, Overcharging())

    assert (row["status"], attempt["status"]) == ("completed", "settled")
    assert (attempt["cost_microusd"], attempt["cost_basis"]) == (None, "unknown")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        ExceptionGroup("unhandled errors in a TaskGroup", [OSError(errno.EMFILE, "Too many open files")]),
        MemoryError(),
        ImportError("half of a module"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_provider_that_breaks_before_its_first_byte_has_cost_nothing_and_is_tried_again(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, error: Exception
) -> None:
    row, attempt = await attempt_of(settings, pool, queue, Breaking(error, has_left=False))

    assert (attempt["status"], attempt["error_code"], attempt["cost_microusd"]) == ("unbilled", "CLIENT_FAILED", 0)
    assert row["status"] == "queued"


async def test_a_provider_that_breaks_after_its_first_byte_is_not_said_to_have_cost_nothing(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    with pytest.raises(MemoryError):
        await attempt_of(settings, pool, queue, Breaking(MemoryError(), has_left=True))

    assert await pool.fetchval("SELECT status FROM attempts") == "sent"


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        (ErrorKind.RATE_LIMIT, TryAgain(0.0, counts_as_failure=False)),
        (ErrorKind.PERMANENT, End(ImageStatus.FAILED)),
        (ErrorKind.TEMPORARY, TryAgain(None)),
    ],
)
def test_only_a_rate_limit_waits_for_a_quota_of_the_day(kind: ErrorKind, verdict: TryAgain | End) -> None:
    error = ProviderError("no", kind=kind, billed=Billed.NO, code="NO", quota_zone="America/Los_Angeles")

    assert judge_error(error)[1] == verdict


def test_neither_a_failure_nor_a_refusal_costs_more_than_any_call() -> None:
    much = Cost(2**70, CostBasis.USAGE)
    error = ProviderError("no", kind=ErrorKind.TEMPORARY, billed=Billed.YES, code="NO", cost=much)
    refusal = Refusal(code="NO", message="no", billed=Billed.YES, cost=much)

    assert judge_error(error)[0].cost == judge_refusal(refusal)[0].cost == UNKNOWN_COST
