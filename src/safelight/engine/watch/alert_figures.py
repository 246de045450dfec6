"""The figures that alerts go by, rule by rule. Reads only, by index, and no more than so many rows of any table.

A rule whose figures cannot be read says nothing in this look, and keeps no other from being looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

import asyncpg
import structlog

from safelight.db.statements import load
from safelight.domain import alert_rules
from safelight.domain.alert_rules import (
    ALL,
    Ended,
    LostCalls,
    RiskyRun,
    ShutGate,
    SilentEndpoint,
    StandingStill,
    Stranded,
    Unattended,
    UsedBudget,
)
from safelight.domain.alerts import Finding, Key, Policy, Rule, Standing, Terms, seen_since
from safelight.domain.stuck import Cause, remedy_of
from safelight.engine.upkeep.stuck import Bounds, Suspect, suspects

_SQL = load("alerts")

MOST_ENDED = 20_000
"""Images that a share is taken of, the newest. Chosen."""
_WAITS_SECONDS = 10.0
"""What has just been queued does not wait for a worker yet. Chosen."""

Undecided = Callable[[Key], bool]

log = structlog.get_logger(__name__)


class Looks:
    """`lease_seconds` after its last sign a worker is dead."""

    def __init__(self, bounds: Bounds, *, lease_seconds: float) -> None:
        self._bounds = bounds
        self._lease_seconds = lease_seconds

    async def findings(
        self, conn: Any, before: Mapping[Key, Standing], *, policy: Policy, now: datetime
    ) -> tuple[dict[Key, Finding], Undecided]:
        """What the rules that are on find now, and of which alerts this says nothing. In a transaction of `conn`."""
        found: dict[Key, Finding] = {}
        unread: set[Rule] = set()
        decided: set[Key] = set()
        firing = {key for key, standing in before.items() if standing.firing_since is not None}

        async def ended(terms: Terms) -> list[Finding]:
            rows = await conn.fetch(_SQL.ended_images, terms.window_seconds, MOST_ENDED)
            findings, enough = alert_rules.success_rate([Ended(**row) for row in rows], terms)
            decided.update(enough)
            return findings

        async def standing_still(_: Terms) -> list[Finding]:
            suspected = await suspects(
                conn, self._bounds, lease_seconds=self._lease_seconds, for_seconds=_WAITS_SECONDS
            )
            waiting_since = seen_since(before.get((Rule.NO_WORKER, ALL)), policy=policy, now=now)
            return _of_suspects(suspected, policy.terms, waiting_since=waiting_since, now=now)

        async def plain(look: _Look, terms: Terms) -> list[Finding]:
            return look.judge(await conn.fetch(look.statement, *look.arguments(terms)), terms, now)

        async def read(*rules: Rule, by: Callable[[Terms], Awaitable[list[Finding]]]) -> None:
            on = [rule for rule in rules if rule in policy.terms]
            if not on:
                return
            try:
                async with conn.transaction():
                    findings = await by(policy.terms[on[0]])
            except (asyncpg.PostgresError, TimeoutError) as error:
                log.warning("a rule of alerts has no figures", rule=on[0].value, error=type(error).__name__)
                unread.update(on)
                return
            for rule in on:
                mine = [each for each in findings if each.rule is rule]
                found.update({each.key: each for each in alert_rules.bounded(mine, firing)})

        await read(Rule.SUCCESS_RATE, by=ended)
        await read(Rule.NO_WORKER, Rule.STUCK, by=standing_still)
        for look in _LOOKS:
            await read(look.rule, by=partial(plain, look))

        def undecided(key: Key) -> bool:
            if key[0] in unread:
                return True
            # Too few pictures have ended to judge by: what seemed to be over by those before them goes on being so.
            seems_over = key in before and before[key].clear_since is not None
            return key[0] is Rule.SUCCESS_RATE and key not in decided and not seems_over

        return found, undecided


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One statement, and what a rule makes of its rows."""

    rule: Rule
    statement: str
    judge: Callable[[Sequence[asyncpg.Record], Terms, datetime], list[Finding]]
    arguments: Callable[[Terms], tuple[object, ...]] = lambda _: ()


def _window(terms: Terms) -> tuple[object, ...]:
    return (terms.window_seconds,)


def _from_least_to_window(terms: Terms) -> tuple[object, ...]:
    bounds = [each for each in (terms.warning, terms.critical) if each is not None]
    return (min(bounds, default=terms.window_seconds), terms.window_seconds)


_LOOKS = (
    _Look(
        rule=Rule.PROVIDER_DOWN,
        statement=_SQL.shut_gates,
        judge=lambda rows, terms, now: alert_rules.provider_down([ShutGate(**row) for row in rows], terms, now),
    ),
    _Look(
        rule=Rule.QUEUE_PAUSED,
        statement=load("pause").paused,
        judge=lambda rows, terms, now: alert_rules.queue_paused(rows[0]["paused_at"], terms, now),
    ),
    _Look(
        rule=Rule.WEBHOOK,
        statement=_SQL.silent_endpoints,
        arguments=_window,
        judge=lambda rows, terms, now: alert_rules.webhook([SilentEndpoint(**row) for row in rows], terms, now),
    ),
    _Look(
        rule=Rule.BUDGET,
        statement=_SQL.used_budgets,
        judge=lambda rows, terms, _: alert_rules.budget([UsedBudget(**row) for row in rows], terms),
    ),
    _Look(
        rule=Rule.UNCERTAIN_SPEND,
        statement=_SQL.lost_calls,
        arguments=_from_least_to_window,
        judge=lambda rows, terms, now: alert_rules.uncertain_spend([LostCalls(**row) for row in rows], terms, now),
    ),
    _Look(
        rule=Rule.SCHEDULE_AT_RISK,
        statement=_SQL.risky_runs,
        arguments=_window,
        judge=lambda rows, _, __: alert_rules.schedule_at_risk([RiskyRun(**row) for row in rows]),
    ),
    _Look(
        rule=Rule.STRANDED,
        statement=_SQL.stranded,
        judge=lambda rows, terms, now: alert_rules.stranded([Stranded(**row) for row in rows], terms, now),
    ),
)


def _of_suspects(
    suspected: list[Suspect], terms: Mapping[Rule, Terms], *, waiting_since: datetime, now: datetime
) -> list[Finding]:
    """Of what stands still without any worker, that there is none; of the rest, what was told as `image.stuck`."""
    unattended = [each for each in suspected if each.cause is Cause.UNSERVED and not each.has_workers]
    found: list[Finding] = []
    if unattended and (no_worker := terms.get(Rule.NO_WORKER)):
        found += alert_rules.no_worker([Unattended(images=len(unattended), since=waiting_since)], no_worker, now)
    if (stuck := terms.get(Rule.STUCK)) is None:
        return found
    is_told_otherwise = Rule.NO_WORKER in terms
    told = [each for each in suspected if each.is_told and not (is_told_otherwise and each in unattended)]
    told.sort(key=lambda each: (each.provider, each.since))
    figures = []
    for provider, images in groupby(told, key=lambda each: each.provider):
        longest, *others = images
        figures.append(
            StandingStill(
                provider=provider,
                images=1 + len(others),
                since=longest.since,
                job_id=longest.job_id,
                why=longest.why,
                remedy=remedy_of(longest.cause, provider=provider, has_workers=longest.has_workers),
            )
        )
    return found + alert_rules.stuck(figures, stuck, now)
