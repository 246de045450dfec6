"""The vendors' side of a call: one task of its own from arrival to charge, whatever becomes of the caller."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from safelight.sandbox.bill import Bill, Charge
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import GENERATES, Directive, Fault, FaultRate, Plan, UnknownDirective, plan_call
from safelight.sandbox.files import Files
from safelight.sandbox.pictures import PAINTED, Pictures
from safelight.sandbox.protocol import Order, Rejected, Wire, understood
from safelight.sandbox.wire import CUT, Answer

_Result = TypeVar("_Result")

_GOOD = frozenset({Fault.OK, Fault.SLOW, Fault.THOUGHT})


@dataclass(slots=True, kw_only=True)
class Call:
    """One HTTP request that may cost something. `outcome` None: it has not ended. `pictures_sha256` are of what was
    made for it, before any fault spoilt it."""

    ordinal: int
    number: int
    at: datetime
    vendor: str
    path: str
    model: str
    key_sha256: str | None
    prompt_sha256: str | None = None
    references_sha256: tuple[str, ...] = ()
    mask_sha256: str | None = None
    pictures_sha256: list[str] = field(default_factory=list)
    outcome: str | None = None
    caller_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self) -> dict[str, Any]:
        return {
            "ordinal": self.ordinal,
            "call": self.number,
            "at": _timestamp(self.at),
            "vendor": self.vendor,
            "path": self.path,
            "model": self.model,
            "prompt_sha256": self.prompt_sha256,
            "references_sha256": list(self.references_sha256),
            "mask_sha256": self.mask_sha256,
            "key_sha256": self.key_sha256,
            "outcome": self.outcome,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One HTTP request that costs nothing, such as a look at a job. `status` None: no answer was sent.

    `host` is the name that its caller gave this machine. `had_key`: a key came along, good or bad.
    """

    at: datetime
    vendor: str
    method: str
    host: str
    path: str
    had_key: bool
    status: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "at": _timestamp(self.at),
            "vendor": self.vendor,
            "method": self.method,
            "host": self.host,
            "path": self.path,
            "had_key": self.had_key,
            "status": self.status,
        }


class Vendor:
    """All vendors behind one till: takes calls, answers them as scripted, and charges when a generation ends.

    A call whose caller has gone is finished and charged all the same. A call that is in flight at `close`
    is cut and not charged.
    """

    def __init__(self, config: SandboxConfig, bill: Bill, wires: Sequence[Wire]) -> None:
        """Raises UnknownDirective for the fault rate of a vendor that lacks the fault or is not there."""
        self.bill = bill
        self.wires = {wire.name: wire for wire in wires}
        self.pictures = Pictures(count=config.pictures)
        self.files = Files()
        self.calls: list[Call] = []
        self.visits: list[Visit] = []
        self._config = config
        self._rates: dict[str, tuple[FaultRate, ...]] = {}
        self._outages: dict[str, Directive] = {}
        self._in_flight: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._times_asked: Counter[tuple[str, str, str | None]] = Counter()
        self._released = asyncio.Event()
        self._released.set()
        self._changed = asyncio.Event()
        self._is_closed = False
        self.set_fault_rates(config.fault_rates)
        for vendor, rates in config.vendor_fault_rates.items():
            self.set_fault_rates(rates, vendor=vendor)

    @property
    def in_flight(self) -> int:
        """Calls and jobs that have begun and not ended."""
        return self._in_flight.total()

    def in_flight_at(self, vendor: str) -> int:
        return self._in_flight[vendor]

    @property
    def is_held(self) -> bool:
        return not self._released.is_set()

    def hold(self) -> None:
        """Every call taken from now on waits before anything happens to it."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def released(self) -> None:
        """Returns once nothing is held."""
        await self._released.wait()

    @property
    def fault_rates(self) -> Mapping[str, tuple[FaultRate, ...]]:
        return self._rates

    def set_fault_rates(self, rates: tuple[FaultRate, ...], *, vendor: str | None = None) -> None:
        """For calls taken from now on, at one vendor, or at all of them, each sparing itself faults it lacks.

        Raises UnknownDirective, and changes nothing, for a vendor that is not there or lacks one of the faults.
        """
        if vendor is not None:
            wire = self.wire(vendor)
            self._rates[vendor] = tuple(_understood_rate(rate, wire) for rate in rates)
            return
        for name, wire in self.wires.items():
            own = (rate for rate in rates if rate.directive.fault in wire.faults)
            self._rates[name] = tuple(_understood_rate(rate, wire) for rate in own)

    @property
    def outages(self) -> Mapping[str, Directive]:
        """What every call of a vendor ends with; vendors that are well are not in it."""
        return self._outages

    def set_outage(self, vendor: str, directive: Directive | None) -> None:
        """Every call of that vendor taken from now on ends so, whatever its script says; None ends the outage.

        Raises UnknownDirective for a vendor that is not there or lacks the fault.
        """
        wire = self.wire(vendor)
        if directive is None:
            self._outages.pop(vendor, None)
        else:
            self._outages[vendor] = understood(directive, wire)

    def wire(self, vendor: str) -> Wire:
        """Raises UnknownDirective."""
        if vendor not in self.wires:
            raise UnknownDirective(f"the sandbox has no vendor `{vendor[:40]}`, only {', '.join(self.wires)}")
        return self.wires[vendor]

    async def wait_until(self, holds: Callable[[], bool], *, timeout_seconds: float) -> bool:
        """Whether it came to hold in time; looked at after every change of calls, visits, bill or calls in flight."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not holds() and not self._is_closed:
                    await self._changed.wait()
        return holds()

    def see(self, *, vendor: str, path: str, key: str | None, model: str = "") -> Call:
        """Notes a request the moment it arrives."""
        call = Call(
            ordinal=len(self.calls) + 1,
            number=self.bill.next_call(),
            at=datetime.now(UTC),
            vendor=vendor,
            path=path,
            model=model,
            key_sha256=sha256(key) if key else None,
        )
        self.calls.append(call)
        self.announce()
        return call

    def note_visit(self, visit: Visit) -> None:
        self.visits.append(visit)
        self.announce()

    def reject(self, call: Call, rejected: Rejected) -> Answer:
        """Ends a call that was never accepted; free of charge."""
        self.end(call, f"rejected {rejected.reason}", microusd=0)
        return rejected.answer

    def plan(self, call: Call, *, scenario: str, directives: Sequence[Directive]) -> Plan:
        """What happens to an accepted call. Raises UnknownDirective for what its vendor cannot do."""
        wire = self.wires[call.vendor]
        for directive in directives:
            if directive.vendor is not None:
                self.wire(directive.vendor)
        scripted = tuple(understood(each, wire) for each in directives if each.vendor in (None, wire.name))
        asked = (wire.name, scenario, call.prompt_sha256)
        self._times_asked[asked] += 1
        if outage := self._outages.get(wire.name):
            return Plan(directive=outage)
        return plan_call(
            scripted,
            nth=self._times_asked[asked],
            rates=self._rates[wire.name],
            rng=self._random("fault", call),
        )

    def begin(self, call: Call, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """The task that does it; in flight from now to its end, and cancelled only at `close`."""

        def ended(task: asyncio.Task[_Result]) -> None:
            self._tasks.discard(task)
            self._in_flight[call.vendor] -= 1
            self.announce()

        self._in_flight[call.vendor] += 1
        context = copy_context()
        context.run(PAINTED.set, call.pictures_sha256)
        task = asyncio.create_task(work, name=f"sandbox call {call.number}", context=context)
        self._tasks.add(task)
        task.add_done_callback(ended)
        self.announce()
        return task

    def end(self, call: Call, outcome: str, *, microusd: int) -> None:
        """Writes the call's line on the bill; each call has one."""
        call.outcome = outcome
        self.bill.append(
            Charge(
                call=call.number,
                vendor=call.vendor,
                model=call.model,
                prompt_sha256=call.prompt_sha256,
                started_at=call.at,
                ended_at=datetime.now(UTC),
                outcome=outcome,
                cost_microusd=microusd,
                pictures_sha256=tuple(call.pictures_sha256),
            )
        )
        self.announce()

    def takes_seconds(self, call: Call, plan: Plan) -> float:
        """How long the generation takes; 0 for a fault that comes before one."""
        if plan.takes_seconds is not None:
            return plan.takes_seconds
        if plan.directive.fault not in GENERATES:
            return 0.0
        return self._config.latency.sample_seconds(self._random("latency", call))

    def serve(self, call: Call, order: Order, plan: Plan) -> asyncio.Task[Answer]:
        """The task that generates, answers and charges while the caller waits."""
        return self.begin(call, self._serve(call, order, plan))

    def close(self) -> None:
        """Cuts what is in flight. Closing twice is harmless."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        self.pictures.close()
        self.announce()

    def announce(self) -> None:
        """Has every `wait_until` look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _serve(self, call: Call, order: Order, plan: Plan) -> Answer:
        await self.released()
        fault = plan.directive.fault
        if fault is Fault.HANG:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(call.caller_gone.wait(), plan.directive.seconds)
            self.end(call, plan.outcome, microusd=0)
            return CUT
        make, _ = await asyncio.gather(
            order.prepare(plan.directive, self.pictures), asyncio.sleep(self.takes_seconds(call, plan))
        )
        # A bomb takes a second to build, and its neighbours must not wait for it.
        reply = make() if fault in _GOOD else await asyncio.to_thread(make)
        self.end(call, plan.outcome, microusd=order.cost_microusd(fault))
        return reply

    def _random(self, purpose: str, call: Call) -> random.Random:
        # Seeded by call, not drawn in turn: what happens to a call does not depend on its neighbours' timing.
        return random.Random(f"{self._config.seed}/{purpose}/{call.number}")  # noqa: S311


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def _understood_rate(rate: FaultRate, wire: Wire) -> FaultRate:
    return FaultRate(directive=understood(rate.directive, wire), rate=rate.rate)


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
