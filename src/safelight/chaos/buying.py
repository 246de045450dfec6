"""What was bought, against the vendor's bill: pay once, re-buy within bounds, book to the micro-dollar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from safelight.chaos.evidence import Attempt, Evidence
from safelight.chaos.two_books import NOT_SENT, Pair, TwoBooks, allowed_calls, why_not

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


def beside(books: TwoBooks) -> list[str]:
    """Attempts that began while the vendor was at an earlier call of the image, which nobody had given up on and which
    it answered well: by the vendor's own times, whatever our book says of how long that call had."""
    return [
        f"begun while the vendor was at #{pair.attempt.number}: {later}"
        for tried in books.by_image()
        for pair in tried
        for later in _later(tried, pair)
        if _is_at_it(pair, later.attempt.sent_at) and _might_answer(pair.attempt, later.attempt)
    ]


def against_the_rule(books: TwoBooks) -> list[str]:
    """Attempts that the re-send rule forbade after those before them: what became of themselves excuses nothing."""
    return [
        f"begun after {reason}: {pair}"
        for run in books.runs()
        for nth, pair in enumerate(run)
        if pair.attempt.error_code not in NOT_SENT and (reason := why_not(run[:nth], pair)) is not None
    ]


def miscounted(books: TwoBooks, evidence: Evidence) -> list[str]:
    """Attempts that are not numbered one after the other, or counted in a run that their image did not have by then:
    what the rule allows it allows in a run."""
    runs = {job.id: job.run for job in evidence.jobs}
    found = [
        f"{image.job_id} {image.id} is in run {image.run}, and its job in {runs[image.job_id]}"
        for image in evidence.images
        if image.run > runs.get(image.job_id, image.run)
    ]
    for tried in books.by_image():
        numbers, counted = ([getattr(pair.attempt, name) for pair in tried] for name in ("number", "run"))
        if numbers != list(range(1, len(tried) + 1)):
            found.append(f"numbered {numbers}: {'; '.join(map(str, tried))}")
        if counted != sorted(counted) or not 1 <= counted[0] <= counted[-1] <= tried[0].image.run:
            found.append(f"counted in runs {counted} of {tried[0].image.run}: {'; '.join(map(str, tried))}")
    images = {image.row_id for image in evidence.images}
    return found + [
        f"attempt {each.id} is of no image" for each in evidence.attempts if each.image_row_id not in images
    ]


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
    """Attempts and bill, call by call: to the micro-dollar where we know the cost, within its bound where we do not."""
    found = [f"booked otherwise than billed: {pair}" for pair in books.disagreements()]
    found += [f"answered, and never seen by the vendor: {pair}" for pair in books.unseen()]
    found += [f"another picture than the vendor made: {pair}" for pair in books.swapped()]
    found += [f"nobody noted which picture: {pair}" for pair in books.unnoted()]
    found += [f"a picture that the vendor did not make by then: {pair}" for pair in books.unmade()]
    found += [f"billed more than stated as {pair.most_microusd} at most: {pair}" for pair in books.beyond_bounds()]
    return found


def never_bought(evidence: Evidence) -> list[str]:
    """Completed images whose picture is none that was bought, or more than one."""
    settled = Counter(each.image_row_id for each in evidence.attempts if each.status == "settled")
    return [
        f"{image.job_id} {image.id} is completed, and {settled[image.row_id]} attempts brought its picture"
        for image in evidence.images
        if image.status == "completed" and settled[image.row_id] != 1
    ]


def not_delivered(evidence: Evidence) -> list[str]:
    """Attempts that became the picture of an image that has none."""
    images = {image.row_id: image for image in evidence.images}
    return [
        f"{image.job_id} {image.id} is `{image.status}`, and #{each.number} is `settled`"
        for each in evidence.attempts
        if each.status == "settled" and (image := images.get(each.image_row_id)) and image.status != "completed"
    ]


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


def _is_at_it(pair: Pair, moment: datetime) -> bool:
    """Whether the vendor was at this call then, to answer it well."""
    call = pair.call
    return (
        call is not None
        and call.outcome == "ok"
        and call.started_at < moment
        and (call.ended_at is None or call.ended_at > moment)
    )


def _might_answer(attempt: Attempt, later: Attempt) -> bool:
    """At the time that the later one began."""
    if attempt.has_handle:  # asked after until it ends, or its run does, or the vendor knows it no more
        return later.run == attempt.run and attempt.ended_at is not None and attempt.ended_at > later.sent_at
    return attempt.ended_at is None or attempt.ended_at > later.sent_at


def _later(tried: Sequence[Pair], pair: Pair) -> list[Pair]:
    return [each for each in tried if each.attempt.number > pair.attempt.number]
