"""Whatever happens to jobs, in whatever order: the books balance after each step, and nothing stays held for ever.

The steps are the engine's own transactions, taken one by one or two at once, over a real database. Vendors are not
asked: a step says how the call went.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safelight.db.statements import load
from safelight.domain.attempts import AttemptStatus, Buy, OnUncertain
from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.errors import Billed, BudgetExceeded, Conflict, ErrorKind
from safelight.domain.ids import AttemptId, JobId, new_attempt_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import FREE, Cost, CostBasis
from safelight.engine.accounts.accounts import account_of, set_daily_budget
from safelight.engine.accounts.ledger import EntryKind, add_credit
from safelight.engine.image import provider_book, settle
from safelight.engine.image.lease import Hint, Lease, claim
from safelight.engine.image.outcome import AttemptEnd, End, ImageError, Opened, TryAgain, Verdict, no_answer
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.settings import Settings
from tests.engine import alone
from tests.engine.books import (
    assert_books_balance,
    assert_holds_at_rest,
    billed_order,
    open_account,
    register_for_all,
)
from tests.engine.by_hand import LONG_LEASE_SECONDS, pass_time, picture, receipt_of, swept
from tests.engine.test_claim import fall_silent
from tests.orders import image

ESTIMATE = 40_000
PRICES = CreditPrices(default=3, by_model={"placeholder-1": 2})
WINDOW_SECONDS = 86_400.0
_ATTEMPTS = load("attempts")

_UNBILLED = AttemptEnd(
    status=AttemptStatus.UNBILLED,
    cost=FREE,
    error=ImageError(kind=ErrorKind.RATE_LIMIT, code="429", message="slower", billed=Billed.NO),
)
_NO_IMAGE = AttemptEnd(
    status=AttemptStatus.NO_IMAGE,
    cost=Cost(55_000, CostBasis.USAGE, "test"),
    error=ImageError(kind=ErrorKind.INVALID_OUTPUT, code="NO_IMAGE", message="no picture", billed=Billed.YES),
)
_REFUSED = AttemptEnd(
    status=AttemptStatus.REFUSED,
    cost=Cost(10_000, CostBasis.USAGE, "test"),
    error=ImageError(kind=ErrorKind.SAFETY, code="SAFETY", message="no", billed=Billed.YES),
)
ENDS: dict[str, tuple[AttemptEnd, Verdict]] = {
    "unbilled": (_UNBILLED, TryAgain(0.0)),
    "no_image": (_NO_IMAGE, TryAgain(0.0)),
    "fail": (_UNBILLED, End(ImageStatus.FAILED)),
    "refuse": (_REFUSED, End(ImageStatus.REFUSED)),
    "unknown": no_answer("TIMEOUT", "no answer came"),
}


@dataclass(slots=True, kw_only=True)
class World:
    """One account and its jobs, and what workers hold in memory: leases, with the calls that are open."""

    settings: Settings
    pool: asyncpg.Pool
    queue: asyncpg.Pool
    account: str
    billing: Billing
    jobs: list[JobId] = field(default_factory=list)
    calls: list[tuple[Lease, AttemptId]] = field(default_factory=list)
    lost: list[tuple[Lease, AttemptId]] = field(default_factory=list)
    paid_in: int = 0
    is_strict: bool = True

    async def top_up(self, pick: int) -> None:
        amount = (1 + pick % 7) * (ESTIMATE if self.billing is Billing.USD else 2)
        await add_credit(self.pool, self.account, amount, kind=EntryKind.TOP_UP, reason=None, idempotency_key=None)
        self.paid_in += amount

    async def submit(self, pick: int) -> None:
        images = [
            image(
                f"i{n}",
                estimate_microusd=ESTIMATE,
                on_uncertain=(OnUncertain.HOLD, OnUncertain.RETRY_ONCE, OnUncertain.FAIL)[(pick + n) % 3],
                max_attempts=2,
            )
            for n in range(1 + pick % 3)
        ]
        limit = (None, 3 * ESTIMATE, None)[pick % 3]
        wanted = billed_order(*images, account=self.account, max_cost_microusd=limit)
        with suppress(BudgetExceeded):
            accepted = await submit(self.pool, wanted, run_limit_seconds=7 * WINDOW_SECONDS, prices=PRICES)
            self.jobs.append(accepted.job_id)

    async def begin(self, pick: int) -> None:
        """A worker claims an image, live ones of dead owners too, and goes as far as an open call, or finishes it."""
        rows = await self.pool.fetch(
            "SELECT i.row_id, i.status FROM images AS i JOIN jobs AS j ON j.id = i.job_id WHERE j.account = $1"
            " AND i.status IN ('queued', 'processing', 'generating', 'uploading') ORDER BY i.row_id",
            self.account,
        )
        if not rows:
            return
        row_id = rows[pick % len(rows)]["row_id"]
        generation = await self.pool.fetchval(
            "UPDATE images SET admitted_at = safelight.now(), generation = generation + 1, queue_row_id = NULL"
            " WHERE row_id = $1 AND status = 'queued' AND not_before <= safelight.now() RETURNING generation",
            row_id,
        )
        worker_id = await register_for_all(self.pool)
        hint = Hint(queue_row_id=1_000_000 + pick, row_id=row_id, generation=generation or -1)
        lease = await claim(self.pool, hint, worker_id=worker_id, lease_seconds=LONG_LEASE_SECONDS)
        if lease is None:
            return
        if (received := await self._received(lease)) is not None:
            await self._finish(lease, received)
            return
        step = await provider_book.next_step_of(self.pool, lease)
        if not isinstance(step, Buy):
            await settle.release(self.pool, lease)
            return
        attempt_id = new_attempt_id()
        opened = await alone.open_attempt(self.pool, lease, attempt_id, call_seconds=60.0, grace_seconds=5.0)
        if isinstance(opened, Opened):
            self.calls.append((lease.moved(ImageStatus.GENERATING), attempt_id))

    async def complete(self, pick: int) -> None:
        if (call := self._take(pick)) is not None:
            lease, attempt_id = call
            cost = (10_000, ESTIMATE, 70_000)[pick % 3]
            await alone.receive_and_complete(
                self.pool, lease, receipt_of(lease, attempt_id, picture(), cost_microusd=cost)
            )

    async def complete_in_two(self, pick: int) -> None:
        if (call := self._take(pick)) is not None:
            lease, attempt_id = call
            received = await alone.receive(self.pool, lease, receipt_of(lease, attempt_id, picture()))
            if isinstance(received, Lease):
                await alone.complete(self.pool, received, attempt_id, ())

    async def conclude(self, pick: int) -> None:
        if (call := self._take(pick)) is not None:
            lease, attempt_id = call
            name = list(ENDS)[pick % len(ENDS)]
            end, verdict = ENDS[name]
            if name == "unknown":
                self.lost.append(call)
            await settle.conclude(self.pool, lease, attempt_id, end, verdict, retry_unit_seconds=0.0)

    async def crash(self, pick: int) -> None:
        """A worker dies in mid-call. Its answer may still turn up in the staging folder."""
        if (call := self._take(pick)) is not None:
            self.lost.append(call)
            await fall_silent(self.pool, call[0].worker_id)

    async def late(self, pick: int) -> None:
        """The receipt of a call that was given up."""
        if self.lost:
            lease, attempt_id = self.lost.pop(pick % len(self.lost))
            await provider_book.insert_receipt(self.pool, receipt_of(lease, attempt_id, picture()))

    async def cancel(self, pick: int) -> None:
        if self.jobs:
            with suppress(Conflict):
                await cancel(self.pool, self.jobs[pick % len(self.jobs)], account=self.account, mode=CancelMode.FINISH)

    async def retry(self, pick: int) -> None:
        if self.jobs:
            with suppress(Conflict, BudgetExceeded):
                await retry(
                    self.pool,
                    self.jobs[pick % len(self.jobs)],
                    account=self.account,
                    run_limit_seconds=7 * WINDOW_SECONDS,
                    prices=PRICES,
                )

    async def sweep(self, _pick: int) -> None:
        await swept(self.settings, self.pool, self.queue)

    async def wait(self, pick: int) -> None:
        await pass_time(self.pool, (100.0, 1000.0, WINDOW_SECONDS + 1)[pick % 3])

    async def budget(self, pick: int) -> None:
        """Lowered at most to what is used."""
        account = await account_of(self.pool, self.account)
        if account.daily_budget_microusd is None or pick % 5 == 0:
            self.is_strict = False
        wanted = max(account.day_held_microusd + account.day_spent_microusd, (pick % 9) * ESTIMATE)
        await set_daily_budget(self.pool, self.account, None if pick % 5 == 0 else wanted)

    async def race(self, pick: int) -> None:
        """Two things at once, to the same job as often as not."""
        first, second = (
            (self.cancel, self.complete),
            (self.retry, self.sweep),
            (self.submit, self.submit),
            (self.cancel, self.conclude),
            (self.sweep, self.late),
            (self.complete, self.budget),
        )[pick % 6]
        await asyncio.gather(first(pick), second(pick // 2))

    async def come_to_rest(self) -> None:
        """Nothing is under way any more: every worker is gone, and the sweep has seen to what they left."""
        self.calls.clear()
        await pass_time(self.pool, 1000.0)
        for job_id in self.jobs:
            with suppress(Conflict):
                await cancel(self.pool, job_id, account=self.account, mode=CancelMode.FINISH)
        for _ in range(3):
            await swept(self.settings, self.pool, self.queue)
        await self.begin_all()

    async def begin_all(self) -> None:
        """What has its picture is finished."""
        for pick in range(12):
            await self.begin(pick)
        for call in self.calls:
            await settle.end(self.pool, call[0], ImageStatus.CANCELED, _UNBILLED.error)
        self.calls.clear()
        await pass_time(self.pool, 1000.0)
        for _ in range(3):
            await swept(self.settings, self.pool, self.queue)

    def _take(self, pick: int) -> tuple[Lease, AttemptId] | None:
        return self.calls.pop(pick % len(self.calls)) if self.calls else None

    async def _received(self, lease: Lease) -> str | None:
        return await self.pool.fetchval(
            "SELECT id FROM attempts WHERE image_row_id = $1 AND status = 'received' AND fingerprint = $2",
            lease.row_id,
            lease.fingerprint,
        )

    async def _finish(self, lease: Lease, attempt_id: str) -> None:
        moved = await self.pool.fetchval(_ATTEMPTS.start_uploading, [lease.row_id], [lease.status.value], [lease.token])
        if moved is not None:
            await alone.complete(self.pool, lease.moved(ImageStatus.UPLOADING), attempt_id, ())


STEPS = (
    "top_up", "submit", "submit", "begin", "begin", "begin", "complete", "complete_in_two", "conclude", "conclude",
    "crash", "late", "cancel", "retry", "sweep", "wait", "budget", "race", "race",
)  # fmt: skip
PROGRAMS = st.tuples(
    st.sampled_from([Billing.CREDITS, Billing.USD]),
    st.none() | st.integers(2, 8),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), min_size=5, max_size=30),
)
CHECKED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def run(world: World, budget: int | None, steps: list[tuple[str, int]]) -> None:
    await open_account(
        world.pool,
        world.account,
        billing=world.billing,
        daily_budget_microusd=budget * ESTIMATE if budget is not None else None,
    )
    await world.top_up(4)
    for name, pick in steps:
        step: Callable[[int], Awaitable[Any]] = getattr(world, name)
        await step(pick)
        await assert_books_balance(world.pool, within_budget=world.is_strict, account=world.account)
    await world.come_to_rest()
    await assert_books_balance(world.pool, within_budget=world.is_strict, account=world.account)
    await assert_holds_at_rest(world.pool, window_seconds=WINDOW_SECONDS, account=world.account)
    await pass_time(world.pool, WINDOW_SECONDS + 1)
    await swept(world.settings, world.pool, world.queue)
    account = await account_of(world.pool, world.account)
    assert (account.held, account.available + account.captured) == (0, world.paid_in)
    assert account.captured == await captured_for_delivered(world)
    await world.pool.execute("UPDATE accounts SET daily_budget_microusd = NULL WHERE id = $1", world.account)


async def captured_for_delivered(world: World) -> int:
    """The quotes of completed images whose hold was still open then, once each."""
    return await world.pool.fetchval(
        "SELECT coalesce(sum(h.amount), 0)::bigint FROM holds AS h JOIN images AS i ON i.row_id = h.image_row_id"
        " WHERE h.account = $1 AND h.status = 'captured' AND i.status = 'completed'"
        " AND h.run = i.run AND h.amount = i.quote",
        world.account,
    )


def world_of(settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, billing: Billing) -> World:
    return World(settings=settings, pool=pool, queue=queue, account=f"acc-{uuid4().hex[:12]}", billing=billing)


async def test_the_books_balance_after_any_few_steps(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await explore(settings, pool, queue, max_examples=8)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_books_balance_after_any_steps(settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await explore(settings, pool, queue, max_examples=400)


async def explore(environment: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, *, max_examples: int) -> None:
    """Hypothesis asks from a thread of its own; the steps run here, where the connections are."""
    loop = asyncio.get_running_loop()

    @settings(CHECKED, max_examples=max_examples)
    @given(PROGRAMS)
    def check(program: tuple[Billing, int | None, list[tuple[str, int]]]) -> None:
        billing, budget, steps = program
        world = world_of(environment, pool, queue, billing)
        asyncio.run_coroutine_threadsafe(run(world, budget, steps), loop).result(timeout=120)

    await asyncio.to_thread(check)
