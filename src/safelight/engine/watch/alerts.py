"""Looks at all rules of alerts and writes down what stands where, and what is to be told.

Every process looks; one at a time does, and once in a while for all of them. What changed and the message about it are
written in one transaction: a process that dies in between has done neither. `delivery/notices.py` sends the messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.alert_text import message
from safelight.domain.alerts import Finding, Policy, Rule, Severity, Standing, Tell, advance, stays_as_it_is
from safelight.engine.watch.alert_figures import Looks

_SQL = load("alerts")

_KEPT_SECONDS = 30 * 86_400.0
"""For so long what was resolved can be listed. Chosen."""
MOST_RESOLVED = 100
_RULES = frozenset(rule.value for rule in Rule)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One that fires, or did. `since` is when what it tells of began, or was first seen; `clear_since` when it seems to
    be over; `notified_at` when a service last took a message about it."""

    id: int
    rule: Rule
    subject: str
    severity: Severity
    title: str
    found: str
    remedy: str
    page: str
    since: datetime
    firing_since: datetime
    clear_since: datetime | None
    notified_at: datetime | None
    resolved_at: datetime | None


async def alerts_shown(pool: asyncpg.Pool, *, within_seconds: float, acquire_seconds: float) -> list[Alert]:
    """Those that fire, the gravest first, then what was resolved within that time, newest first, 100 at most."""
    async with pool.acquire(timeout=acquire_seconds) as conn:
        rows = await conn.fetch(_SQL.shown_alerts, within_seconds, MOST_RESOLVED)
    return [_alert(row) for row in rows]


async def last_look(pool: asyncpg.Pool, *, acquire_seconds: float) -> datetime | None:
    """When the rules were last looked at, by whichever process."""
    async with pool.acquire(timeout=acquire_seconds) as conn:
        return await conn.fetchval(_SQL.last_look)


class AlertWatch:
    """`told` is called when there is something to send."""

    def __init__(
        self, pool: asyncpg.Pool, looks: Looks, policy: Policy, *, told: Callable[[], object] = lambda: None
    ) -> None:
        self._pool = pool
        self._looks = looks
        self._policy = policy
        self._told = told

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # the next look begins anew
                log.warning("could not look at alerts", error=type(error).__name__)
            await asyncio.sleep(self._policy.every_seconds)

    async def look(self) -> int | None:
        """How many messages were written; None when it was another process's turn, or too soon."""
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
            now = await conn.fetchval(_SQL.take_turn, 0.9 * self._policy.every_seconds)
            if now is None:
                return None
            tells = await self._judge(conn, now)
            await conn.execute(_SQL.forget_old, _KEPT_SECONDS)
            await conn.execute(_SQL.note_turn, now)
        for tell, standing, about in tells:
            words = {"rule": about.rule.value, "subject": about.subject, "severity": standing.severity}
            log.warning("alert", tell=tell.value, **words)
        if tells:
            self._told()
        return len(tells)

    async def _judge(self, conn: Any, now: datetime) -> list[tuple[Tell, Standing, Finding]]:
        rows = {(Rule(row["rule"]), row["subject"]): row for row in await conn.fetch(_SQL.open_alerts) if _known(row)}
        before = {key: _standing(row) for key, row in rows.items()}
        found, undecided = await self._looks.findings(conn, before, policy=self._policy, now=now)
        tells: list[tuple[Tell, Standing, Finding]] = []
        for key in (*found, *(key for key in rows if key not in found)):
            was = before.get(key)
            if key not in found and undecided(key) and was is not None and stays_as_it_is(was, now):
                continue
            standing, tell = advance(was, found.get(key), policy=self._policy, rule=key[0], now=now)
            about = found.get(key) or _last_finding(rows[key])
            alert_id = await _write(conn, rows.get(key), standing, about)
            if tell is not None and standing is not None and alert_id is not None:
                title, body = message(tell, standing, about, now=now)
                severity = standing.told_severity or Severity.WARNING
                words = (key[0].value, tell.value, severity.value, title, body, about.page)
                await conn.execute(_SQL.write_message, alert_id, *words, now)
                tells.append((tell, standing, about))
        return tells


async def _write(conn: Any, row: asyncpg.Record | None, standing: Standing | None, about: Finding) -> int | None:
    if standing is None:
        if row is not None:
            await conn.execute(_SQL.forget_alert, row["id"])
        return None
    columns = (
        standing.seen_since,
        standing.seen_at,
        standing.clear_since,
        standing.firing_since,
        standing.severity,
        standing.told_severity,
        standing.told_at,
        standing.resolved_at,
        about.title,
        about.found,
        about.remedy,
        about.page,
    )
    if row is None:
        return await conn.fetchval(_SQL.open_alert, about.rule.value, about.subject, *columns)
    await conn.execute(_SQL.move_alert, row["id"], *columns)
    return row["id"]


def _known(row: asyncpg.Record) -> bool:
    """Another version may have had rules that this one does not."""
    return row["rule"] in _RULES


def _standing(row: asyncpg.Record) -> Standing:
    severity, told = row["severity"], row["told_severity"]
    return Standing(
        seen_since=row["seen_since"],
        seen_at=row["seen_at"],
        clear_since=row["clear_since"],
        firing_since=row["firing_since"],
        severity=Severity(severity) if severity else None,
        told_severity=Severity(told) if told else None,
        told_at=row["told_at"],
        resolved_at=row["resolved_at"],
    )


def _last_finding(row: asyncpg.Record) -> Finding:
    """As it was written down."""
    return Finding(
        rule=Rule(row["rule"]),
        subject=row["subject"],
        severity=Severity(row["severity"]) if row["severity"] else None,
        since=None,
        title=row["title"],
        found=row["found"],
        remedy=row["remedy"],
        page=row["page"],
    )


def _alert(row: asyncpg.Record) -> Alert:
    fields = {name: row[name] for name in Alert.__slots__ if name not in ("rule", "severity", "since")}
    return Alert(**fields, rule=Rule(row["rule"]), severity=Severity(row["severity"]), since=row["seen_since"])
