"""The words of a message about an alert."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from safelight.domain.alerts import Finding, Rule, Severity, Standing, Tell

SEE: Mapping[Rule, str] = {
    Rule.SUCCESS_RATE: "docs/troubleshooting.md#a-vendor-is-down",
    Rule.STUCK: "docs/troubleshooting.md#an-image-does-not-move",
    Rule.NO_WORKER: "docs/troubleshooting.md#an-image-does-not-move",
    Rule.PROVIDER_DOWN: "docs/troubleshooting.md#a-vendor-is-down",
    Rule.QUEUE_PAUSED: "docs/troubleshooting.md#an-image-does-not-move",
    Rule.WEBHOOK: "docs/troubleshooting.md#a-webhook-does-not-arrive",
    Rule.BUDGET: "docs/api.md#accounts-and-money",
    Rule.UNCERTAIN_SPEND: "docs/troubleshooting.md#a-calls-outcome-is-unknown",
    Rule.SCHEDULE_AT_RISK: "docs/troubleshooting.md#a-schedule-did-not-run",
    Rule.STRANDED: "docs/operations.md#buckets",
}
"""Where an operator reads on."""


def message(tell: Tell, standing: Standing, about: Finding, *, now: datetime) -> tuple[str, str]:
    """Title and body. `about` is the finding of this look, or the last one of what is over."""
    since, lasted = moment(standing.seen_since), span((now - standing.seen_since).total_seconds())
    if tell is Tell.RESOLVED:
        clear = moment(standing.clear_since or now)
        return f"[resolved] {about.title}", f"It is over since {clear}. It had lasted since {since}."
    severity = standing.severity or Severity.WARNING
    more = {Tell.ESCALATED: ", was a warning", Tell.REMINDER: ", still"}.get(tell, "")
    lines = (
        about.found,
        f"Since {since} ({lasted}).",
        f"What to do: {about.remedy}",
        f"More: {SEE[about.rule]}",
    )
    return f"[{severity}{more}] {about.title}", "\n".join(lines)


def span(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h`, `2 days`."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
