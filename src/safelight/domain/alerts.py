"""Alerts: the rules there are, where they begin, and when somebody is told.

A rule looks at figures and finds subjects (a provider, an endpoint, a schedule) of which something should be known.
What was found, and when, is written down by `engine/watch/alerts.py`; the step from one look to the next is
`advance`, here. A subject is told of once for each severity of a firing, again after a while, and once more when it has
been clear for long enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class Severity(StrEnum):
    WARNING = "warning"
    """Something to look at today."""
    CRITICAL = "critical"
    """Something to look at now."""


class Rule(StrEnum):
    SUCCESS_RATE = "success_rate"
    STUCK = "stuck"
    NO_WORKER = "no_worker"
    PROVIDER_DOWN = "provider_down"
    QUEUE_PAUSED = "queue_paused"
    WEBHOOK = "webhook"
    BUDGET = "budget"
    UNCERTAIN_SPEND = "uncertain_spend"
    SCHEDULE_AT_RISK = "schedule_at_risk"
    STRANDED = "stranded"


MEANINGS: Mapping[Rule, str] = {
    Rule.SUCCESS_RATE: "Of the images that ended of late, over all and by provider, the share that got a picture.",
    Rule.STUCK: "Work has stood still for so long although nothing explains it, as `image.stuck` tells.",
    Rule.NO_WORKER: "Work waits, and for so long no worker has lived that takes any.",
    Rule.PROVIDER_DOWN: "A provider, or one of its models, has been paused for so long: only probes are bought there.",
    Rule.QUEUE_PAUSED: "All buying has been paused for so long.",
    Rule.WEBHOOK: "An endpoint has taken nothing for so long; critical at once when it was disabled for that.",
    Rule.BUDGET: "So many percent of an account's budget of the day are used, as `budget.threshold` tells.",
    Rule.UNCERTAIN_SPEND: "Calls lost their outcome so long ago, and not longer: nobody knows if they were billed.",
    Rule.SCHEDULE_AT_RISK: "A schedule's pictures will hardly be there in time, as `schedule.at_risk` tells; critical "
    "when they are late, and when no job could be made.",
    Rule.STRANDED: "Pictures that are paid for have lain for so long on one host alone, because the bucket was away.",
}
"""What each tells."""


class Measure(StrEnum):
    """What the figures of a rule are, and which way is worse."""

    BELOW = "below"
    """A share from 0 to 1; less is worse."""
    AFTER = "after_seconds"
    """Seconds; more is worse."""
    AT = "at_percent"
    """Percent; more is worse."""
    NONE = "none"
    """The rule itself says how bad it is."""


class Tell(StrEnum):
    """What a message says."""

    FIRING = "firing"
    ESCALATED = "escalated"
    REMINDER = "reminder"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Where a rule's severities begin; None: never. It looks back for `window_seconds`, and needs `least_images` to
    judge by. What goes on firing is told again after `remind_seconds`, None: as often as others."""

    measure: Measure
    warning: float | None = None
    critical: float | None = None
    window_seconds: float = 0.0
    least_images: int = 0
    remind_seconds: float | None = None

    def severity_of(self, figure: float) -> Severity | None:
        """None: nobody needs to know."""
        for severity, bound in ((Severity.CRITICAL, self.critical), (Severity.WARNING, self.warning)):
            if bound is not None and (figure < bound if self.measure is Measure.BELOW else figure >= bound):
                return severity
        return None


HOUR, DAY = 3600.0, 86_400.0

DEFAULTS: Mapping[Rule, Terms] = {
    Rule.SUCCESS_RATE: Terms(measure=Measure.BELOW, warning=0.9, critical=0.5, window_seconds=900.0, least_images=10),
    Rule.STUCK: Terms(measure=Measure.AFTER, warning=600.0, critical=HOUR),
    Rule.NO_WORKER: Terms(measure=Measure.AFTER, warning=60.0, critical=300.0),
    Rule.PROVIDER_DOWN: Terms(measure=Measure.AFTER, warning=300.0, critical=1800.0),
    Rule.QUEUE_PAUSED: Terms(measure=Measure.AFTER, warning=HOUR),
    Rule.WEBHOOK: Terms(measure=Measure.AFTER, warning=HOUR, window_seconds=3 * DAY),
    Rule.BUDGET: Terms(measure=Measure.AT, warning=80.0, critical=100.0),
    Rule.UNCERTAIN_SPEND: Terms(measure=Measure.AFTER, warning=DAY, window_seconds=7 * DAY, remind_seconds=DAY),
    Rule.SCHEDULE_AT_RISK: Terms(measure=Measure.NONE, window_seconds=DAY),
    Rule.STRANDED: Terms(measure=Measure.AFTER, warning=HOUR, critical=DAY),
}
"""Chosen. For `webhook` the window is how long a disabled endpoint is told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`terms` of the rules that are on. Somebody is told again after `remind_seconds`; what fires is over once it has
    been clear for `clear_seconds`."""

    terms: Mapping[Rule, Terms]
    remind_seconds: float = 4 * HOUR
    clear_seconds: float = 300.0
    every_seconds: float = 30.0

    def remind_after(self, rule: Rule) -> timedelta:
        own = self.terms[rule].remind_seconds
        return timedelta(seconds=self.remind_seconds if own is None else own)


Key = tuple[Rule, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found of a subject, now, in words without a prompt or a secret.

    `severity` None: seen, and not yet worth telling. `since` None: only looking tells since when. `title` stays the
    same for as long as it lasts; `found` has the figures. `page` is a path of the dashboard.
    """

    rule: Rule
    subject: str
    severity: Severity | None
    since: datetime | None
    title: str
    found: str
    remedy: str
    page: str

    @property
    def key(self) -> Key:
        return self.rule, self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an alert stands between two looks; see the columns of `alerts`. `firing_since` None: not told of yet."""

    seen_since: datetime
    seen_at: datetime
    clear_since: datetime | None = None
    firing_since: datetime | None = None
    severity: Severity | None = None
    told_severity: Severity | None = None
    told_at: datetime | None = None
    resolved_at: datetime | None = None


Step = tuple[Standing | None, Tell | None]
"""What an alert has become (None: nothing, it is forgotten), and what is told of that."""

UNDECIDED_SECONDS = DAY
"""An alert of which nothing could be said for so long is taken to be clear. Chosen."""


def advance(before: Standing | None, finding: Finding | None, *, policy: Policy, rule: Rule, now: datetime) -> Step:
    """One subject of a rule, from the last look to this one. With neither there is nothing to say."""
    if rule not in policy.terms:  # it was turned off: nobody asked to hear that
        return (replace(before, resolved_at=now) if before and before.firing_since else None), None
    if finding is None:
        return _cleared(before, policy, now) if before is not None else (None, None)
    if before is None or _is_stale(before, policy, now):
        before = Standing(seen_since=finding.since or now, seen_at=now)
    seen = replace(before, seen_at=now, clear_since=None)
    if finding.severity is None:
        # Of what fires already the figures are better; it is over only when they are gone.
        return seen, None
    if seen.firing_since is None or seen.told_severity is None or seen.told_at is None:
        return _told(replace(seen, firing_since=now), finding.severity, finding.severity, now), Tell.FIRING
    if finding.severity is Severity.CRITICAL and seen.told_severity is Severity.WARNING:
        return _told(seen, finding.severity, finding.severity, now), Tell.ESCALATED
    if now - seen.told_at >= policy.remind_after(rule):
        return _told(seen, finding.severity, seen.told_severity, now), Tell.REMINDER
    return replace(seen, severity=finding.severity), None


def stays_as_it_is(before: Standing, now: datetime) -> bool:
    """Whether an alert of which nothing can be said goes on: not for ever."""
    return now - before.seen_at <= timedelta(seconds=UNDECIDED_SECONDS)


def seen_since(before: Standing | None, *, policy: Policy, now: datetime) -> datetime:
    """Since when something has been seen that is seen now."""
    return before.seen_since if before is not None and not _is_stale(before, policy, now) else now


def _cleared(before: Standing, policy: Policy, now: datetime) -> Step:
    if before.firing_since is None:
        return None, None
    clear_since = before.clear_since or now
    if now - clear_since >= timedelta(seconds=policy.clear_seconds):
        return replace(before, clear_since=clear_since, resolved_at=now), Tell.RESOLVED
    return replace(before, clear_since=clear_since), None


def _told(seen: Standing, severity: Severity, told: Severity, now: datetime) -> Standing:
    return replace(seen, severity=severity, told_severity=told, told_at=now)


def _is_stale(before: Standing, policy: Policy, now: datetime) -> bool:
    """Nobody looked for so long that what was seen, and not told of, says nothing about the time between."""
    gap = timedelta(seconds=max(4 * policy.every_seconds, 60.0))
    return before.firing_since is None and now - before.seen_at > gap
