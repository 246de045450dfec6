"""What was bought, against the vendor's bill: pay once, re-buy within bounds, book to the micro-dollar."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from safelight.chaos.evidence import Attempt, Evidence
from safelight.chaos.two_books import Pair, TwoBooks, allowed_calls

_USED = frozenset({"settled", "received", "no_image"})


def after_a_picture(books: TwoBooks, evidence: Evidence) -> list[str]:
    """Attempts that began although an earlier one for the same request had its picture.

    It had it from the moment that somebody saw it staged, or that its receipt was booked, whichever was first.
    """
    sighted: dict[str, datetime] = {}
    for each in evidence.sightings or ():
        sighted[each.attempt_id] = min(each.at, sighted.get(each.attempt_id, each.at))
    found = []
    for tried in books.by_image():
        for pair in tried:
            if not pair.has_picture:
                continue
            known = [moment for moment in (sighted.get(pair.attempt.id), pair.attempt.ended_at) if moment is not None]
            had_at = min(known, default=pair.attempt.sent_at)
            found += [
                f"begun after #{pair.attempt.number} had its picture: {later}"
                for later in _later(tried, pair)
                if later.attempt.fingerprint == pair.attempt.fingerprint and later.attempt.sent_at > had_at
            ]
    return found


def overtaking(books: TwoBooks) -> list[str]:
    """Attempts that began while an earlier call of the image might still answer."""
    found = []
    for tried in books.by_image():
        for pair in tried:
            attempt = pair.attempt
            found += [
                f"begun while #{attempt.number} might still answer: {later}"
                for later in _later(tried, pair)
                if later.attempt.sent_at < attempt.resolve_at and _might_answer(attempt, later.attempt)
            ]
    return found


def too_often(books: TwoBooks) -> list[str]:
    """Images with more calls in a run than the re-send rule allows for what became of them."""
    found = []
    for run in books.runs():
        calls, allowed = sum(pair.call is not None for pair in run), allowed_calls(run)
        if calls > allowed:
            found.append(f"{calls} calls, {allowed} allowed: {'; '.join(str(pair) for pair in run)}")
    return found


def without_an_attempt(books: TwoBooks) -> list[str]:
    """Calls that none of our attempts accounts for; a request that was never whole is one only if it was charged."""
    strays = [*books.strays, *(call for call in books.fragments if call.cost_microusd)]
    return [
        f"call {call.call} at {call.vendor} ({call.outcome}, {call.cost_microusd} micro-USD) has no attempt"
        for call in strays
    ]


def allowed(books: TwoBooks) -> int:
    """How many calls beyond the first of each image the rule would have allowed."""
    return sum(allowed_calls(run) - 1 for run in books.runs() if any(pair.call is not None for pair in run))


def unbalanced(books: TwoBooks) -> list[str]:
    """Attempts and bill, call by call where we know the outcome, and as a whole where we do not."""
    found = [f"booked otherwise than billed: {pair}" for pair in books.disagreements()]
    found += [f"answered, and never seen by the vendor: {pair}" for pair in books.unseen()]
    most = books.uncertain_microusd
    if most is not None and books.billed_for_unknown_microusd > most:
        found.append(
            f"calls of unknown outcome were billed {books.billed_for_unknown_microusd} micro-USD,"
            f" and stated as {most} at most"
        )
    return found


def unused(evidence: Evidence) -> list[str]:
    """Pictures that lay staged and were not used. Of images on which too many owners died they wait for a retry."""
    statuses = {attempt.id: attempt for attempt in evidence.attempts}
    crashed = {image.row_id for image in evidence.images if image.error_code == "CRASHED"}
    found = []
    for attempt_id in sorted({each.attempt_id for each in evidence.sightings or ()}):
        attempt = statuses.get(attempt_id)
        if attempt is None:
            found.append(f"attempt {attempt_id} had its picture staged and does not exist")
        elif attempt.status not in _USED and attempt.image_row_id not in crashed:
            found.append(f"attempt {attempt_id} had its picture staged, and is `{attempt.status}`")
    return found


def _might_answer(attempt: Attempt, later: Attempt) -> bool:
    """At the time that the later one began."""
    if attempt.has_handle:  # asked after until it ends, or its run does, or the vendor knows it no more
        return later.run == attempt.run and attempt.ended_at is not None and attempt.ended_at > later.sent_at
    return attempt.ended_at is None or attempt.ended_at > later.sent_at


def _later(tried: Sequence[Pair], pair: Pair) -> list[Pair]:
    return [each for each in tried if each.attempt.number > pair.attempt.number]
