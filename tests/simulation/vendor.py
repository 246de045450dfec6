"""Two vendors that keep a bill of their own: one answers with the picture, the other with a job that is asked after.

What a call costs is decided by how it is answered, whether or not anybody hears the answer. Whatever arrives is checked
at the door: no call that could have been avoided, and none that nobody has written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import asyncpg

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost, CostBasis
from safelight.net.billable import CallNotSent, current_call
from safelight.providers.provider import (
    Capabilities,
    ImageRequest,
    ImageResult,
    PollFailed,
    ProviderError,
    Refusal,
    RemoteCancellation,
    RemoteHandle,
    StillRunning,
)
from tests.simulation.process import errand
from tests.simulation.storage import Shelf, picture_of

ESTIMATE = 40_000
CHARGE = 30_000
"""What a picture costs; less than was estimated."""

DIRECT, REMOTE = "studio", "mill"
MODEL = "m-1"


class Fate(StrEnum):
    """What a vendor makes of a call."""

    PICTURE = "picture"
    NO_PICTURE = "no_picture"
    NOISE = "noise"
    REFUSED = "refused"
    REFUSED_FREE = "refused_free"
    LIMITED = "limited"
    FAILING = "failing"
    REJECTED = "rejected"
    KEY_GONE = "key_gone"
    CUT = "cut"
    CUT_FREE = "cut_free"
    UNREACHABLE = "unreachable"


class JobFate(StrEnum):
    """What a vendor says of a job when it is asked."""

    RUNNING = "running"
    NOT_NOW = "not_now"
    PICTURE = "picture"
    NO_PICTURE = "no_picture"
    REFUSED = "refused"
    FAILED_FREE = "failed_free"
    FORGOTTEN = "forgotten"


class Violation(AssertionError):
    """Something that the engine promises never to do."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One paid call as the vendor saw it. `cost_microusd` is what it charges; None while it has not decided."""

    key: str
    image_row_id: int
    run: int
    fingerprint: str
    provider: str
    is_listened_to: bool = True
    cost_microusd: int | None = None
    job: JobFate | None = None
    is_canceled: bool = False


class Vendors:
    """Both vendors and their bill. They outlive every process."""

    def __init__(self, conn: asyncpg.Connection, shelf: Shelf) -> None:
        self._conn = conn
        self._shelf = shelf
        self.calls: dict[str, Call] = {}

    @property
    def providers(self) -> dict[str, Any]:
        return {DIRECT: Direct(self), REMOTE: Remote(self)}

    async def take(self, request: ImageRequest, provider: str) -> Call:
        """A call has arrived. Raises Violation for one that must not have been made."""
        mine = errand()
        assert mine is not None
        call = await mine.under_way(self._checked(request, provider))
        self.calls[call.key] = call
        return call

    async def _checked(self, request: ImageRequest, provider: str) -> Call:
        rows = await self._conn.fetch(
            "SELECT a.*, i.max_attempts, i.max_rebuys, i.on_uncertain, i.status AS image_status,"
            " coalesce(a.cost_microusd > 0, a.cost_basis = 'unknown', false) AS is_charged,"
            " a.resolve_at > safelight.now() AS may_answer, a.deadline_at < safelight.now() AS is_late"
            " FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id"
            " WHERE a.image_row_id = (SELECT image_row_id FROM attempts WHERE id = $1) ORDER BY a.number",
            request.attempt_key,
        )
        this = next((row for row in rows if row["id"] == request.attempt_key), None)
        _require(this is not None, "intent before money", "a call that nobody has written down")
        assert this is not None
        _require(request.attempt_key not in self.calls, "intent before money", "one attempt was sent twice")
        _require(this["status"] in ("sent", "unknown"), "intent before money", f"its attempt is {this['status']}")
        _require(not this["is_late"], "nothing leaves late", "sent after its deadline")
        earlier = [row for row in rows if row["id"] != this["id"]]
        for row in earlier:
            is_same = row["fingerprint"] == this["fingerprint"]
            _require(not (is_same and row["status"] in ("received", "settled")), "pay once", "bought after a receipt")
            is_known = row["status"] in ("sent", "submitted", "unknown", "received", "settled")
            _require(
                not (is_same and is_known and self._shelf.has(row["id"])), "pay once", "bought after it was staged"
            )
            _require(row["status"] != "submitted", "a kept handle is not bought again", "its job is open")
            before = self.calls.get(row["id"])
            if before is not None and before.is_listened_to and row["may_answer"]:
                raise Violation("no overtaking: an earlier call may still answer")
        _require_within_bound(this, [row for row in earlier if row["run"] == this["run"]])
        paid = [
            each
            for each in self.calls.values()
            if (each.image_row_id, each.run) == (this["image_row_id"], this["run"]) and each.cost_microusd != 0
        ]
        rebuys = this["max_rebuys"] if this["on_uncertain"] == "retry_once" else 0
        _require(
            len(paid) <= this["max_attempts"] - 1 + rebuys, "bounded re-buy", f"{len(paid)} calls were charged before"
        )
        return Call(
            key=request.attempt_key,
            image_row_id=this["image_row_id"],
            run=this["run"],
            fingerprint=this["fingerprint"],
            provider=provider,
        )


def _require(is_so: bool, promise: str, otherwise: str) -> None:
    if not is_so:
        raise Violation(f"{promise}: {otherwise}")


def _require_within_bound(this: asyncpg.Record, earlier: Sequence[asyncpg.Record]) -> None:
    unknown = sum(row["status"] in ("sent", "unknown") for row in earlier)
    rebuys = this["max_rebuys"] if this["on_uncertain"] == "retry_once" else 0
    _require(unknown <= rebuys, "bounded re-buy", f"{unknown} unknown outcomes before")
    billed = sum(row["status"] == "no_image" or (row["status"] == "refused" and row["is_charged"]) for row in earlier)
    _require(billed < this["max_attempts"], "bounded re-buy", f"{billed} billed calls without a picture before")
    policy = sum(row["status"] == "unbilled" and row["unbilled_by_policy"] for row in earlier)
    _require(policy < 20 * 2, "bounded re-buy", "a vendor that fails is asked for ever")


class _Account:
    """What both vendors have in common."""

    name = ""

    def __init__(self, vendors: Vendors) -> None:
        self._vendors = vendors

    def models(self) -> Sequence[str]:
        return (MODEL,)

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities(
            aspect_ratios=None, sizes=None, seed=False, negative_prompt=False, timeout_seconds=60.0, max_references=4
        )

    def estimate(self, request: ImageRequest) -> Cost:
        return Cost(ESTIMATE, CostBasis.TABLE, "sim")

    async def prepare(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    async def _call(self, request: ImageRequest) -> tuple[Call, Fate]:
        mine = errand()
        assert mine is not None
        await mine.point("connect")
        sent = current_call()
        assert sent is not None, "a paid call outside of its deadline"
        sent.check()
        call = await self._vendors.take(request, self.name)
        try:
            return call, await mine.answer("vendor")
        finally:
            call.is_listened_to = False


class Direct(_Account):
    """Answers a call with the picture."""

    name = DIRECT

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        call, fate = await self._call(request)
        if fate in (Fate.PICTURE, Fate.NOISE):
            call.cost_microusd = CHARGE
            return _picture(call, is_noise=fate is Fate.NOISE)
        return _otherwise(call, fate)


class Remote(_Account):
    """Answers a call with a job, and is asked after it."""

    name = REMOTE

    async def submit(self, request: ImageRequest) -> RemoteHandle | Refusal:
        call, fate = await self._call(request)
        call.job = JobFate.RUNNING
        if fate in (Fate.PICTURE, Fate.NOISE, Fate.NO_PICTURE):
            return RemoteHandle(remote_id=call.key)
        return _otherwise(call, fate)

    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        call = self._vendors.calls[handle.remote_id]
        mine = errand()
        assert mine is not None
        fate = _job_fate(await mine.answer("vendor's job"))
        if fate is JobFate.NOT_NOW:
            raise PollFailed("not now", kind=ErrorKind.TEMPORARY, code="503")
        if call.is_canceled and call.job is JobFate.RUNNING:
            call.job = JobFate.FAILED_FREE
        if call.job is JobFate.RUNNING:
            call.job = fate
        return _job_answer(call)

    async def cancel(self, handle: RemoteHandle) -> RemoteCancellation:
        call = self._vendors.calls[handle.remote_id]
        mine = errand()
        assert mine is not None
        if _job_fate(await mine.answer("vendor's cancel")) is JobFate.NOT_NOW:
            raise PollFailed("not now", kind=ErrorKind.TEMPORARY, code="503")
        if call.job is not JobFate.RUNNING:
            return RemoteCancellation.TOO_LATE
        call.is_canceled = True
        return RemoteCancellation.REQUESTED


def _job_fate(fate: Fate | JobFate) -> JobFate:
    """One answer for both kinds of question, so that a plan need not know which will be asked."""
    return {
        Fate.PICTURE: JobFate.PICTURE,
        Fate.NO_PICTURE: JobFate.NO_PICTURE,
        Fate.NOISE: JobFate.RUNNING,
        Fate.REFUSED: JobFate.REFUSED,
        Fate.REJECTED: JobFate.FAILED_FREE,
        Fate.FAILING: JobFate.FAILED_FREE,
        Fate.CUT: JobFate.FORGOTTEN,
        Fate.REFUSED_FREE: JobFate.RUNNING,
    }.get(fate, JobFate.NOT_NOW)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _job_answer(call: Call) -> ImageResult | Refusal | StillRunning:
    """How a job stands; it is charged when it has ended so."""
    match call.job:
        case JobFate.PICTURE:
            call.cost_microusd = CHARGE
            return _picture(call)
        case JobFate.REFUSED:
            call.cost_microusd = CHARGE
            return _refusal(call)
        case JobFate.NO_PICTURE:
            call.cost_microusd = CHARGE
            raise _no_picture(call)
        case JobFate.FAILED_FREE:
            call.cost_microusd = 0
            raise ProviderError("the job failed", kind=ErrorKind.TEMPORARY, billed=Billed.NO, code="FAILED", cost=FREE)
        case JobFate.FORGOTTEN:
            call.cost_microusd = CHARGE
            raise ProviderError("no such job", kind=ErrorKind.UNKNOWN, billed=Billed.UNKNOWN, code="REMOTE_JOB_GONE")
        case _:
            return StillRunning()


def _picture(call: Call, *, is_noise: bool = False) -> ImageResult:
    data = b"noise" if is_noise else picture_of(call.key)
    return ImageResult(data=data, claimed_mime="image/png", cost=_cost(call))


def _refusal(call: Call) -> Refusal:
    billed = Billed.YES if call.cost_microusd else Billed.NO
    return Refusal(code="SAFETY", message="no", billed=billed, cost=_cost(call))


def _no_picture(call: Call) -> ProviderError:
    return ProviderError("no picture", kind=ErrorKind.TEMPORARY, billed=Billed.YES, code="NO_IMAGE", cost=_cost(call))


def _cost(call: Call) -> Cost:
    assert call.cost_microusd is not None
    return Cost(call.cost_microusd, CostBasis.USAGE, "sim") if call.cost_microusd else FREE


def _otherwise(call: Call, fate: Fate) -> Refusal:
    """No picture: a refusal, or how the call failed. Raises ProviderError and CallNotSent."""
    call.cost_microusd = CHARGE if fate in (Fate.NO_PICTURE, Fate.REFUSED, Fate.CUT) else 0
    match fate:
        case Fate.REFUSED | Fate.REFUSED_FREE:
            return _refusal(call)
        case Fate.NO_PICTURE:
            raise _no_picture(call)
        case Fate.UNREACHABLE:
            raise CallNotSent("the connection was never open")
        case Fate.CUT | Fate.CUT_FREE:
            raise ProviderError(
                "the connection broke", kind=ErrorKind.TEMPORARY, billed=Billed.UNKNOWN, code="CUT", cost=UNKNOWN_COST
            )
        case Fate.LIMITED:
            raise ProviderError(
                "slower", kind=ErrorKind.RATE_LIMIT, billed=Billed.NO, code="429", retry_after_seconds=5.0, cost=FREE
            )
        case Fate.FAILING:
            raise ProviderError(
                "internal", kind=ErrorKind.TEMPORARY, billed=Billed.NO, code="500", unbilled_by_policy=True, cost=FREE
            )
        case Fate.KEY_GONE:
            raise ProviderError(
                "bad key", kind=ErrorKind.AUTH_ERROR, billed=Billed.NO, code="401", scope=Scope.ACCOUNT, cost=FREE
            )
        case _:
            raise ProviderError("bad request", kind=ErrorKind.PERMANENT, billed=Billed.NO, code="400", cost=FREE)
