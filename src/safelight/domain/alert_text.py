"""The words of a message about an alert."""

from __future__ import annotations

from datetime import datetime

from safelight.domain.alerts import Finding, Severity, Standing, Tell

SEE = "docs/operations.md#alerts"
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
        f"More: {SEE}, `{about.rule}`.",
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
