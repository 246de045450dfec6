"""The vendor's side of a call: one task of its own from arrival to charge, whatever becomes of the caller."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from safelight.sandbox.bill import Bill, Charge
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import CHARGES_PICTURE, GENERATES, Directive, Fault, Plan, plan_call
from safelight.sandbox.gemini import GeminiCall, Rejected, answer, usage_of
from safelight.sandbox.models import cost_microusd
from safelight.sandbox.pictures import Pictures
from safelight.sandbox.wire import CUT, Answer

_GOOD = frozenset({Fault.OK, Fault.SLOW, Fault.THOUGHT})


@dataclass(slots=True, kw_only=True)
class Call:
    """One HTTP request on a vendor route. `outcome` None: it has not ended."""

    ordinal: int
    number: int
    at: datetime
    path: str
    model: str
    key_sha256: str | None
    prompt_sha256: str | None = None
    outcome: str | None = None
    caller_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self) -> dict[str, Any]:
        return {
            "ordinal": self.ordinal,
            "call": self.number,
            "at": self.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "path": self.path,
            "model": self.model,
            "prompt_sha256": self.prompt_sha256,
            "key_sha256": self.key_sha256,
            "outcome": self.outcome,
        }


class Vendor:
    """Takes calls, answers them as scripted, and charges when a generation ends.

    A call whose caller has gone is finished and charged all the same. A call that is in flight at `close`
    is cut and not charged.
    """

    def __init__(self, config: SandboxConfig, bill: Bill) -> None:
        self.bill = bill
        self.calls: list[Call] = []
        self.in_flight = 0
        self._config = config
        self._pictures = Pictures(count=config.pictures)
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._times_asked: Counter[tuple[str, str | None]] = Counter()
        self._released = asyncio.Event()
        self._released.set()
        self._changed = asyncio.Event()
        self._is_closed = False

    @property
    def is_held(self) -> bool:
        return not self._released.is_set()

    def hold(self) -> None:
        """Every call taken from now on waits before anything happens to it."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def wait_until(self, holds: Callable[[], bool], *, timeout_seconds: float) -> bool:
        """Whether it came to hold in time; looked at after every change of calls, bill or calls in flight."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not holds() and not self._is_closed:
                    await self._changed.wait()
        return holds()

    def see(self, *, path: str, model: str, key: str | None) -> Call:
        """Notes a request the moment it arrives."""
        call = Call(
            ordinal=len(self.calls) + 1,
            number=self.bill.next_call(),
            at=datetime.now(UTC),
            path=path,
            model=model,
            key_sha256=sha256(key) if key else None,
        )
        self.calls.append(call)
        self._announce()
        return call

    def reject(self, call: Call, rejected: Rejected) -> Answer:
        """Ends a call that was never accepted; free of charge."""
        self._end(call, f"rejected {rejected.reason}", microusd=0)
        return rejected.answer

    def accept(
        self, call: Call, request: GeminiCall, *, scenario: str, directives: tuple[Directive, ...]
    ) -> asyncio.Task[Answer]:
        """The task that answers and charges; it is in flight from now on. Ends cancelled only at `close`."""
        asked = (scenario, call.prompt_sha256)
        self._times_asked[asked] += 1
        plan = plan_call(
            directives,
            nth=self._times_asked[asked],
            rates=self._config.fault_rates,
            rng=self._random("fault", call),
        )
        self.in_flight += 1
        task = asyncio.create_task(self._serve(call, request, plan), name=f"sandbox call {call.number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._announce()
        return task

    def close(self) -> None:
        """Cuts what is in flight. Closing twice is harmless."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        self._pictures.close()
        self._announce()

    async def _serve(self, call: Call, request: GeminiCall, plan: Plan) -> Answer:
        try:
            await self._released.wait()
            fault = plan.directive.fault
            if fault is Fault.HANG:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(call.caller_gone.wait(), plan.directive.seconds)
                self._end(call, plan.outcome, microusd=0)
                return CUT
            picture, draft, _ = await asyncio.gather(
                self._picture(request) if fault in CHARGES_PICTURE else _nothing(),
                self._picture(request, of="a first draft of ") if fault is Fault.THOUGHT else _nothing(),
                asyncio.sleep(self._takes_seconds(call, plan)),
            )
            usage = usage_of(request, fault)
            make = partial(answer, request, plan.directive, usage=usage, picture=picture, draft=draft)
            # A bomb takes a second to build, and its neighbours must not wait for it.
            reply = make() if fault in _GOOD else await asyncio.to_thread(make)
            self._end(call, plan.outcome, microusd=cost_microusd(request.model, usage) if usage else 0)
            return reply
        finally:
            self.in_flight -= 1
            self._announce()

    def _end(self, call: Call, outcome: str, *, microusd: int) -> None:
        call.outcome = outcome
        self.bill.append(
            Charge(
                call=call.number,
                vendor="gemini",
                model=call.model,
                prompt_sha256=call.prompt_sha256,
                started_at=call.at,
                ended_at=datetime.now(UTC),
                outcome=outcome,
                cost_microusd=microusd,
            )
        )
        self._announce()

    def _takes_seconds(self, call: Call, plan: Plan) -> float:
        if plan.takes_seconds is not None:
            return plan.takes_seconds
        if plan.directive.fault not in GENERATES:
            return 0.0
        return self._config.latency.sample_seconds(self._random("latency", call))

    async def _picture(self, request: GeminiCall, *, of: str = "") -> str:
        return await self._pictures.png_base64(
            of + request.prompt, aspect_ratio=request.aspect_ratio, size=request.size
        )

    def _random(self, purpose: str, call: Call) -> random.Random:
        # Seeded by call, not drawn in turn: what happens to a call does not depend on its neighbours' timing.
        return random.Random(f"{self._config.seed}/{purpose}/{call.number}")  # noqa: S311

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _nothing() -> str:
    return ""
