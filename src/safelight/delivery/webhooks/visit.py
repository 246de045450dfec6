"""A visit to a lane: its messages are sent one after the other, until one is not taken or none is left.

The lane is this process's while its lease runs; every write names the token. Whoever finds the lease lost stops, and
nothing is sent that could not end within it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from structlog.contextvars import bound_contextvars

from safelight.db.statements import load
from safelight.delivery.envelope import Event
from safelight.delivery.links import Links
from safelight.delivery.webhooks.message import TEST, event_body, notice_body, progress_body, trial_body
from safelight.delivery.webhooks.schedule import KEPT_TYPES, Again, Failure, Schedule
from safelight.delivery.webhooks.send import NotTaken, Taken, send
from safelight.delivery.webhooks.signing import new_secret
from safelight.delivery.webhooks.vault import CannotOpen, Vault
from safelight.domain.events import PROGRESS
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES, JobStatus
from safelight.net.post import Post
from safelight.tracing.context import TraceContext
from safelight.tracing.spans import Attribute, Kind, SpanName, span

_SQL = load("courier")
_FEED, _WEBHOOKS = load("feed"), load("webhooks")

_BATCH = 10
"""Messages of a lane that are read at once. Chosen."""
_CLOSED_VAULT_SECONDS = 60.0
"""Until a message whose secret cannot be opened is looked at again: a person has to act. Chosen."""
_ENDED = "its job has ended since"
_GONE = "the receiver answered 410: it wants no more messages"

log = structlog.get_logger(__name__)


class CourierPoint(StrEnum):
    """Where a test can stop the process, besides the engine's points."""

    WEBHOOK_CLAIMED = "webhook_claimed"
    """The event is committed and its lane claimed; nothing is sent."""
    WEBHOOK_ANSWERED = "webhook_answered"
    """The receiver has answered with 2xx; the database does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long is waited for what, and how much is done at once.

    Lanes that are due are looked for every `poll_seconds`, and when a visit has ended. An attempt takes `call_seconds`
    at most and a lease lasts for `lease_seconds`: after a crash that is how long its lane waits. `slots` messages are
    under way at once in a process, and `per_site` at one endpoint, over all processes: `per_site_when_full` once half
    of the slots are taken, one once seven eighths are, and one when it has taken nothing for `failing_seconds`. One
    job.progress follows another of its job after `progress_seconds`.
    """

    poll_seconds: float = 0.2
    call_seconds: float = 15.0
    lease_seconds: float = 20.0
    slots: int = 256
    per_site: int = 16
    per_site_when_full: int = 4
    failing_seconds: float = 60.0
    progress_seconds: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a visit works with. `reach` is called at each of the points."""

    pool: asyncpg.Pool
    post: Post
    vault: Vault
    links: Links
    pace: Pace
    schedule: Schedule
    reach: Callable[[CourierPoint], None]
    stopping: asyncio.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    id: int
    message_id: str
    type: str
    attempt_count: int
    age_seconds: float
    body: bytes


class _Then(Enum):
    """What follows an attempt: the next message that was read, another look at the lane, or nothing here."""

    GO_ON = auto()
    LOOK_AGAIN = auto()
    LEAVE = auto()


class Visit:
    """To one lane, that was claimed under `token`; `claimed_at` is the monotonic time before it was."""

    def __init__(self, route: Route, endpoint_id: str, lane: str, token: UUID, *, claimed_at: float) -> None:
        self._route = route
        self._key = (endpoint_id, lane, token)
        self._lease_ends = claimed_at + route.pace.lease_seconds

    @property
    def endpoint_id(self) -> str:
        return self._key[0]

    async def make(self) -> None:
        """Until the lane is let go, by us or by the end of its lease."""
        with bound_contextvars(endpoint_id=self.endpoint_id):
            await self._make()

    async def _make(self) -> None:
        while rows := await self._route.pool.fetch(_SQL.look, *self._key, _BATCH):
            if await self._deliver(rows) is _Then.LEAVE:
                return

    async def _deliver(self, rows: list[asyncpg.Record]) -> _Then:
        first = rows[0]
        if not first["is_open"]:
            await self._execute(_SQL.abandon, "its endpoint is disabled or deleted")
            await self._execute(_SQL.drop_progress)
            await self._execute(_SQL.let_go, first["revision"])
            return _Then.LEAVE
        if self._route.stopping.is_set():
            await self._execute(_SQL.hand_back)
            return _Then.LEAVE
        if first["id"] is None and not first["progress_is_due"]:
            await self._execute(_SQL.let_go, first["revision"])
            return _Then.LEAVE
        if not first["secrets"]:
            return await self._provide_secret(first)
        try:
            secrets = self._route.vault.open_any(first["secrets"])
        except CannotOpen as error:
            log.error("a webhook waits", why=str(error))
            await self._execute(_SQL.put_off, first["id"], str(error), _CLOSED_VAULT_SECONDS)
            return _Then.LEAVE
        if first["id"] is None:
            progress = await self._progress(first)
            return _Then.LEAVE if progress is None else await self._send(progress, first, secrets, is_last=True)
        for position, row in enumerate(rows, start=1):
            message = await self._message(row)
            if message is None or self._route.stopping.is_set():
                return _Then.LOOK_AGAIN
            then = await self._send(message, row, secrets, is_last=position == len(rows) < _BATCH)
            if then is not _Then.GO_ON:
                return then
        return _Then.LOOK_AGAIN

    async def _send(self, message: _Message, row: asyncpg.Record, secrets: list[str], *, is_last: bool) -> _Then:
        pace = self._route.pace
        if time.monotonic() + pace.call_seconds > self._lease_ends:
            return _Then.LEAVE
        self._route.reach(CourierPoint.WEBHOOK_CLAIMED)
        trace = TraceContext.of_text(row["trace_context"])
        with bound_contextvars(delivery_id=message.message_id, **(trace.log_fields if trace is not None else {})):
            return await self._attempt(message, row, secrets, is_last=is_last)

    async def _attempt(self, message: _Message, row: asyncpg.Record, secrets: list[str], *, is_last: bool) -> _Then:
        pace = self._route.pace
        outcome = await self._post(message, row, secrets)
        if isinstance(outcome, Taken):
            self._route.reach(CourierPoint.WEBHOOK_ANSWERED)
            noted_at = time.monotonic()
            goes_on = await self._fetchval(
                _SQL.mark_delivered,
                message.id,
                outcome.http_status,
                outcome.reply,
                is_last,
                row["revision"],
                pace.lease_seconds,
                row["url"],
            )
            self._lease_ends = noted_at + pace.lease_seconds
            if not goes_on:  # the lane is lost, or the endpoint was closed or moved since the messages were read
                return _Then.LOOK_AGAIN
            return _Then.LEAVE if is_last else _Then.GO_ON
        return await self._not_taken(message, row, outcome)

    async def _post(self, message: _Message, row: asyncpg.Record, secrets: list[str]) -> Taken | NotTaken:
        """As a span in the trace that the message's job was ordered in; the receiver is told of it."""
        attributes = {
            Attribute.ENDPOINT_ID: self.endpoint_id,
            Attribute.DELIVERY_ID: message.message_id,
            Attribute.JOB_ID: row["job_id"],
            Attribute.EVENT_TYPE: message.type,
            Attribute.ATTEMPT: message.attempt_count + 1,
        }
        parent = TraceContext.of_text(row["trace_context"])
        with span(SpanName.WEBHOOK, kind=Kind.CLIENT, parent=parent, attributes=attributes) as posting:
            outcome = await send(
                self._route.post,
                row["url"],
                message_id=message.message_id,
                body=message.body,
                secrets=secrets,
                timeout_seconds=self._route.pace.call_seconds,
                trace=posting.context,
            )
            posting.note({Attribute.HTTP_STATUS: outcome.http_status})
            if isinstance(outcome, NotTaken):
                posting.fail("not_taken")
        return outcome

    async def _not_taken(self, message: _Message, row: asyncpg.Record, outcome: NotTaken) -> _Then:
        schedule = self._route.schedule
        if outcome.is_gone:
            if await self._disable(row["url"], _GONE, None):  # else it was moved or closed meanwhile
                await self._bury(message, outcome, rest_seconds=None)
            return _Then.LOOK_AGAIN
        failure = Failure(
            type=message.type,
            attempts=message.attempt_count + 1,
            age_seconds=message.age_seconds,
            failing_seconds=row["failing_seconds"] or 0.0,
            asked_seconds=outcome.asked_seconds,
            retry_seconds=row["retry_seconds"],
        )
        what_now = schedule.after_failure(failure)
        if isinstance(what_now, Again):
            why = (outcome.http_status, outcome.error, outcome.reply)
            await self._execute(_SQL.mark_failed, message.id, *why, what_now.after_seconds, message.attempt_count)
        else:
            if message.type in KEPT_TYPES:
                log.warning("a webhook was given up")
            await self._bury(message, outcome, rest_seconds=what_now.rest_seconds)
        hours = schedule.disable_after_seconds / 3600
        await self._disable(row["url"], f"it has taken nothing for {hours:g} hours", schedule.disable_after_seconds)
        return _Then.LEAVE if isinstance(what_now, Again) or what_now.rest_seconds else _Then.LOOK_AGAIN

    async def _bury(self, message: _Message, outcome: NotTaken, *, rest_seconds: float | None) -> None:
        """The message is dead, and what is behind it if that has waited for too long as well."""
        pace, patience_seconds = self._route.pace, self._route.schedule.patience_seconds
        noted_at = time.monotonic()
        why = (outcome.http_status, outcome.error, outcome.reply)
        rest = (rest_seconds, pace.lease_seconds)
        await self._execute(_SQL.mark_dead, message.id, *why, *rest, True, message.attempt_count)
        self._lease_ends = noted_at + pace.lease_seconds
        if rest_seconds is None:
            why_too = f"given up with those before it: nothing was taken for {patience_seconds:.0f} seconds"
            await self._execute(_SQL.give_up_older, patience_seconds, list(KEPT_TYPES), why_too)

    async def _disable(self, url: str, why: str, after_seconds: float | None) -> bool:
        """Unless it has another address by now: that has said nothing."""
        disabled = await self._route.pool.fetchval(_SQL.disable_endpoint, self.endpoint_id, why, after_seconds, url)
        if disabled is not None:
            log.warning("a webhook endpoint was disabled", why=why)
        return disabled is not None

    async def _message(self, row: asyncpg.Record) -> _Message | None:
        """None when there is nothing to send any more; then the message is dead."""
        endpoint_id = self._key[0]
        links = replace(self._route.links, needs_keys=lambda: row["needs_keys"])
        body: bytes | None = None
        why = "what it told of is no longer kept"
        if row["type"] == TEST:
            body = trial_body(endpoint_id, row["created_at"])
        elif row["type"] == PROGRESS:
            body, why = await self._progress_body(row["job_id"]), _ENDED
        elif row["happened_at"] is not None:
            body = event_body(Event.of({**row, "created_at": row["happened_at"]}), links)
        elif row["noticed_at"] is not None:
            body = notice_body(row["type"], row["noticed_at"], row["notice"])
        if body is None:
            rest = (None, self._route.pace.lease_seconds)
            await self._execute(_SQL.mark_dead, row["id"], None, why, None, *rest, False, row["attempt_count"])
            return None
        return _Message(
            id=row["id"],
            message_id=row["message_id"],
            type=row["type"],
            attempt_count=row["attempt_count"],
            age_seconds=row["age_seconds"],
            body=body,
        )

    async def _progress(self, first: asyncpg.Record) -> _Message | None:
        """The wish for a job.progress as a message; None when the job has ended, and the wish with it."""
        _, lane, _ = self._key
        body = await self._progress_body(lane)
        if body is None:
            await self._execute(_SQL.drop_progress)
            if await self._fetchval(_SQL.discard, first["revision"]) is None:
                await self._execute(_SQL.let_go, first["revision"])
            return None
        pace = self._route.pace
        begun = await self._route.pool.fetchrow(
            _SQL.begin_progress, *self._key, pace.progress_seconds, first["account"]
        )
        if begun is None:
            return None
        return _Message(**begun, type=PROGRESS, attempt_count=0, age_seconds=0.0, body=body)

    async def _progress_body(self, job_id: str) -> bytes | None:
        rows = [dict(row) for row in await self._route.pool.fetch(_FEED.progress_of_jobs, [job_id])]
        if not rows or JobStatus(rows[0]["job_status"]) in TERMINAL_JOB_STATUSES:
            return None
        return progress_body(job_id, rows, self._route.links)

    async def _provide_secret(self, first: asyncpg.Record) -> _Then:
        """The account's default secret is made when it is first needed; an endpoint's own cannot be made up."""
        if not first["is_of_job"]:
            await self._execute(_SQL.put_off, first["id"], "it has no secret: rotate it", _CLOSED_VAULT_SECONDS)
            return _Then.LEAVE
        sealed = self._route.vault.seal(new_secret())
        await self._route.pool.execute(_WEBHOOKS.insert_secret, first["account"], None, sealed)
        return _Then.LOOK_AGAIN

    async def _execute(self, statement: str, *arguments: object) -> None:
        await self._route.pool.execute(statement, *self._key, *arguments)

    async def _fetchval(self, statement: str, *arguments: object) -> Any:
        return await self._route.pool.fetchval(statement, *self._key, *arguments)
