"""The judgement: whether what was seen from outside is what was promised. Pure, from evidence to verdict.

It takes nobody's word: the client's log, the vendor's bill, the bytes in the store and the receiver's log are held
against the books, and the books against each other. What is promised is docs/reliability.md.
"""

from __future__ import annotations

from collections import Counter

from safelight.chaos import accounts, buying, deliveries, ends, orders, pictures
from safelight.chaos.evidence import Evidence
from safelight.chaos.two_books import TwoBooks, compare
from safelight.chaos.verdict import Line, Question, Verdict


def judge(evidence: Evidence) -> Verdict:
    """Every question there is. What was not collected is not judged, and is named."""
    books = compare(evidence.images, evidence.attempts, evidence.bill or ())
    figures = _figures(evidence, books)
    return Verdict(
        lines=[
            _lost(evidence, figures),
            _invented(evidence, figures),
            _duplicated(evidence, figures),
            _rebought(evidence, books),
            _unbalanced(evidence, books),
            _stuck(evidence, figures),
            _unserved(evidence),
        ],
        figures=figures,
    )


def _lost(evidence: Evidence, figures: dict[str, int]) -> Line:
    staged = len({each.attempt_id for each in evidence.sightings or ()})
    return Line(
        question=Question.LOST,
        findings=[
            *orders.lost(evidence),
            *deliveries.never_received(evidence),
            *deliveries.untold_ends(evidence),
            *buying.unused(evidence),
            *buying.not_delivered(evidence),
        ],
        told=(
            f"of {figures['accepted']} accepted jobs, {figures['messages taken']} messages taken,"
            f" {staged} pictures seen staged"
        ),
        missing=_missing(evidence, "submissions", "receptions", "messages", "sightings"),
    )


def _invented(evidence: Evidence, figures: dict[str, int]) -> Line:
    return Line(
        question=Question.INVENTED,
        findings=[
            *orders.invented(evidence),
            *buying.never_bought(evidence),
            *deliveries.not_verified(evidence),
            *deliveries.unwritten(evidence),
        ],
        told=f"of {figures['jobs']} jobs, {figures.get('images completed', 0)} completed images",
        missing=_missing(evidence, "submissions", "receptions", "messages"),
    )


def _duplicated(evidence: Evidence, figures: dict[str, int]) -> Line:
    return Line(
        question=Question.DUPLICATED,
        findings=[
            *orders.duplicated(evidence),
            *deliveries.disordered_log(evidence),
            *deliveries.disordered_messages(evidence),
        ],
        told=(
            f"of {figures['jobs']} jobs and {len(evidence.events)} events;"
            f" allowed and met: {orders.repeats(evidence)} repeated submits,"
            f" {deliveries.repeats(evidence)} repeated messages"
        ),
        missing=_missing(evidence, "submissions", "receptions"),
    )


def _rebought(evidence: Evidence, books: TwoBooks) -> Line:
    missing = _missing(evidence, "bill", "sightings")
    findings = [
        *buying.after_a_picture(books, evidence),
        *buying.overtaking(books),
        *buying.against_the_rule(books),
        *buying.miscounted(books, evidence),
    ]
    if "bill" not in missing:
        findings += [*buying.beside(books), *buying.too_often(books), *buying.without_an_attempt(books)]
    return Line(
        question=Question.REBOUGHT,
        findings=findings,
        told=(
            f"{books.rebuys} calls beyond the first of their image, {buying.allowed(books)} allowed;"
            " after a picture 0 allowed"
        ),
        missing=missing,
    )


def _unbalanced(evidence: Evidence, books: TwoBooks) -> Line:
    missing = _missing(evidence, "bill", "ledger", "holds", "balances")
    if accounts.is_paid_into(evidence):
        missing += _missing(evidence, "payments")
    bought = [] if "bill" in missing else buying.unbalanced(books)
    most = books.uncertain_microusd
    billed = sum(call.cost_microusd for call in evidence.bill or ())
    return Line(
        question=Question.UNBALANCED,
        findings=[*bought, *accounts.unbalanced(evidence)],
        told=(
            f"the bill {_usd(billed)} = known {_usd(books.known_microusd)}"
            f" + of unknown outcome {_usd(books.billed_for_unknown_microusd)}, stated as at most"
            f" {'no bound' if most is None else _usd(most)}; {len(evidence.ledger or ())} ledger entries"
        ),
        missing=missing,
    )


def _stuck(evidence: Evidence, figures: dict[str, int]) -> Line:
    return Line(
        question=Question.STUCK,
        findings=[*ends.stuck(evidence), *accounts.open_holds(evidence), *deliveries.undelivered(evidence)],
        told=f"of {figures['jobs']} jobs and {figures['images']} images",
        missing=_missing(evidence, "queue", "holds", "messages"),
    )


def _unserved(evidence: Evidence) -> Line:
    stored = len(evidence.renditions or ())
    return Line(
        question=Question.UNSERVED,
        findings=pictures.unserved(evidence),
        told=(
            f"of {stored} stored pictures, {len(evidence.served or ())} fetched;"
            f" {len(pictures.orphans(evidence))} objects that nothing names, allowed for a day"
        ),
        missing=_missing(evidence, "renditions", "objects", "served"),
    )


def _figures(evidence: Evidence, books: TwoBooks) -> dict[str, int]:
    images = Counter(image.status for image in evidence.images)
    attempts = Counter(attempt.status for attempt in evidence.attempts)
    taken = {each.message_id for each in evidence.receptions or () if each.answered and 200 <= each.answered < 300}
    return {
        "accepted": len({each.job_id for each in evidence.submissions or () if each.is_accepted}),
        "jobs": len(evidence.jobs),
        "images": len(evidence.images),
        **{f"images {status}": count for status, count in sorted(images.items())},
        "attempts": len(evidence.attempts),
        **{f"attempts {status}": count for status, count in sorted(attempts.items())},
        "calls": len(evidence.bill or ()),
        "calls beyond the first": books.rebuys,
        "requests never whole": len(books.fragments),
        "messages taken": len(taken),
    }


def _missing(evidence: Evidence, *names: str) -> list[str]:
    return [name for name in names if getattr(evidence, name) is None]


def _usd(microusd: int) -> str:
    return f"${microusd / 1e6:.6f}"
