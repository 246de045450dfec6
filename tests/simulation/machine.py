"""The state machine: whatever can happen to an installation, in any order, a step at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from safelight.domain.attempts import OnUncertain, RetryBudget
from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.errors import BudgetExceeded, Conflict, InvalidRequest
from safelight.domain.fallback import OnRefusal, Target
from safelight.domain.ids import JobId
from safelight.domain.order import ImageOrder, JobOrder, Reference
from safelight.engine import pause
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import Accepted, submit
from safelight.engine.queue.sweep import sweep
from tests.databases import fresh_database
from tests.engine.books import assert_books_balance, open_account
from tests.orders import SMALL, order
from tests.simulation.clock import StoppedLoop, stop_database_clock
from tests.simulation.process import Plan, Process, SteppedPool, Trouble
from tests.simulation.rest import come_to_rest
from tests.simulation.vendor import DIRECT, ESTIMATE, MODEL, REMOTE, Fate, Violation
from tests.simulation.watch import write_down_moves
from tests.simulation.world import TIMING, World, open_world

T = TypeVar("T")


class Request(StrEnum):
    """What a caller may want of what was ordered before."""

    CANCEL = "cancel"
    CANCEL_ONE = "cancel_one"
    ABORT = "abort"
    RETRY = "retry"
    SUBMIT_AGAIN = "submit_again"
    REUSE_KEY = "reuse_key"


class Mischief(StrEnum):
    """What happens to an installation, or is done by its operator."""

    KILL = "kill"
    FREEZE = "freeze"
    THAW = "thaw"
    LOSE_HINT = "lose_hint"
    PAUSE = "pause"
    RESUME = "resume"


PRICES = CreditPrices(default=3)
DAY_BUDGET = 12 * ESTIMATE
ACCOUNTS = ("default", "prepaid", "tight")
_MOST_IMAGES = 12
"""In one example: more only take longer to come to rest."""

_GOOD = [Fate.PICTURE] * 6
FATES = st.sampled_from([*_GOOD, *Fate])
PICKS = st.integers(0, 7)
PLANS = st.builds(
    Plan,
    steps=st.integers(0, 16) | st.none(),
    trouble=st.sampled_from([Trouble.PAUSE, Trouble.PAUSE, Trouble.CRASH, Trouble.CRASH, *Trouble]),
    answers=st.lists(FATES, max_size=3),
)
PAUSES_SECONDS = (1.0, 16.0, 80.0, 400.0, 4_000.0)


@dataclass(slots=True, kw_only=True)
class Ground:
    """What all examples of a test share: the server, the loop, and what they have seen."""

    postgres: str
    loop: StoppedLoop
    examples: int = 0
    steps: int = 0
    calls: int = 0
    cpu_seconds: float = field(default_factory=time.process_time)
    deaths: list[tuple[str, str]] = field(default_factory=list)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


class Simulation(RuleBasedStateMachine):
    """`ground` is set before the machine is run."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.stack = AsyncExitStack()
        self.world: World
        self.api: Process
        self.jobs: list[tuple[JobId, str]] = []
        self.orders: dict[str, tuple[JobOrder, JobId | None]] = {}
        self.images = 0
        self.others_go_on = False
        self.has_failed = False

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """One step, after which the books balance."""
        try:
            return self.ground.run(self._then_look(work))
        except BaseException:
            self.has_failed = True
            raise

    async def _then_look(self, work: Coroutine[Any, Any, T]) -> T:
        done = await work
        await assert_books_balance(self.world.pool)
        return done

    # --- the beginning

    @initialize(others_go_on=st.booleans(), pick=PICKS, account=st.sampled_from(ACCOUNTS), has_family=st.booleans())
    def begin(self, others_go_on: bool, pick: int, account: str, has_family: bool) -> None:
        self.others_go_on = others_go_on
        self.do(self._begin())
        self.submit(pick, account, has_family, Plan())

    async def _begin(self) -> None:
        logs = self.stack.enter_context(structlog.testing.capture_logs())
        dsn = await self.stack.enter_async_context(fresh_database(self.ground.postgres))
        self.world = await open_world(self.ground.loop, dsn)
        self.world.logs = logs
        await stop_database_clock(self.world.conn)
        await write_down_moves(self.world.conn)
        self.api = self.world.start_api()
        await open_account(self.world.pool, "prepaid", billing=Billing.CREDITS, paid_in=30)
        await open_account(
            self.world.pool, "tight", billing=Billing.USD, paid_in=20 * ESTIMATE, daily_budget_microusd=DAY_BUDGET
        )
        await self.world.start_worker()
        await self.world.start_worker()

    # --- what callers do

    @precondition(lambda self: self.images < _MOST_IMAGES)
    @rule(pick=PICKS, account=st.sampled_from(ACCOUNTS), has_family=st.booleans(), plan=PLANS)
    def submit(self, pick: int, account: str, has_family: bool, plan: Plan) -> None:
        wanted = _order(pick, account, has_family, key=f"key-{len(self.orders)}")
        self.images += len(wanted.images)
        self._submit(wanted, plan)

    def _submit_again(self, pick: int, is_changed: bool, plan: Plan) -> None:
        key = list(self.orders)[pick % len(self.orders)]
        wanted, _ = self.orders[key]
        self._submit(replace(wanted, body_fingerprint="other") if is_changed else wanted, plan)

    def _submit(self, wanted: JobOrder, plan: Plan) -> None:
        key = wanted.idempotency_key
        assert key is not None
        first, known = self.orders.get(key, (wanted, None))
        accepted = self._ask(
            "submit", lambda pool: submit(pool, wanted, run_limit_seconds=TIMING.run_limit_seconds, prices=PRICES), plan
        )
        self.orders.setdefault(key, (wanted, None))
        if not isinstance(accepted, Accepted):
            return
        if wanted.body_fingerprint != first.body_fingerprint and known is not None:
            raise Violation("same key, same job: another request was taken for the first one")
        if known is not None and known != accepted.job_id:
            raise Violation("same key, same job: there are two")
        if known is None:
            self.orders[key] = (wanted, accepted.job_id)
            self.jobs.append((accepted.job_id, wanted.account))

    @precondition(lambda self: self.jobs)
    @rule(what=st.sampled_from(Request), pick=PICKS, plan=PLANS)
    def ask(self, what: Request, pick: int, plan: Plan) -> None:
        job_id, account = self.jobs[pick % len(self.jobs)]
        limit = TIMING.run_limit_seconds
        match what:
            case Request.RETRY:
                again = partial(retry, job_id=job_id, account=account, run_limit_seconds=limit, prices=PRICES)
                self._ask(what, again, plan)
            case Request.SUBMIT_AGAIN | Request.REUSE_KEY:
                self._submit_again(pick, what is Request.REUSE_KEY, plan)
            case _:
                mode = CancelMode.ABORT if what is Request.ABORT else CancelMode.FINISH
                ids = ["a"] if what is Request.CANCEL_ONE else None
                self._ask(what, partial(cancel, job_id=job_id, account=account, mode=mode, image_ids=ids), plan)

    def _ask(self, name: str, ask: Any, plan: Plan) -> Any:
        """A request of the API. It ends before the next one; when its process dies, another one takes its place."""
        plan.trouble = Trouble.LOSE_ANSWER if plan.trouble is Trouble.PAUSE else plan.trouble
        errand = self.do(self.world.run(self.api, name, partial(ask, SteppedPool(self.world.pool, self.api)), plan))
        if self.api.is_dead:
            self.api = self.world.start_api()
            return None
        assert errand.task is not None
        error = errand.task.exception()
        if error is None:
            return errand.task.result()
        is_expected = isinstance(error, Conflict | BudgetExceeded | InvalidRequest)
        if not is_expected and not self.api.is_hurt:
            self.has_failed = True
            raise error
        return None

    # --- what workers do

    async def _admit(self) -> None:
        await self.world.admit()

    @rule(pick=PICKS, whose=PICKS, plan=PLANS)
    def work(self, pick: int, whose: int, plan: Plan) -> None:
        """A queue row comes to a worker, and perhaps not for the first time."""
        self.do(self._work(pick, whose, plan))

    async def _work(self, pick: int, whose: int, plan: Plan) -> None:
        await self._admit()
        hints = await self.world.hints()
        if not hints:
            return
        workers = self.world.workers or [await self.world.start_worker()]
        process = workers[whose % len(workers)]
        hint = hints[pick % len(hints)]
        await self.world.run(
            process, f"{process.name} on {hint.row_id}", partial(self.world.serve, process, hint), plan
        )

    @rule(whose=PICKS, plan=PLANS)
    def work_on_all(self, whose: int, plan: Plan) -> None:
        """One worker is given all that there is at once, and writes it together."""
        self.do(self._work_on_all(whose, plan))

    async def _work_on_all(self, whose: int, plan: Plan) -> None:
        await self._admit()
        workers = self.world.workers or [await self.world.start_worker()]
        process = workers[whose % len(workers)]
        errands = [
            await self.world.run(
                process,
                f"{process.name} on {hint.row_id}",
                partial(self.world.serve, process, hint),
                Plan(steps=0, answers=list(plan.answers)),
            )
            for hint in await self.world.hints()
        ]
        if errands:
            await self.world.go_on(errands[0], plan)

    @precondition(lambda self: self.world.standing)
    @rule(pick=PICKS, plan=PLANS)
    def go_on_with_all(self, pick: int, plan: Plan) -> None:
        """All that a process has in hand goes on, one after the other."""
        self.do(self._go_on_with_all(pick, plan))

    async def _go_on_with_all(self, pick: int, plan: Plan) -> None:
        standing = self.world.standing
        process = standing[pick % len(standing)].process
        for errand in process.open_errands:
            if not errand.is_over and not process.is_dead:
                await self.world.go_on(errand, replace(plan, answers=list(plan.answers)))

    @precondition(lambda self: self.world.standing)
    @rule(pick=PICKS, plan=PLANS)
    def go_on(self, pick: int, plan: Plan) -> None:
        """Something that stood still takes its next steps, however late."""
        standing = self.world.standing
        self.do(self.world.go_on(standing[pick % len(standing)], plan))

    @rule(whose=PICKS, is_beat=st.booleans(), plan=PLANS)
    def keep_house(self, whose: int, is_beat: bool, plan: Plan) -> None:
        """A heartbeat, which sees to the worker's own images, or a sweep, which sees to everybody's."""
        if workers := self.world.workers:
            process = workers[whose % len(workers)]
            if is_beat:
                self.do(self.world.run(process, "beat", partial(self.world.beat, process), plan, is_keeper=True))
            else:
                self.do(self.world.run(process, "sweep", partial(self._sweep, process), plan, is_sweep=True))

    async def _sweep(self, process: Process) -> None:
        pool, queue = SteppedPool(self.world.pool, process), SteppedPool(self.world.queue, process)
        await sweep(pool, queue, self.world.shelf, timing=TIMING)  # pyright: ignore[reportArgumentType]

    # --- what happens to them

    @rule(what=st.sampled_from(Mischief), pick=PICKS)
    def happen(self, what: Mischief, pick: int) -> None:
        self.do(self._happen(what, pick))

    async def _happen(self, what: Mischief, pick: int) -> None:
        world, workers = self.world, self.world.workers
        match what:
            case Mischief.KILL if workers:
                workers[pick % len(workers)].die()
                await world.pass_time(0.0)
            case Mischief.FREEZE if workers:
                workers[pick % len(workers)].is_frozen = True
            case Mischief.THAW:
                for each in world.processes:
                    each.is_frozen = False
            case Mischief.LOSE_HINT:
                if hints := await world.hints():
                    lost = hints[pick % len(hints)].queue_row_id
                    await world.conn.execute("DELETE FROM pgqueuer WHERE id = $1", lost)
            case Mischief.PAUSE if pick % 2:
                await pause.pause(world.pool, reason="a rest")
            case Mischief.PAUSE | Mischief.RESUME:
                await pause.resume(world.pool)
            case _:
                pass

    @rule(seconds=st.sampled_from(PAUSES_SECONDS))
    def wait(self, seconds: float) -> None:
        self.do(self.world.pass_time(seconds))

    # --- the end

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.has_failed:
                try:
                    self.ground.run(come_to_rest(self.world, others_go_on=self.others_go_on))
                except BaseException:
                    raise
        finally:
            ground, world = self.ground, self.world
            ground.examples += 1
            ground.steps += world.steps
            ground.calls += len(world.vendors.calls)
            ground.deaths += world.deaths
            ground.run(self._close())

    async def _close(self) -> None:
        await self.world.close()
        await self.stack.aclose()
        await asyncio.sleep(0)


def _order(pick: int, account: str, has_family: bool, *, key: str) -> JobOrder:
    """One image, or a family of three in which each is made from the one before."""
    ids = ("a", "b", "c") if has_family else ("a",) if pick % 2 else ("a", "b")
    images = tuple(
        ImageOrder(
            id=each,
            group="sim",
            provider=provider,
            model=MODEL,
            prompt=f"A picture of {each}",
            options={},
            timeout_seconds=60.0,
            budget=RetryBudget(
                max_attempts=2, max_rebuys=1, on_uncertain=list(OnUncertain)[(pick + n) % len(OnUncertain)]
            ),
            estimate_microusd=ESTIMATE,
            fallbacks=(_target(REMOTE if provider == DIRECT else DIRECT),) if pick in (2, 5) else (),
            on_refusal=OnRefusal.STOP if pick < 5 else OnRefusal.NEXT_PROVIDER,
            references=(Reference(image_id=ids[n - 1]),) if has_family and n else (),
        )
        for n, each in enumerate(ids)
        for provider in [REMOTE if (pick + n) % 3 == 0 else DIRECT]
    )
    wanted = order(
        *images,
        key=key,
        body=key,
        outputs=() if pick in (1, 4) else (SMALL,),
        on_deadline="fail" if pick == 3 else "continue",
    )
    return replace(wanted, account=account, max_cost_microusd=6 * ESTIMATE if pick == 6 else None)


def _target(provider: str) -> Target:
    return Target(provider=provider, model=MODEL, options={}, timeout_seconds=60.0, estimate_microusd=ESTIMATE)
