"""The gates before providers, shared by all workers through the database.

    open ── a key or balance that is gone, a quota used up, 5 failures in a row ──► shut     notice provider.paused
    shut ── when its pause is over one image may pass, the probe ──► an answer ──► open      notice provider.resumed
                                                               └──► a failure ──► shut, for twice as long

While a gate is shut, calls that were under way change nothing. Besides, a rate limit keeps calls back until a moment,
and tells nobody. Admission (`db/sql/admission.sql`) and the commit of an attempt (`gate_is_shut`) ask the gates.

A gate is advice; the books are the truth. So a report does not raise when the database does not answer: the next one
makes up for it, and for a probe's the end of its lease.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from safelight.db.pool import CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.gates import ACCOUNT, BURST, Bars, CountsAgainst, LimitsRate, Works, what_a_failure_does
from safelight.domain.ids import ImageRowId
from safelight.domain.text import storable
from safelight.engine.timing import Timing
from safelight.providers.provider import ProviderError

KEEP_NOTICES = timedelta(days=30)

_SQL = load("gates")
_ATTEMPTS = load("attempts")

_LOST = (asyncpg.PostgresError, TimeoutError, *CONNECTION_LOST)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """A gate that is not simply open. `model` is None for the gate of the whole account.

    `code` and `message` are the vendor's, of the latest failure that counted. `shut_at` and `probe_at` are None while
    it is open; `limited_until` is None unless it lies ahead.
    """

    provider: str
    model: str | None
    failures: int
    code: str | None
    message: str | None
    shut_at: datetime | None
    probe_at: datetime | None
    failed_probes: int
    is_probing: bool
    limited_until: datetime | None

    @property
    def is_shut(self) -> bool:
        return self.shut_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened to a provider: `provider.paused` or `provider.resumed`. `model` is None for all of them.

    `data` holds `probe_at` of a pause, and `paused_seconds` of its end.
    """

    id: int
    at: datetime
    type: str
    provider: str
    model: str | None
    code: str | None
    message: str | None
    data: Mapping[str, Any]


def limits_of(gates: Iterable[GateState], provider: str, models: Collection[str]) -> list[datetime]:
    """Until when the vendor's rate limits keep calls to these models of a provider back."""
    return [
        gate.limited_until
        for gate in gates
        if gate.provider == provider and gate.limited_until is not None and (gate.model is None or gate.model in models)
    ]


async def report_failure(
    pool: asyncpg.Pool, *, provider: str, model: str, row_id: ImageRowId, error: ProviderError, timing: Timing
) -> None:
    """What a call's failure says about the vendor is known to all workers.

    For calls that left, or tried to: one that was kept here or closed by its caller says nothing. Not to be called
    while a job is locked.
    """
    effect = what_a_failure_does(
        kind=error.kind,
        scope=error.scope,
        billed=error.billed,
        retry_after_seconds=error.retry_after_seconds,
        quota_zone=error.quota_zone,
    )
    try:
        match effect:
            case Works():
                await _answered(pool, provider, model, row_id)
            case Bars() | CountsAgainst():
                await _failed(pool, provider, model, row_id, error, effect, timing)
            case LimitsRate():
                await _limited(pool, provider, model, row_id, effect, timing)
    except _LOST as lost:
        log.warning("could not report to the gates", provider=provider, error=type(lost).__name__)


async def report_answer(pool: asyncpg.Pool, *, provider: str, model: str, row_id: ImageRowId) -> None:
    """The vendor works: it sent a picture, or refused one. Opens the gates that this image was the probe of.

    Not to be called while a job is locked.
    """
    try:
        await _answered(pool, provider, model, row_id)
    except _LOST as lost:
        log.warning("could not report to the gates", provider=provider, error=type(lost).__name__)


async def probe_now(pool: asyncpg.Pool, providers: Iterable[str]) -> None:
    """Whatever keeps these providers shut may have been mended: the next image of each tries it."""
    await pool.execute(_SQL.hasten_probes, list(providers))


async def gate_states(pool: asyncpg.Pool | asyncpg.Connection) -> list[GateState]:
    """Every gate that is shut, limited, or has failures counted against it."""
    return [GateState(**{**row, "model": _model_or_none(row["model"])}) for row in await pool.fetch(_SQL.states)]


async def notices(pool: asyncpg.Pool, after: int, *, limit: int = 100) -> list[Notice]:
    """The notices with an id above `after`, oldest first. Whoever has read one has missed none before it."""
    rows: Sequence[asyncpg.Record] = await pool.fetch(_SQL.notices_after, after, limit)
    return [Notice(**{**row, "model": _model_or_none(row["model"])}) for row in rows]


async def forget_notices(pool: asyncpg.Pool, *, older_than: timedelta = KEEP_NOTICES) -> None:
    await pool.execute(_SQL.forget_notices, older_than)


async def _answered(pool: asyncpg.Pool, provider: str, model: str, row_id: ImageRowId) -> None:
    for row in await pool.fetch(_SQL.answer, provider, model, row_id):
        log.info("provider resumed", provider=provider, model=_model_or_none(row["model"]), code=row["code"])


async def _failed(
    pool: asyncpg.Pool,
    provider: str,
    model: str,
    row_id: ImageRowId,
    error: ProviderError,
    effect: Bars | CountsAgainst,
    timing: Timing,
) -> None:
    """The probe's failure lengthens its pause; any failure counts at an open gate. A key that was never good shuts
    nothing: its images fail at once, since waiting would not help them."""
    gate = ACCOUNT if effect.of_account else model
    code, message = storable(error.code), storable(error.message)
    zone = effect.quota_zone if isinstance(effect, Bars) else None
    learned = [gate] if isinstance(effect, Bars) else [ACCOUNT, model]
    await pool.execute(
        _SQL.end_probe,
        provider,
        model,
        row_id,
        learned,
        code,
        message,
        zone,
        timing.probe_seconds,
        timing.probe_max_seconds,
    )
    burst = 1 if isinstance(effect, Bars) else BURST
    if isinstance(effect, Bars) and zone is None and not await pool.fetchval(_ATTEMPTS.provider_has_worked, provider):
        return
    shut = await pool.fetchrow(_SQL.count_against, provider, gate, code, message, burst, zone, timing.probe_seconds)
    if shut is not None:
        log.warning("provider paused", provider=provider, model=_model_or_none(gate), code=code)


async def _limited(
    pool: asyncpg.Pool, provider: str, model: str, row_id: ImageRowId, effect: LimitsRate, timing: Timing
) -> None:
    gate = ACCOUNT if effect.of_account else model
    await pool.execute(
        _SQL.end_probe, provider, model, row_id, [], None, None, None, timing.probe_seconds, timing.probe_max_seconds
    )
    await pool.execute(_SQL.limit_rate, provider, gate, effect.seconds, timing.retry_unit_seconds)


def _model_or_none(gate: str) -> str | None:
    return gate if gate != ACCOUNT else None
