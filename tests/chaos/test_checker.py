"""Every kind of finding, each shown by evidence in which one thing is wrong; and nothing found where nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from safelight.chaos.__main__ import main
from safelight.chaos.checker import judge
from safelight.chaos.evidence import NoEvidence, QueueRow, Submission, read, write
from safelight.chaos.report import markdown, text
from safelight.chaos.verdict import Question
from tests.chaos.runs import (
    assert_found,
    at,
    attempt,
    but,
    call,
    doctored,
    entry,
    good_run,
    image,
    sha256,
    told_as,
    with_more,
    without,
)

LOST, INVENTED, DUPLICATED = Question.LOST, Question.INVENTED, Question.DUPLICATED
REBOUGHT, UNBALANCED, STUCK, UNSERVED = Question.REBOUGHT, Question.UNBALANCED, Question.STUCK, Question.UNSERVED
RECEPTION = good_run().receptions[0]  # pyright: ignore[reportOptionalSubscript]
NEW = {
    "jobs": ["outputs"],
    "attempts": ["sha256"],
    "events": ["is_late"],
    "receptions": ["image_id", "is_verified"],
    "bill": ["pictures_sha256"],
}


def test_nothing_is_found_in_a_run_that_went_as_promised() -> None:
    verdict = judge(good_run())

    assert [(line.question, list(line.findings)) for line in verdict.lines] == [(each, []) for each in Question]
    assert verdict.is_kept
    assert all(line.is_judged for line in verdict.lines)
    assert verdict.figures["calls beyond the first"] == 1
    assert "1 repeated submits" not in verdict.line(DUPLICATED).told
    assert "1 repeated messages" in verdict.line(DUPLICATED).told


WRONG = {
    "an accepted job is not there": (LOST, "does not exist", {"submissions": but(1, job_id="job_2")}),
    "an image of it is not there": (LOST, "does not have it", {"submissions": but(1, images=("a", "b", "d"))}),
    "a prompt is another one": (
        LOST,
        "another prompt",
        {"submissions": but(1, prompts_sha256=(sha256("a"), sha256("b"), sha256("x")))},
    ),
    "a delivered message was never taken": (LOST, "nobody took it", {"receptions": but(-1, answered=500)}),
    "an event was never told": (LOST, "was never told", {"receptions": without(-1), "messages": without(-1)}),
    "an event was told that is in no log": (LOST, "the log does not have it", {"receptions": but(0, type="x")}),
    "a staged picture was not used": (
        LOST,
        "is `unknown`",
        {"sightings": lambda _: [replace(good_run().sightings[0], attempt_id="att_2_1")]},  # pyright: ignore
    ),
    "a staged picture's attempt is gone": (
        LOST,
        "does not exist",
        {"sightings": lambda _: [replace(good_run().sightings[0], attempt_id="att_9_1")]},  # pyright: ignore
    ),
    "a job nobody asked for": (
        INVENTED,
        "nobody asked for it",
        {"jobs": lambda jobs: [*jobs, replace(jobs[0], id="job_2", idempotency_key="k2")]},
    ),
    "an image nobody asked for": (INVENTED, "has image c", {"submissions": but(1, images=("a", "b"))}),
    "two jobs for one key": (
        DUPLICATED,
        "has 2 jobs",
        {"jobs": lambda jobs: [*jobs, replace(jobs[0], id="job_2", seq=0)]},
    ),
    "one key answered with two jobs": (
        DUPLICATED,
        "was answered with 2 jobs",
        {"submissions": with_more(Submission(at=at(3), key="k1", status=202, job_id="job_2"))},
    ),
    "a gap in the log": (DUPLICATED, "is not 1..6 but 1..3, 5..6", {"events": without(3)}),
    "an event twice": (DUPLICATED, "is not 1..6", {"events": lambda events: [*events, events[2]]}),
    "two ends of one run": (DUPLICATED, "has 2 terminal events", {"events": but(1, type="job.completed")}),
    "no end of a run": (DUPLICATED, "has 0 terminal events", {"events": but(5, type="job.canceling")}),
    "an image completed twice": (DUPLICATED, "was completed 2 times", {"events": but(3, image_id="a")}),
    "a log of no job": (DUPLICATED, "does not exist", {"events": but(5, job_id="job_9")}),
    "one event under two ids": (
        DUPLICATED,
        "came under 2 ids",
        {"receptions": with_more(replace(RECEPTION, message_id="msg_x"))},
    ),
    "one id for two events": (DUPLICATED, "stood for 2 events", {"receptions": but(3, message_id="msg_1")}),
    "an event before the one before it": (
        DUPLICATED,
        "came before event 2",
        {"receptions": lambda rows: [rows[0], rows[3], *rows[1:3], *rows[4:]]},
    ),
    "an event while the one before it was refused": (
        DUPLICATED,
        "before event 2",
        {"receptions": but(2, answered=500)},
    ),
    "bought after the picture was there": (
        REBOUGHT,
        "begun after #1 had its picture",
        {"attempts": with_more(attempt(1, 2, "unbilled", begins=15, cost=0))},
    ),
    "bought after the picture was seen staged": (
        REBOUGHT,
        "begun after #1 had its picture",
        {
            "attempts": lambda rows: [
                replace(rows[0], ended_at=at(60)),
                attempt(1, 2, "unbilled", begins=15, cost=0),
                *rows[1:],
            ]
        },
    ),
    "bought while the first might still answer": (
        REBOUGHT,
        "might still answer",
        {"attempts": but(2, sent_at=at(5)), "bill": but(3, started_at=at(5.1))},
    ),
    "bought while a job of the vendor's was still asked after": (
        REBOUGHT,
        "might still answer",
        {
            "attempts": lambda rows: [
                replace(rows[0], has_handle=True, ended_at=at(9)),
                attempt(1, 2, "settled", begins=3),
                *rows[1:],
            ],
            "bill": with_more(call(5, "a", arrives=3.1)),
            "sightings": without(0),
        },
    ),
    "bought more often than allowed": (
        REBOUGHT,
        "2 calls, 1 allowed",
        {"images": lambda rows: [rows[0], image(2, "b", max_rebuys=0), rows[2]]},
    ),
    "bought again though an unknown outcome was to hold": (
        REBOUGHT,
        "2 calls, 1 allowed",
        {"images": but(1, on_uncertain="hold")},
    ),
    "bought again after a refusal": (
        REBOUGHT,
        "2 calls, 1 allowed",
        {
            "attempts": with_more(attempt(3, 2, "refused", begins=15, cost=0)),
            "bill": with_more(call(5, "c", arrives=15.1, cost=0)),
        },
    ),
    "a call without an attempt": (REBOUGHT, "has no attempt", {"bill": with_more(call(5, "a", arrives=30))}),
    "a call for nobody's prompt": (REBOUGHT, "has no attempt", {"bill": with_more(call(5, "z", arrives=30))}),
    "a charged call of no prompt": (
        REBOUGHT,
        "has no attempt",
        {"bill": with_more(replace(call(5, "z", arrives=30), prompt_sha256=None))},
    ),
    "booked one micro-dollar too little": (
        UNBALANCED,
        "booked otherwise than billed",
        {"attempts": but(0, cost_microusd=29_999)},
    ),
    "booked what was free": (UNBALANCED, "booked otherwise than billed", {"bill": but(3, cost_microusd=0)}),
    "answered, and never seen": (UNBALANCED, "never seen by the vendor", {"bill": without(2)}),
    "unknown outcomes cost more than stated": (
        UNBALANCED,
        "stated as 40000 at most",
        {"bill": but(1, cost_microusd=40_001)},
    ),
    "a transfer from nowhere": (UNBALANCED, "is no `top_up`", {"ledger": but(0, debit="available")}),
    "a balance after an entry is wrong": (UNBALANCED, "entries sum to", {"ledger": but(2, available_after=99)}),
    "an entry is missing": (UNBALANCED, "its entries sum to", {"ledger": without(6)}),
    "the balance is not its entries": (UNBALANCED, "says (99, 0, 2)", {"balances": but(0, available=99)}),
    "a hold was resolved twice": (
        UNBALANCED,
        "its entries are",
        {"ledger": with_more(entry(8, "release", "held", "available", 1, (99, -1), 1))},
    ),
    "a hold was not resolved as it says": (UNBALANCED, "is `released`", {"holds": but(0, status="released")}),
    "a hold is in no state that there is": (UNBALANCED, "hold 1 of job_1 is `lost`", {"holds": but(0, status="lost")}),
    "a prompt was not noted": (LOST, "another prompt", {"submissions": but(1, prompts_sha256=(sha256("a"),))}),
    "a hold of another amount": (UNBALANCED, "an entry of it is not", {"holds": but(0, amount=2)}),
    "entries of no hold": (UNBALANCED, "which does not exist", {"holds": without(2)}),
    "charged without a picture": (UNBALANCED, "has no picture", {"images": but(1, status="failed")}),
    "a picture without a charge": (UNBALANCED, "was not charged", {"images": but(2, status="completed")}),
    "a job goes on": (STUCK, "is `generating`", {"jobs": but(0, status="generating")}),
    "an image goes on": (STUCK, "is `uploading`", {"images": but(0, status="uploading")}),
    "a claim is left": (STUCK, "and claimed", {"images": but(0, is_claimed=True)}),
    "a call is open": (STUCK, "#1 is `sent`", {"attempts": but(1, status="sent")}),
    "a call is in no state that there is": (STUCK, "#1 is `lost`", {"attempts": but(1, status="lost")}),
    "a message is in no state that there is": (STUCK, "still on its way", {"messages": but(0, status="lost")}),
    "a queue row is left": (STUCK, "queue row 7", {"queue": with_more(QueueRow(id=7, status="picked"))}),
    "a job ended otherwise than its images": (STUCK, "and its images are", {"jobs": but(0, status="completed")}),
    "a hold is open": (STUCK, "is open", {"holds": but(2, status="held")}),
    "a message is on its way": (STUCK, "still on its way", {"messages": but(0, status="pending")}),
    "a picture is not stored": (UNSERVED, "is not in the store", {"objects": without(0)}),
    "a picture is cut": (UNSERVED, "has 99 bytes", {"objects": but(0, length=99)}),
    "a picture is another one": (UNSERVED, "bytes, ", {"objects": but(0, sha256="0" * 64)}),
    "a picture does not decode": (UNSERVED, "does not decode", {"objects": but(0, mime=None)}),
    "a picture is of another type": (UNSERVED, "is image/png", {"objects": but(0, mime="image/png")}),
    "a completed image has none": (UNSERVED, "has no rendition", {"renditions": without(0)}),
    "nobody fetched it": (UNSERVED, "nobody fetched it", {"served": without(0)}),
    "it was not served": (UNSERVED, "was answered with 404", {"served": but(0, status=404)}),
    "other bytes were served": (UNSERVED, "and is not", {"served": but(0, sha256="0" * 64)}),
    "it was called something else": (UNSERVED, "and is not", {"served": but(0, content_type="image/png")}),
    "an orphan stays for days": (
        UNSERVED,
        "is named by nothing",
        {"objects": lambda rows: [*rows, replace(rows[0], key="old", put_at=at(-1_000_000))]},
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_thing_wrong_is_found_and_named(case: str) -> None:
    assert_found(*WRONG[case])


ALLOWED = {
    "an image that was canceled before anything was bought": {
        "images": but(2, status="failed"),
        **told_as(5, "image.failed"),
        "attempts": without(3),
        "bill": without(2),
    },
    "an orphan of today": {"objects": lambda rows: [*rows, replace(rows[0], key="new")]},
    "a request that was never whole": {
        "bill": with_more(replace(call(5, "z", arrives=30, cost=0), prompt_sha256=None))
    },
    "a message that was given up, and later ones": {
        "receptions": but(2, answered=500),
        "messages": but(1, status="dead"),
    },
    "a submit answered twice with one job": {"submissions": lambda rows: [*rows, rows[1]]},
    "a call that arrived when the next attempt had begun": {"bill": but(1, started_at=at(25))},
    "a new request for the same image": {
        "attempts": with_more(attempt(1, 2, "unbilled", begins=15, cost=0, fingerprint="new", code="NOT_SENT"))
    },
    "a late receipt of what was given up": {
        "attempts": but(1, status="received", cost_microusd=30_000, ended_at=at(30)),
    },
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_the_promise_allows_is_no_finding(case: str) -> None:
    verdict = judge(doctored(**ALLOWED[case]))

    assert [found for line in verdict.lines for found in line.findings] == []


def test_a_picture_that_waits_for_a_retry_after_too_many_crashes_is_not_lost() -> None:
    changes = {
        "sightings": lambda rows: [replace(rows[0], attempt_id="att_3_1")],
        "images": but(2, status="failed", error_code="CRASHED"),
        **told_as(5, "image.failed"),
    }

    assert judge(doctored(**changes)).line(LOST).findings == []


def test_an_unknown_outcome_keeps_its_hold() -> None:
    changes = {"images": but(2, status="uncertain"), "holds": but(2, status="held"), "ledger": without(6)}

    assert judge(doctored(**changes)).line(STUCK).findings == []


def test_what_was_not_collected_is_not_judged_and_named() -> None:
    verdict = judge(doctored(bill=lambda _: None, receptions=lambda _: None))

    assert verdict.is_kept
    assert not verdict.is_judged
    assert verdict.line(REBOUGHT).missing == ["bill"]
    assert verdict.line(LOST).missing == ["receptions"]
    assert "`re-bought` was not judged in full: there is no bill.jsonl\n" in text(verdict)
    assert "| lost | 0? |" in markdown(verdict)


def test_the_program_reads_a_folder_and_says_by_its_exit_code_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "good", good_run())
    write(tmp_path / "bad", doctored(objects=without(0)))

    assert main([str(tmp_path / "good")]) == 0
    assert capsys.readouterr().out.endswith("kept\n")
    assert main([str(tmp_path / "bad")]) == 1
    assert "is not in the store" in capsys.readouterr().out
    assert main([str(tmp_path / "bad"), "--json"]) == 1
    assert '"kept": false' in capsys.readouterr().out
    assert main([str(tmp_path / "none")]) == 2


def test_the_program_does_not_call_kept_what_it_could_not_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, good_run())
    (tmp_path / "bill.jsonl").unlink()

    assert main([str(tmp_path)]) == 3
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "was not judged in full: there is no bill.jsonl" in line] == said[-3:-1]
    assert said[-1].startswith("NOT JUDGED IN FULL")
    assert main([str(tmp_path), "--json"]) == 3
    assert '"kept": null' in capsys.readouterr().out


def test_evidence_survives_its_files(tmp_path: Path) -> None:
    write(tmp_path, good_run())

    assert read(tmp_path) == good_run()


def test_evidence_of_before_there_was_more_of_it_is_judged_by_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, good_run())
    for path in tmp_path.iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            for name in NEW.get(path.stem, ()):
                row.pop(name, None)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    verdict = judge(read(tmp_path))

    assert verdict.is_kept
    assert verdict.is_judged


def test_a_line_that_a_killed_writer_left_half_counts_for_nothing(tmp_path: Path) -> None:
    write(tmp_path, good_run())
    with (tmp_path / "submissions.jsonl").open("ab") as file:
        file.write(b'{"at": "2026-')

    assert read(tmp_path) == good_run()


def test_a_line_of_something_else_is_no_evidence(tmp_path: Path) -> None:
    write(tmp_path, good_run())
    (tmp_path / "jobs.jsonl").write_text('{"id": 1}\n')

    with pytest.raises(NoEvidence, match="line 1 is no Job"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("bill", "cost_microusd", None), ("attempts", "sent_at", None), ("jobs", "seq", "6"), ("images", "run", 1.5)],
)
def test_a_line_that_says_nothing_where_something_has_to_be_is_no_evidence(
    tmp_path: Path, name: str, field: str, value: object
) -> None:
    write(tmp_path, good_run())
    path = tmp_path / f"{name}.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), field: value}), *rest, ""]))

    assert main([str(tmp_path)]) == 2


def test_a_line_that_is_no_object_is_no_evidence(tmp_path: Path) -> None:
    write(tmp_path, good_run())
    (tmp_path / "bill.jsonl").write_text("[1]\n")

    assert main([str(tmp_path)]) == 2


def test_money_from_outside_is_not_judged_without_a_list_of_payments() -> None:
    verdict = judge(doctored(payments=lambda _: None))
    nobody_paid = judge(
        doctored(payments=lambda _: None, ledger=lambda _: [], holds=lambda _: [], balances=lambda _: [])
    )

    assert verdict.is_kept
    assert verdict.line(UNBALANCED).missing == ["payments"]
    assert nobody_paid.line(UNBALANCED).missing == []


def test_a_table_has_a_row_for_each_question() -> None:
    table = markdown(judge(good_run()))

    assert [row.split(" | ")[0] for row in table.splitlines()[2:]] == [f"| {each.value}" for each in Question]
