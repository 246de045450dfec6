"""When a message is sent again, and when it is given up."""

from __future__ import annotations

import random

import pytest

from safelight.delivery.webhooks.schedule import KEPT_TYPES, Again, Dead, Failure, Schedule

PLAIN = Schedule(jitter=0.0)


def pauses(event_type: str, schedule: Schedule = PLAIN, **more: object) -> list[float]:
    """Between the attempts at a message that is never taken."""
    found: list[float] = []
    while True:
        failure = Failure(
            type=event_type,
            attempts=len(found) + 1,
            age_seconds=sum(found),
            failing_seconds=sum(found),
            **more,  # pyright: ignore[reportArgumentType]
        )
        match schedule.after_failure(failure):
            case Again(after_seconds=seconds):
                found.append(seconds)
            case Dead():
                return found


@pytest.mark.parametrize("event_type", ["job.completed", "job.partial", "job.failed", "job.canceled"])
def test_how_a_job_ended_is_tried_ten_times_over_three_days(event_type: str):
    minutes, hours = 60, 3600
    assert pauses(event_type) == [
        5, 5 * minutes, 30 * minutes, *(n * hours for n in (2, 5, 10, 14, 20, 24))
    ]  # fmt: skip
    assert sum(pauses(event_type)) >= 75 * hours


@pytest.mark.parametrize("event_type", ["job.created", "image.completed", "provider.paused", "webhook.test"])
def test_anything_else_is_tried_four_times_within_minutes(event_type: str):
    assert pauses(event_type) == [5, 30, 120]
    assert pauses(event_type, Schedule()) != pauses(event_type, Schedule())


def test_progress_is_tried_once():
    assert pauses("job.progress") == []


def test_pauses_are_up_to_a_fifth_longer_or_shorter():
    chance = random.Random(7)
    schedule = Schedule(uniform=chance.uniform)
    first = [pauses("job.completed", schedule)[0] for _ in range(500)]
    assert 4.0 <= min(first) < 4.1
    assert 5.9 < max(first) <= 6.0


def test_an_endpoint_may_have_pauses_of_its_own_for_how_jobs_end():
    assert pauses("job.failed", retry_seconds=[1.0, 2.0]) == [1.0, 2.0]
    assert pauses("job.started", retry_seconds=[1.0, 2.0]) == [5, 30, 120]


def test_a_receiver_that_asks_for_rest_is_not_asked_before():
    first = Failure(type="job.completed", attempts=1, age_seconds=0, failing_seconds=0, asked_seconds=1800)
    second = Failure(type="job.completed", attempts=3, age_seconds=0, failing_seconds=0, asked_seconds=10)
    assert PLAIN.after_failure(first) == Again(after_seconds=1800)
    assert PLAIN.after_failure(second) == Again(after_seconds=1800), "nor more often than anybody else"


def test_what_would_come_too_late_after_that_rest_is_given_up_and_the_rest_is_kept():
    failure = Failure(type="job.started", attempts=1, age_seconds=0, failing_seconds=0, asked_seconds=3600)
    assert PLAIN.after_failure(failure) == Dead(rest_seconds=3600)


def test_old_news_are_given_up_only_where_nothing_was_taken_for_as_long():
    """After an outage of ours one refusal is no reason to give up what waited for it."""
    for age_seconds, failing_seconds, ends in ((0, 0, False), (1000, 0, False), (0, 1000, False), (1000, 1000, True)):
        failure = Failure(type="job.started", attempts=1, age_seconds=age_seconds, failing_seconds=failing_seconds)
        assert isinstance(PLAIN.after_failure(failure), Dead) is ends


def test_only_ends_are_kept():
    assert sorted(KEPT_TYPES) == ["job.canceled", "job.completed", "job.failed", "job.partial"]
