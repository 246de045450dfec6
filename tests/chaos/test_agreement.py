"""Broken runs in which each book is right by itself: they are found by what the others say, and by the time of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from safelight.chaos.checker import judge
from safelight.chaos.evidence import Event
from safelight.chaos.verdict import Question
from tests.chaos.runs import (
    PRICE,
    assert_found,
    at,
    attempt,
    but,
    call,
    doctored,
    entry,
    good_run,
    stored,
    stored_object,
    told_as,
    with_more,
    without,
)

LOST, INVENTED, DUPLICATED = Question.LOST, Question.INVENTED, Question.DUPLICATED
REBOUGHT, UNBALANCED, UNSERVED = Question.REBOUGHT, Question.UNBALANCED, Question.UNSERVED
RECEPTION = good_run().receptions[0]  # pyright: ignore[reportOptionalSubscript]


def tried(*of_c: Any) -> Callable[[list[Any]], list[Any]]:
    """What was tried for `c`, instead of what was."""
    return lambda rows: [*rows[:3], *of_c]


WRONG = {
    "bought again after an unknown outcome that was to hold, and told that it was free": (
        REBOUGHT,
        "begun after 1 of unknown outcome",
        {
            "images": but(1, on_uncertain="hold"),
            "attempts": but(2, status="unbilled", cost_microusd=0, error_code="HTTP_500"),
            "bill": but(3, cost_microusd=0, outcome="500"),
        },
    ),
    "bought again after a refusal that was to stop, in vain": (
        REBOUGHT,
        "begun after a refusal",
        {"attempts": with_more(attempt(3, 2, "no_image", begins=15)), "bill": with_more(call(5, "c", arrives=15.1))},
    ),
    "bought once more than may be unknown, and refused for money": (
        REBOUGHT,
        "begun after 2 of unknown outcome",
        {
            "attempts": tried(
                attempt(3, 1, "unknown", begins=0, ended=None),
                attempt(3, 2, "unknown", begins=20, ended=None),
                attempt(3, 3, "refused", begins=40, cost=PRICE, code="SAFETY"),
            ),
            "bill": lambda rows: [
                *(rows[0], rows[1], rows[3]),
                *(call(5 + nth, "c", arrives=20 * nth + 0.1) for nth in range(3)),
            ],
        },
    ),
    "bought once more than may be in vain, and told that it was free": (
        REBOUGHT,
        "begun after 3 billed in vain",
        {
            "attempts": tried(
                *(attempt(3, nth, "no_image", begins=20 * nth) for nth in (1, 2, 3)),
                attempt(3, 4, "unbilled", begins=80, cost=0),
            ),
            "bill": lambda rows: [
                *(rows[0], rows[1], rows[3]),
                *(call(5 + nth, "c", arrives=20 * nth + 0.1) for nth in (1, 2, 3)),
                call(9, "c", arrives=80.1, cost=0, outcome="500"),
            ],
        },
    ),
    "bought while the vendor was at the first, whose time was told too short": (
        REBOUGHT,
        "begun while the vendor was at #1",
        {
            "attempts": lambda rows: [
                rows[0],
                replace(rows[1], resolve_at=at(2)),
                replace(rows[2], sent_at=at(3), ended_at=at(5)),
                rows[3],
            ],
            "bill": lambda rows: [
                rows[0],
                replace(rows[1], ended_at=at(6), outcome="ok"),
                rows[2],
                replace(rows[3], started_at=at(3.1), ended_at=at(4)),
            ],
        },
    ),
    "an unknown outcome cost more than stated, and another one less": (
        UNBALANCED,
        "stated as 40000 at most",
        {
            "attempts": tried(attempt(3, 1, "unknown", begins=0, ended=None)),
            "bill": but(1, cost_microusd=79_000),
        },
    ),
    "an unknown outcome cost more than stated, and another one has no bound": (
        UNBALANCED,
        "stated as 40000 at most",
        {
            "attempts": tried(attempt(3, 1, "unknown", begins=0, ended=None, estimate=None)),
            "bill": but(1, cost_microusd=9_000_000),
        },
    ),
    "an image has the picture that was made for another one": (
        UNBALANCED,
        "another picture than the vendor made: job_1 a #1",
        {"attempts": but(0, sha256=good_run().attempts[2].sha256)},
    ),
    "a completed image was never bought": (
        INVENTED,
        "0 attempts brought its picture",
        {"attempts": without(0), "bill": without(0), "sightings": lambda _: []},
    ),
    "a completed image has two pictures": (
        INVENTED,
        "2 attempts brought its picture",
        {"attempts": but(1, status="settled", cost_microusd=PRICE, ended_at=at(1))},
    ),
    "a picture was bought for an image that has none": (
        LOST,
        "job_1 c is `refused`, and #1 is `settled`",
        {
            "attempts": but(3, status="settled", cost_microusd=PRICE, error_code=None),
            "bill": but(2, cost_microusd=PRICE, outcome="ok"),
        },
    ),
    "a job's end was told otherwise": (LOST, "was last told as job.completed", told_as(6, "job.completed")),
    "an image's end was told otherwise": (LOST, "was last told as image.failed", told_as(3, "image.failed")),
    "an image's end was not told": (LOST, "was last told as nothing", told_as(3, "image.received")),
    "a message was about another image": (LOST, "and is of a", {"receptions": but(3, image_id="b")}),
    "a message that nobody signed": (
        INVENTED,
        "without a good signature",
        {
            "receptions": with_more(
                replace(RECEPTION, message_id="x", type="", job_id=None, seq=None, answered=400, is_verified=False)
            )
        },
    ),
    "one image of a job was for nothing": (
        UNBALANCED,
        "image 1 has its picture and was not charged",
        {
            "holds": without(0),
            "ledger": lambda rows: [
                rows[0],
                entry(3, "hold", "available", "held", 1, (99, 1), 2),
                entry(4, "hold", "available", "held", 1, (98, 2), 3),
                entry(6, "capture", "held", "captured", 1, (98, 1), 2),
                entry(7, "release", "held", "available", 1, (99, 0), 3),
            ],
            "balances": but(0, available=99, captured=1),
        },
    ),
    "a capture gives the money back": (
        UNBALANCED,
        "entry 5 is no `capture`",
        {
            "ledger": lambda rows: [
                *rows[:4],
                entry(5, "capture", "held", "available", 1, (98, 2), 1),
                entry(6, "capture", "held", "captured", 1, (98, 1), 2),
                entry(7, "release", "held", "available", 1, (99, 0), 3),
            ],
            "balances": but(0, available=99, captured=1),
        },
    ),
    "a release takes the money": (
        UNBALANCED,
        "entry 7 is no `release`",
        {
            "ledger": lambda rows: [*rows[:6], entry(7, "release", "held", "captured", 1, (97, 0), 3)],
            "balances": but(0, available=97, captured=3),
        },
    ),
    "another account paid": (UNBALANCED, "an entry of it is of another", {"holds": but(0, account="other")}),
    "it was paid in another currency": (UNBALANCED, "an entry of it is of another", {"holds": but(0, currency="usd")}),
    "credits came from nowhere": (
        UNBALANCED,
        "50 credits came to default and nobody paid it",
        {
            "ledger": with_more(entry(8, "adjustment", "outside", "available", 50, (148, 0), None)),
            "balances": but(0, available=148),
        },
    ),
    "credits were taken, and nobody was paid": (
        UNBALANCED,
        "-50 credits came to default and nobody paid it",
        {
            "ledger": with_more(entry(8, "adjustment", "available", "outside", 50, (48, 0), None)),
            "balances": but(0, available=48),
        },
    ),
    "what was paid came twice": (
        UNBALANCED,
        "100 credits came to default and nobody paid it",
        {
            "ledger": with_more(entry(8, "top_up", "outside", "available", 100, (198, 0), None)),
            "balances": but(0, available=198),
        },
    ),
    "what was paid never came": (
        UNBALANCED,
        "100 credits were paid to default and are not in its book",
        {"payments": lambda rows: [*rows, *rows]},
    ),
    "another account's hold paid, and its entries with it": (
        UNBALANCED,
        "hold 1 is of default, and job_1 is of other",
        {"jobs": but(0, account="other")},
    ),
    "a hold is of another job than its image": (
        UNBALANCED,
        "hold 3 is of job_9, and its image is not",
        {"holds": but(2, job_id="job_9")},
    ),
    "a hold is of a run that never was": (
        UNBALANCED,
        "hold 3 is of run 2, and job_1 c had 1",
        {"holds": but(2, run=2)},
    ),
    "an image was held for twice in a run": (
        UNBALANCED,
        "image 1 has 2 holds in run 1",
        {"holds": but(2, image_row_id=1)},
    ),
    "a picture of a call that the vendor had not had yet": (
        UNBALANCED,
        "did not make by then: job_1 b #2",
        {"bill": but(3, started_at=at(22))},
    ),
    "a picture of a call that made none": (
        UNBALANCED,
        "did not make by then: job_1 b #2",
        {"bill": but(3, outcome="500", pictures_sha256=())},
    ),
    "nobody noted which picture was brought": (
        UNBALANCED,
        "nobody noted which picture: job_1 a #1",
        {"attempts": but(0, sha256=None)},
    ),
    "nobody noted which picture was made": (
        UNBALANCED,
        "nobody noted which picture: job_1 a #1",
        {"bill": but(0, pictures_sha256=())},
    ),
    "a call was counted in a run of its own, where it is the first": (
        REBOUGHT,
        "counted in runs [1, 2] of 1",
        {"images": but(1, max_rebuys=0), "attempts": but(2, run=2)},
    ),
    "an image is said to have had a run more than its job": (
        REBOUGHT,
        "job_1 b is in run 2, and its job in 1",
        {"images": but(1, max_rebuys=0, run=2), "attempts": but(2, run=2)},
    ),
    "an attempt is not there any more": (REBOUGHT, "numbered [2]", {"attempts": without(1), "bill": without(1)}),
    "an attempt of nobody's": (REBOUGHT, "attempt att_1_1 is of no image", {"attempts": but(0, image_row_id=9)}),
    "a job is kept under another key than it was accepted with": (
        LOST,
        "was accepted under key k1 and is kept under k9",
        {"jobs": but(0, idempotency_key="k9")},
    ),
    "a job is kept under no key": (
        LOST,
        "was accepted under key k1 and is kept under None",
        {"jobs": but(0, idempotency_key=None)},
    ),
    "an image is there twice": (DUPLICATED, "job_1 a is there 2 times", {"images": lambda rows: [*rows, rows[0]]}),
    "a message came that is in no book": (INVENTED, "our book does not have it", {"messages": without(0)}),
    "a message came otherwise than it is in the book": (
        INVENTED,
        "our book has it as job.created of job_9",
        {"messages": but(0, job_id="job_9")},
    ),
    "one of a job's outputs was not made": (
        UNSERVED,
        "job_1 a is completed and has no rendition `thumb`",
        {
            "jobs": but(0, outputs=("card", "thumb")),
            "renditions": with_more(stored(2, "thumb")),
            "objects": with_more(stored_object(stored(2, "thumb"))),
        },
    ),
    "two images have each other's picture": (
        UNSERVED,
        "was made for image 1, and is said to be of 2",
        {
            "renditions": lambda rows: [replace(rows[0], row_id=2), replace(rows[1], row_id=1)],
            "served": lambda rows: [replace(rows[0], image_id="b"), replace(rows[1], image_id="a")],
        },
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_only_the_other_books_show_is_found_and_named(case: str) -> None:
    assert_found(*WRONG[case])


def test_a_picture_that_came_after_its_image_had_ended_without_it_lets_it_end_once_more() -> None:
    later = [
        ("image.received", "c", True),
        ("image.completed", "c", False),
        ("job.completed", None, False),
    ]
    more = [
        Event(job_id="job_1", seq=7 + nth, type=kind, image_id=about, at=at(30 + nth), is_late=is_late)
        for nth, (kind, about, is_late) in enumerate(later)
    ]
    changes = {"jobs": but(0, status="completed", run=2, seq=9), "images": but(2, status="completed")}

    late = doctored(**changes, events=with_more(*more))
    twice = doctored(**changes, events=with_more(replace(more[0], is_late=False), *more[1:]))

    assert judge(late).line(DUPLICATED).findings == []
    assert judge(twice).line(DUPLICATED).findings == ["job_1 c ended 2 times in 1 runs"]


def test_a_call_that_a_stopped_process_sent_late_was_not_under_way_when_the_next_began() -> None:
    changes = {
        "attempts": but(1, ended_at=at(40)),
        "bill": lambda rows: [rows[0], replace(rows[1], outcome="ok", started_at=at(30), ended_at=at(31)), *rows[2:]],
    }

    assert not any("the vendor was at" in found for found in judge(doctored(**changes)).line(REBOUGHT).findings)
