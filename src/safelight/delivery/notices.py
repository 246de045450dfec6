"""Sends what alerts have to tell to the services of an operator, at least once.

Messages lie in `alert_messages`. Whoever sends some has a lease on them that outlasts the sending, so that they are
sent again when it dies. A service that has taken a message is not asked again for the others' sake, and is told nothing
of a subject that is older than what it has heard: not that an alert fires once it knows that it is over, nor the
opposite. Apprise, and all that it connects to, is in a process that is killed when its time is up: nothing here waits
for longer than that.

These addresses come from the settings, from the operator alone: they go around the guard for those that callers name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load

SEND_SECONDS = 30.0
_LEASE_MARGIN_SECONDS = 30.0
_POLL_SECONDS = 10.0
_AT_ONCE = 20
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 15.0, 900.0
_GIVE_UP_SECONDS = 86_400.0
"""Chosen: a message that nobody took for a day has been overtaken by others."""
_KINDS = {"warning": "warning", "critical": "failure"}

_SQL = load("notices")

log = structlog.get_logger(__name__)


class AlertsExtraMissing(Exception):
    """Services are configured, and what talks to them is not installed."""

    def __init__(self) -> None:
        super().__init__("alerts.urls needs the extra `alerts`: pip install 'safelight[alerts]'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """`kind` is one of Apprise's: `info`, `success`, `warning` or `failure`; `to` are names of services."""

    id: int
    to: Sequence[str]
    title: str
    body: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one message at one service; `why` None: it was accepted."""

    id: int
    service: str
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Whom an operator wants told: `everything` of every alert, `critical` besides of what is critical, and `by_rule`
    instead of the former. Addresses hold secrets, and are shown by no name."""

    everything: Sequence[str] = field(default=(), repr=False)
    critical: Sequence[str] = field(default=(), repr=False)
    by_rule: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]], repr=False)

    @property
    def named(self) -> Mapping[str, str]:
        """Every address once, by its scheme and its position among those of that scheme: `slack-1`."""
        seen: Counter[str] = Counter()
        named: dict[str, str] = {}
        for url in dict.fromkeys((*self.everything, *self.critical, *chain.from_iterable(self.by_rule.values()))):
            scheme = url.partition("://")[0].lower()[:32] or "service"
            seen[scheme] += 1
            named[f"{scheme}-{seen[scheme]}"] = url
        return named

    def hearing(self, rule: str, severity: str) -> list[str]:
        """Names of those who want to hear of it."""
        wanted = {*self.by_rule.get(rule, self.everything), *(self.critical if severity == "critical" else ())}
        return [name for name, url in self.named.items() if url in wanted]


def require_extra() -> None:
    """Raises AlertsExtraMissing."""
    if find_spec("apprise") is None:
        raise AlertsExtraMissing


async def send(notes: Sequence[Note], services: Mapping[str, str], *, within_seconds: float) -> list[Result]:
    """What became of each message at each service, after `within_seconds` at the latest."""
    request = {
        "services": {name: url for name, url in services.items() if any(name in note.to for note in notes)},
        "messages": [
            {"id": each.id, "to": list(each.to), "title": each.title, "body": each.body, "kind": each.kind}
            for each in notes
        ],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "safelight.delivery.notice_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # plugins log addresses and answers
    )
    known: dict[tuple[int, str], str | None] = {}
    why = "it broke off"
    try:
        async with asyncio.timeout(within_seconds):
            await _converse(process, json.dumps(request).encode(), known)
    except TimeoutError:
        why = f"it did not answer within {within_seconds:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return [Result(id=each.id, service=name, why=known.get((each.id, name), why)) for each in notes for name in each.to]


class Notifier:
    """Sends what is due, for as long as it runs. `base_url` goes before the paths of pages. Any number may run."""

    def __init__(
        self, pool: asyncpg.Pool, services: Services, *, base_url: str, send_seconds: float = SEND_SECONDS
    ) -> None:
        self._pool = pool
        self._services = services
        self._base_url = base_url.rstrip("/")
        self._send_seconds = send_seconds
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._awake.set()

    async def run(self) -> None:
        while True:
            try:
                while await self.send_due():
                    pass
            except Exception as error:  # what was claimed comes again when its lease ends
                log.warning("could not send alerts", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._awake.wait()
            self._awake.clear()

    async def send_due(self) -> int:
        """How many messages were tried, and settled or put off."""
        claim = uuid4()
        rows = await self._pool.fetch(
            _SQL.claim_messages, claim, self._send_seconds + _LEASE_MARGIN_SECONDS, _AT_ONCE, timeout=ACQUIRE_SECONDS
        )
        rows = sorted(rows, key=lambda row: row["id"])
        fresh = [row for row in rows if row["age_seconds"] < _GIVE_UP_SECONDS]
        asked = [note for row in fresh if (note := self._note(row)).to]
        results = await send(asked, self._services.named, within_seconds=self._send_seconds) if asked else []
        for row in rows:
            await self._settle(row, claim, [each for each in results if each.id == row["id"]])
        return len(rows)

    def _note(self, row: asyncpg.Record) -> Note:
        wanted = self._services.hearing(row["rule"], row["severity"])
        return Note(
            id=row["id"],
            to=[name for name in wanted if name not in row["accepted"] and name not in row["further"]],
            title=row["title"],
            body=f"{row['body']}\n{self._base_url}{row['page']}",
            kind="success" if row["kind"] == "resolved" else _KINDS[row["severity"]],
        )

    async def _settle(self, row: asyncpg.Record, claim: object, results: Sequence[Result]) -> None:
        accepted = [*row["accepted"], *(each.service for each in results if each.why is None)]
        left = [each for each in results if each.why is not None]
        error = "; ".join(f"{each.service}: {each.why}" for each in left) or None
        if left:
            log.warning("an alert was not taken", message=row["id"], rule=row["rule"], why=error, tries=row["tries"])
        is_too_old = row["age_seconds"] >= _GIVE_UP_SECONDS
        if left:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(row["tries"] - 1, 10), _MOST_PAUSE_SECONDS)
            await self._pool.execute(_SQL.put_off_message, row["id"], claim, accepted, error, pause)
        else:
            status, error = ("dead", "nobody took it for a day") if is_too_old else ("sent", None)
            await self._pool.fetchval(_SQL.end_message, row["id"], claim, status, accepted, error)
        if any(each.why is None for each in results):
            await self._pool.execute(_SQL.note_told, row["alert_id"])


async def _converse(
    process: asyncio.subprocess.Process, request: bytes, known: dict[tuple[int, str], str | None]
) -> None:
    """Every line that the process says, until it has said all."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(request)
        await process.stdin.drain()
        process.stdin.close()
    async for line in process.stdout:
        answer: dict[str, Any] = json.loads(line)
        known[answer["id"], answer["service"]] = answer["why"]
