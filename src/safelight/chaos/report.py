"""A verdict for people and for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from safelight import __version__
from safelight.chaos.outcome import FIRST_SUCCESS_GOAL_SECONDS, RECLAIM_GOAL_SECONDS, Outcome, Times
from safelight.chaos.verdict import Line, Verdict

MARKS = ("<!-- A soak, written by `make soak`. Do not edit. -->", "<!-- End of the soak. -->")
"""What stands around the report on a page."""

_SHOWN = 10


def text(verdict: Verdict) -> str:
    """A line a question, below it what was found, and at the end whether the promise was kept.

    A count has a question mark where not all that is asked could be looked at; for want of which files is said as well.
    """
    return "\n".join(_lines(verdict))


def as_json(verdict: Verdict) -> str:
    return json.dumps(verdict.as_json(), indent=2)


def markdown(verdict: Verdict) -> str:
    """A row a question."""
    rows = [f"| {line.question.value} | {_count(line)} | {_told(line)} |" for line in verdict.lines]
    return "\n".join(["| what | found | looked at, and what is allowed |", "|---|--:|---|", *rows])


def soak_text(outcome: Outcome) -> str:
    """The verdict, and below it a line a figure."""
    rows = [f"{what:<44}{count:>14}" for what, count in _figures(outcome)]
    return "\n".join([text(outcome.verdict), "", *rows, "", "the promise was kept" if outcome.is_kept else "BROKEN"])


def soak_markdown(outcome: Outcome) -> str:
    """The verdict and the figures as tables, and what was run."""
    plan = outcome.plan
    run = (
        f"{plan.minutes:g} minutes of storm with seed {plan.seed}, {plan.workers} workers, {plan.apis} APIs; Safelight"
        f" {__version__}, {os.cpu_count()} cores, {outcome.began:%Y-%m-%d}."
    )
    figures = "\n".join(f"| {what} | {count} |" for what, count in _figures(outcome))
    return "\n\n".join([run, markdown(outcome.verdict), f"| figure | |\n|---|--:|\n{figures}"])


def write_page(page: Path, outcome: Outcome) -> None:
    """What stands between the marks on the page is this outcome from now on. Raises ValueError without the marks."""
    before, began, rest = page.read_text().partition(MARKS[0])
    _, ended, after = rest.partition(MARKS[1])
    if not began or not ended:
        raise ValueError(f"`{page}` has no place for the soak: `{MARKS[0]}` and `{MARKS[1]}`")
    page.write_text(f"{before}{MARKS[0]}\n\n{soak_markdown(outcome)}\n\n{MARKS[1]}{after}")


def _figures(outcome: Outcome) -> Iterator[tuple[str, str]]:
    figures, did = outcome.verdict.figures, outcome.did
    for name in ("jobs", "images", "images completed", "attempts", "calls", "calls beyond the first"):
        yield name, str(figures.get(name, 0))
    yield from ((what, str(count)) for what, count in did.items())
    reclaims, successes = outcome.reclaims, outcome.first_successes
    yield "images taken up again after a SIGKILL", str(reclaims.count)
    yield f"… after, median / most (goal {RECLAIM_GOAL_SECONDS:g} s)", _seconds(reclaims)
    yield "… brought to a second one that failed too", f"{outcome.struck_twice.count}: {_seconds(outcome.struck_twice)}"
    yield "… with PostgreSQL away in between", f"{outcome.delayed.count}: {_seconds(outcome.delayed)}"
    yield "… not seen to be within 90 s", str(outcome.unclaimed)
    yield f"first picture after PostgreSQL is back (goal {FIRST_SUCCESS_GOAL_SECONDS:g} s)", _seconds(successes)
    yield "seconds until all was quiet", f"{outcome.quiet_seconds:.0f}"
    yield "still under way then", ", ".join(f"{count} {what}" for what, count in outcome.left.items()) or "0"
    yield "sweeps afterwards found", ", ".join(map(str, outcome.swept))


def _seconds(times: Times) -> str:
    return "–" if times.most_seconds is None else f"{times.median_seconds:.2f} / {times.most_seconds:.2f} s"


def _lines(verdict: Verdict) -> Iterator[str]:
    for line in verdict.lines:
        yield f"{line.question.value:<12}{_count(line):>5}   {_told(line)}"
        yield from (f"  - {found}" for found in line.findings[:_SHOWN])
        if len(line.findings) > _SHOWN:
            yield f"  … and {len(line.findings) - _SHOWN} more"
    for line in verdict.lines:
        if line.missing:
            files = ", ".join(f"{name}.jsonl" for name in line.missing)
            yield f"`{line.question.value}` was not judged in full: there is no {files}"
    if not verdict.is_kept:
        yield "BROKEN"
    else:
        yield "kept" if verdict.is_judged else "NOT JUDGED IN FULL: nothing was found in what is there"


def _count(line: Line) -> str:
    return f"{len(line.findings)}{'' if line.is_judged else '?'}"


def _told(line: Line) -> str:
    return line.told + (f" (without {', '.join(line.missing)})" if line.missing else "")
