"""A short soak as a user runs it, and what is made of its figures."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from safelight.chaos.checker import judge
from safelight.chaos.outcome import Outcome, Times, first_successes_seconds, outcome_of, times
from safelight.chaos.plan import FAULT_RATES, VENDORS, Plan
from safelight.chaos.report import MARKS, soak_markdown, soak_text, write_page
from safelight.chaos.verdict import Question
from safelight.chaos.watch import Watch
from safelight.cli.chaos import chaos
from safelight.cli.complaint import Complaint
from safelight.sandbox.faults import parse_fault_rates
from safelight.storage.local_staging import LocalStaging
from tests.chaos.runs import at, doctored, good_run, without


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_half_a_minute_of_storm_breaks_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"

    code = chaos(Plan(minutes=0.5, seed=3, jobs=40), as_json=True, keep=kept, page=None)

    said = json.loads(capsys.readouterr().out)
    assert code == 0, said
    assert said["kept"] is True
    assert all(line["not_judged_without"] == [] for line in said["verdict"]["lines"])
    assert said["did"]["workers killed"] >= 2
    assert said["did"]["PostgreSQL restarts"] >= 1
    assert said["verdict"]["figures"]["images completed"] > 20
    assert (kept / "evidence" / "bill.jsonl").exists()
    assert (kept / "logs" / "worker-1.log").exists()


def test_the_vendors_fail_a_fifth_of_their_calls() -> None:
    assert FAULT_RATES.keys() == VENDORS.keys()
    for rates in FAULT_RATES.values():
        assert sum(each.rate for each in parse_fault_rates(rates)) == pytest.approx(0.2)


def test_a_plan_breaks_the_same_things_for_the_same_seed() -> None:
    first, again, other = (Plan(seed=seed).dice("kill").random() for seed in (1, 1, 2))

    assert first == again != other


def test_in_a_short_storm_everything_happens_more_often() -> None:
    short, long = Plan(minutes=1), Plan(minutes=10)

    assert long.pause_seconds(long.restart_seconds, long.dice("restart")) == 60
    assert short.pause_seconds(short.restart_seconds, short.dice("restart")) == 30
    assert long.wanted_jobs == 2000


def test_the_first_success_is_counted_from_each_moment_that_the_database_was_back() -> None:
    completed_at_3_and_4 = good_run()

    found = first_successes_seconds(completed_at_3_and_4, [at(0.5), at(3.25), at(5)])

    assert found == [2.5, 0.75]


def test_times_are_told_by_their_median_and_the_longest() -> None:
    assert times([1.0, 2.0, 9.0]) == Times(count=3, median_seconds=2.0, most_seconds=9.0)
    assert times([]) == Times(count=0, median_seconds=None, most_seconds=None)


def test_a_soak_is_kept_only_when_nothing_was_found_and_nothing_is_left(tmp_path: Path) -> None:
    good = outcome(tmp_path)

    assert good.is_kept
    assert not replace(good, left={"messages": 1}).is_kept
    assert not replace(good, swept=[3, 1]).is_kept
    assert not replace(good, verdict=judge(doctored(objects=without(0)))).is_kept
    assert not replace(good, verdict=judge(doctored(bill=lambda _: None))).is_kept


def test_a_page_has_the_report_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{MARKS[0]}\n\nold\n\n{MARKS[1]}\n\nafter\n")

    write_page(page, outcome(tmp_path))
    write_page(page, outcome(tmp_path))

    written = page.read_text()
    assert written.startswith("before\n\n")
    assert written.endswith(f"{MARKS[1]}\n\nafter\n")
    assert "old" not in written
    assert written.count("| lost | 0 |") == 1
    assert "| workers killed | 7 |" in written


def test_a_page_without_a_place_for_it_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")

    with pytest.raises(ValueError, match="has no place"):
        write_page(page, outcome(tmp_path))
    assert page.read_text() == "nothing\n"


def test_the_documented_page_has_a_place_for_it() -> None:
    page = Path(__file__).parents[2] / "docs" / "reliability.md"

    assert all(page.read_text().count(mark) == 1 for mark in MARKS)


def test_a_terminal_is_told_every_question_and_what_was_done(tmp_path: Path) -> None:
    said = soak_text(outcome(tmp_path))

    assert all(question.value in said for question in Question)
    assert "workers killed" in said
    assert "1: 31.20 / 31.20 s" in said
    assert said.endswith("the promise was kept")
    assert soak_markdown(outcome(tmp_path)).startswith("10 minutes of storm with seed 0")


def test_a_folder_with_something_in_it_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(Complaint, match="not empty"):
        chaos(Plan(), as_json=False, keep=tmp_path, page=None)


def outcome(folder: Path) -> Outcome:
    evidence = good_run()
    watch = Watch(dsn="", staging=LocalStaging(folder / "staging"), reclaim_seconds=[15.5], struck_twice_seconds=[31.2])
    return outcome_of(
        Plan(),
        judge(evidence),
        evidence,
        did=Counter({"workers killed": 7}),
        watch=watch,
        back_at=[at(0)],
        began=datetime(2026, 11, 21, tzinfo=UTC),
        quiet_seconds=1.0,
        left={},
        swept=[2, 0],
    )
