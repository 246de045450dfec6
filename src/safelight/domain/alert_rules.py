"""What each rule finds in its figures, and in which words.

No text has a prompt, a secret or a whole address in it: providers, accounts, schedules and jobs are called by their
names and ids, receivers by their host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from safelight.domain.alert_text import moment, span
from safelight.domain.alerts import Finding, Key, Measure, Rule, Severity, Terms
from safelight.domain.money import format_usd

ALL = ""
"""The subject that stands for the whole installation."""
REST = "…"
"""The subject that stands for what is beyond `MOST_SUBJECTS`."""
MOST_SUBJECTS = 20
"""Of a rule, that are told of one by one. Chosen: a storm has to stay readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Images that ended in the window with or without a picture. `provider` empty: all of them."""

    provider: str
    completed: int
    tried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingStill:
    """Images at one provider that stand still; `job_id` is the longest one's, `why` and `remedy` are about that."""

    provider: str
    images: int
    since: datetime
    job_id: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattended:
    """Images wait, and no worker lives that takes any; `since` when that was seen."""

    images: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutGate:
    """`model` empty: the whole account."""

    provider: str
    model: str
    code: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentEndpoint:
    """An endpoint, or of jobs' own addresses all on one host. `is_disabled` since then, else failing."""

    subject: str
    account: str
    host: str
    is_disabled: bool
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedBudget:
    account: str
    percent: float
    used_microusd: int
    budget_microusd: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCalls:
    """Calls of unknown outcome; `at_most_microusd` None: nobody can say."""

    provider: str
    calls: int
    at_most_microusd: int | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskyRun:
    """`reason` is `short`, `late`, `incomplete` or `not_submitted`, which alone is told without a `ready_by`, too."""

    schedule_id: str
    name: str
    account: str
    reason: str
    ready_by: datetime | None
    job_id: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    folder: str
    pictures: int
    since: datetime


_Aging = TypeVar("_Aging", StandingStill, ShutGate, LostCalls, Stranded)


def success_rate(figures: Iterable[Ended], terms: Terms) -> tuple[list[Finding], frozenset[Key]]:
    """What is too low, and the subjects of which enough images have ended to say so or the opposite."""
    enough = [each for each in figures if each.tried and each.tried >= terms.least_images]
    found = []
    for each in enough:
        share = each.completed / each.tried
        severity = terms.severity_of(share)
        if severity is None:
            continue
        who = f"Provider `{each.provider}`" if each.provider else "This installation"
        bound = terms.critical if severity is Severity.CRITICAL else terms.warning
        found.append(
            Finding(
                rule=Rule.SUCCESS_RATE,
                subject=each.provider,
                severity=severity,
                since=None,
                title=f"{who} brings too few pictures",
                found=f"{each.completed} of {each.tried} images that ended in the last {span(terms.window_seconds)} "
                f"got one: {share:.1%}, below {bound:.0%}.",
                remedy="Look at what failed and why, on the page below or with `safelight stats --group-by provider`; "
                "`safelight providers check` asks the vendor.",
                page="/dashboard/health",
            )
        )
    return found, frozenset((Rule.SUCCESS_RATE, each.provider) for each in enough)


def stuck(figures: Iterable[StandingStill], terms: Terms, now: datetime) -> list[Finding]:
    return [
        Finding(
            rule=Rule.STUCK,
            subject=each.provider,
            severity=severity,
            since=each.since,
            title=f"Images for `{each.provider}` stand still",
            found=f"{_many(each.images, 'image')}, the longest for {age} ({_bound(terms, severity)}), "
            f"of {each.job_id}. {each.why}",
            remedy=each.remedy,
            page=f"/dashboard/jobs/{each.job_id}",
        )
        for each, severity, age in _aged(figures, terms, now)
    ]


def no_worker(figures: Iterable[Unattended], terms: Terms, now: datetime) -> list[Finding]:
    """Found from the first moment on, since nothing but looking tells for how long it has been so."""
    return [
        Finding(
            rule=Rule.NO_WORKER,
            subject=ALL,
            severity=(severity := terms.severity_of((now - each.since).total_seconds())),
            since=None,
            title="No worker lives, and work waits",
            found=f"{_many(each.images, 'image')} or more wait; no worker has lived that takes any for "
            f"{span((now - each.since).total_seconds())} ({_bound(terms, severity)}).",
            remedy="Start a worker: `safelight serve`, or `safelight worker` beside your API. The log of the last one "
            "says why it ended.",
            page="/dashboard/queue",
        )
        for each in figures
    ]


def provider_down(figures: Iterable[ShutGate], terms: Terms, now: datetime) -> list[Finding]:
    return [
        Finding(
            rule=Rule.PROVIDER_DOWN,
            subject=each.provider + (f"/{each.model}" if each.model else ""),
            severity=severity,
            since=each.since,
            title=f"Provider `{each.provider}` is paused" + (f" for `{each.model}`" if each.model else ""),
            found=f"For {age} nothing but probes has been sent there ({_bound(terms, severity)})"
            + (f"; it last failed with {each.code}." if each.code else "."),
            remedy="A key, a balance or the vendor's service: see `safelight doctor` and `safelight providers check`. "
            "It is opened again by the first probe that succeeds.",
            page="/dashboard/providers",
        )
        for each, severity, age in _aged(figures, terms, now)
    ]


def queue_paused(since: datetime | None, terms: Terms, now: datetime) -> list[Finding]:
    if since is None or (severity := terms.severity_of((now - since).total_seconds())) is None:
        return []
    return [
        Finding(
            rule=Rule.QUEUE_PAUSED,
            subject=ALL,
            severity=severity,
            since=since,
            title="Buying is paused",
            found=f"Nothing has been bought for {span((now - since).total_seconds())} ({_bound(terms, severity)}).",
            remedy="`safelight queue show` says why; `safelight queue resume` lets it go on.",
            page="/dashboard/queue",
        )
    ]


def webhook(figures: Iterable[SilentEndpoint], terms: Terms, now: datetime) -> list[Finding]:
    found = []
    for each in figures:
        age = (now - each.since).total_seconds()
        severity = Severity.CRITICAL if each.is_disabled else terms.severity_of(age)
        if severity is None:
            continue
        state = (
            f"It was disabled {span(age)} ago, after it had failed for long or said that it is gone. "
            "Nothing is sent there, and what waited was given up."
            if each.is_disabled
            else f"It has taken nothing for {span(age)} ({_bound(terms, severity)}). Messages wait and are tried again."
        )
        found.append(
            Finding(
                rule=Rule.WEBHOOK,
                subject=each.subject,
                severity=severity,
                since=each.since,
                title=f"Webhooks of account `{each.account}` to {each.host} do not arrive",
                found=state,
                remedy="`GET /v1/webhooks/deliveries` says how the receiver answers; when it is well again, enable the "
                "endpoint and redeliver what it has to know.",
                page="/dashboard/webhooks",
            )
        )
    return found


def budget(figures: Iterable[UsedBudget], terms: Terms) -> list[Finding]:
    found = []
    for each in figures:
        severity = terms.severity_of(each.percent)
        if severity is None:
            continue
        is_out = each.percent >= 100
        found.append(
            Finding(
                rule=Rule.BUDGET,
                subject=each.account,
                severity=severity,
                since=each.since,
                title=f"Account `{each.account}` has used {'up ' if is_out else 'much of '}its budget of the day",
                found=f"${format_usd(each.used_microusd)} of ${format_usd(each.budget_microusd)} are spent or set "
                f"aside: {each.percent:.0f} % ({_bound(terms, severity)})."
                + (" What has no room ends as BUDGET." if is_out else ""),
                remedy=f"Raise it if that is meant: `safelight accounts budget {each.account} …`. It is renewed at "
                "midnight, UTC.",
                page="/dashboard/accounts",
            )
        )
    return found


def uncertain_spend(figures: Iterable[LostCalls], terms: Terms, now: datetime) -> list[Finding]:
    return [
        Finding(
            rule=Rule.UNCERTAIN_SPEND,
            subject=each.provider,
            severity=severity,
            since=each.since,
            title=f"Nobody knows whether calls to `{each.provider}` were billed",
            found=f"{_many(each.calls, 'call')} lost the outcome, the oldest {age} ago ({_bound(terms, severity)}): "
            + (
                f"at most ${format_usd(each.at_most_microusd)}."
                if each.at_most_microusd is not None
                else "an amount that nobody can bound."
            ),
            remedy="Compare with the vendor's own bill of those days. It is told of until they are "
            f"{span(terms.window_seconds)} old.",
            page="/dashboard/health",
        )
        for each, severity, age in _aged(figures, terms, now)
    ]


_RISKS = {
    "short": "The time that is left is less than its job usually takes",
    "late": "Its time has passed, and its pictures are not there",
    "incomplete": "Its job has ended without all pictures",
    "not_submitted": "No job could be made for its pictures",
}


def schedule_at_risk(figures: Iterable[RiskyRun]) -> list[Finding]:
    return [
        Finding(
            rule=Rule.SCHEDULE_AT_RISK,
            subject=each.schedule_id,
            severity=Severity.WARNING if each.reason == "short" else Severity.CRITICAL,
            since=each.since,
            title=f"Schedule `{each.name}` of account `{each.account}` is at risk",
            found=_RISKS.get(each.reason, "It will hardly be in time")
            + (f"; they are wanted by {moment(each.ready_by)}" if each.ready_by is not None else "")
            + f". {each.schedule_id}, {each.job_id or 'no job yet'}.",
            remedy=f"`safelight schedules show {each.schedule_id}` says why: put its job right, and run it again."
            if each.reason == "not_submitted"
            else "`safelight jobs retry` what failed, or look why its job waits: `safelight doctor`.",
            page=f"/dashboard/jobs/{each.job_id}" if each.job_id else "/dashboard/schedules",
        )
        for each in figures
    ]


def stranded(figures: Iterable[Stranded], terms: Terms, now: datetime) -> list[Finding]:
    return [
        Finding(
            rule=Rule.STRANDED,
            subject=each.folder,
            severity=severity,
            since=each.since,
            title="Paid pictures lie on one host alone",
            found=f"{_many(each.pictures, 'picture')} in {each.folder}, the oldest for {age} "
            f"({_bound(terms, severity)}).",
            remedy="Start a worker on that host, with its data folder, while the bucket answers: it moves them.",
            page="/dashboard/health",
        )
        for each, severity, age in _aged(figures, terms, now)
    ]


def bounded(findings: Sequence[Finding], firing: Collection[Key]) -> list[Finding]:
    """At most `MOST_SUBJECTS` of one rule: those that fire already, then the gravest, then the oldest. The others are
    one finding together."""
    if len(findings) <= MOST_SUBJECTS:
        return list(findings)

    def order(each: Finding) -> tuple[bool, bool, float, str]:
        since = each.since.timestamp() if each.since is not None else 0.0
        return each.key not in firing, each.severity is not Severity.CRITICAL, since, each.subject

    ranked = sorted(findings, key=order)
    shown, rest = ranked[:MOST_SUBJECTS], ranked[MOST_SUBJECTS:]
    worst = Severity.CRITICAL if any(each.severity is Severity.CRITICAL for each in rest) else Severity.WARNING
    more = replace(
        rest[0],
        subject=REST,
        severity=worst,
        title=f"Rule `{rest[0].rule}` has found more than {MOST_SUBJECTS}",
        found=f"{len(rest)} more, which are not told of one by one. The first: {rest[0].title}.",
    )
    return [*shown, more]


def _aged(figures: Iterable[_Aging], terms: Terms, now: datetime) -> list[tuple[_Aging, Severity, str]]:
    """Those that have lasted for long enough."""
    ages = [(each, (now - each.since).total_seconds()) for each in figures]
    return [(each, found, span(age)) for each, age in ages if (found := terms.severity_of(age)) is not None]


def _bound(terms: Terms, severity: Severity | None) -> str:
    """The threshold that was passed, or that comes next."""
    bound = terms.critical if severity is Severity.CRITICAL else terms.warning
    bound = bound if bound is not None else terms.critical
    if bound is None:
        return "never told of"
    if terms.measure is Measure.AT:
        return f"{severity or Severity.WARNING} from {bound:g} % on"
    return f"{severity or Severity.WARNING} after {span(bound)}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
